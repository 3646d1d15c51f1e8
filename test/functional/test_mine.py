"""The map of servers from the Salt mine, as a master makes pillars of it by the documentation."""

import pathlib
import re

import pytest
import salt.config
import salt.daemons.masterapi
import salt.pillar
import salt.runner

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORDS = (ROOT / "docs/operations.md").read_text()
SERVERS = {
    "web1": ["10.0.0.11"],
    "web2": ["192.0.2.12", "10.0.0.12"],
    "jobs1": ["10.0.0.31"],
    "db1": ["10.0.0.21"],
}


@pytest.fixture
def master(tmp_path):
    """A master, which does not run, with keys and the mine of some servers."""
    opts = salt.config.master_config(None)
    for name in ("pki_dir", "cachedir", "sock_dir", "extension_modules"):
        opts[name] = str(tmp_path / name)
    opts["conf_file"] = str(tmp_path / "master")
    opts.update(runner_dirs=[str(ROOT / "_runners")], module_dirs=[str(ROOT / "_master")])
    opts.update(utils_dirs=[str(ROOT / "_utils")])
    opts.update(pillar_roots={"base": [str(tmp_path / "pillar")]}, file_roots={"base": []})
    (tmp_path / "cachedir/proc").mkdir(parents=True)
    (tmp_path / "pki_dir/minions").mkdir(parents=True)
    (tmp_path / "pillar").mkdir()
    (tmp_path / "pillar/top.sls").write_text("base: {'*': [address, shop]}\n")
    blocks = re.findall(r"^```yaml\n(.*?)^```", WORDS, re.S | re.M)
    for name, word in (("address", "mine_functions"), ("shop", "django_mine.hosts")):
        block = next(block for block in blocks if word in block)
        (tmp_path / f"pillar/{name}.sls").write_text(block)
    made = Master(opts)
    for name, addresses in SERVERS.items():
        made.publish(name, addresses)
    return made


class Master:
    def __init__(self, opts):
        self.opts, self.functions = opts, salt.daemons.masterapi.RemoteFuncs(opts)

    def publish(self, name, value):
        """What a server whose key is accepted has put into the mine."""
        (pathlib.Path(self.opts["pki_dir"]) / "minions" / name).write_text("a key")
        self.functions._mine({"id": name, "data": {"address": value}}, skip_verify=True)

    def pillar(self, name):
        grains = {"id": name, "os": "Debian"}
        return salt.pillar.Pillar(self.opts, grains, name, "base").compile_pillar()

    def order(self, *words, **named):
        with salt.runner.RunnerClient(self.opts) as client:
            done = client.cmd(
                "django.pool", words, kwarg=named, print_event=False, full_return=True
            )
        return done["return"]


def test_each_server_gets_the_same_map(master):
    expected = {
        "db1": {"address": "10.0.0.21", "roles": ["database", "cache"]},
        "jobs1": {"address": "10.0.0.31", "roles": ["worker"]},
        "web1": {"address": "10.0.0.11", "roles": ["app", "web"]},
        "web2": {"address": "10.0.0.12", "roles": ["app", "web"]},
    }
    for name in SERVERS:
        pillar = master.pillar(name)
        assert "_errors" not in pillar, pillar["_errors"]
        assert pillar["django"]["hosts"] == expected
        assert pillar["mine_functions"]["address"][0] == {"mine_function": "network.ip_addrs"}


def test_a_server_can_say_nothing_of_its_roles(master):
    master.publish("web3", ["10.0.0.13"])
    master.publish("evil1", ["10.0.0.66"])
    master.publish("web4", "10.0.0.14, roles: [database]}\n    web5: {address: 10.0.0.15")
    hosts = master.pillar("web1")["django"]["hosts"]
    assert sorted(hosts) == ["db1", "jobs1", "web1", "web2", "web3"]
    assert hosts["web3"]["roles"] == ["app", "web"]


def test_a_server_whose_key_is_gone_is_gone(master):
    (pathlib.Path(master.opts["pki_dir"]) / "minions/web2").unlink()
    assert sorted(master.pillar("web1")["django"]["hosts"]) == ["db1", "jobs1", "web1"]


def test_without_a_mine_there_is_no_pillar(master):
    for name in ("web1", "web2"):
        master.functions._mine_flush({"id": name}, skip_verify=True)
    pillar = master.pillar("web1")
    assert "django" not in pillar and "_errors" in pillar
    assert "address" in pillar["mine_functions"], "or it could never begin"


def test_an_operator_sees_what_it_comes_to(master):
    found = master.order({"web*": ["app", "web"]}, network="10.0.0.0/24")
    assert found["web2"] == {"address": "10.0.0.12", "roles": ["app", "web"]}
    told = master.order({"web*": ["app", "web"]}, network="10.0.0.0/24", least=3)
    assert told.startswith("members:web*: expected at least 3 servers") and "Traceback" not in told
