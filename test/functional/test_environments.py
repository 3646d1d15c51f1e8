"""
The example tree of pillars for several environments: what Salt makes of it for each server, and
that no server is given a secret that its roles have no use for.
"""

import copy
import json
import pathlib
import re
import subprocess
import tempfile

import django_config
import django_facts
import pytest
import salt.pillar
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
TREE = ROOT / "examples/environments"
PARAMETERS = ROOT / "salt/django/parameters"
ENVIRONMENTS = ("staging", "production")
# The secrets of the tree, and which roles have a use for each.
NEEDED = {
    "change-this-key": {"app", "worker", "static"},
    "change-this-token": {"app", "worker", "static"},
    "change-this-password-0": {"app", "worker"},
    "change-this-password-1": {"app", "worker", "database"},
    "change-this-password-2": {"app", "worker", "cache"},
    "change-this-password-3": {"app", "worker", "cache"},
}


def hosts(environment):
    """The map of an environment's servers."""
    return yaml.safe_load((TREE / environment / "hosts.sls").read_text())["django"]["hosts"]


SERVERS = [(environment, name) for environment in ENVIRONMENTS for name in hosts(environment)]


def compiled(minion_opts, environment, name, tree=TREE, **options):
    """The pillar of a server, as a minion or its master compiles it."""
    opts = copy.deepcopy(minion_opts)
    opts.update(options)
    opts["pillar_roots"] = {each: [str(tree / each), str(tree / "common")] for each in ENVIRONMENTS}
    opts.update(id=name, pillarenv=environment, pillar_cache=False)
    found = salt.pillar.Pillar(opts, {"id": name}, name, "base", pillarenv=environment)
    pillar = found.compile_pillar()
    assert "_errors" not in pillar, pillar["_errors"]
    return pillar


@pytest.fixture(scope="module")
def parameters():
    def read(path):
        return yaml.safe_load((PARAMETERS / path).read_text())

    return {
        "schema": read("schema.yaml")["pillar"],
        "os": read("os/Debian.yaml"),
        "release": read("os/Debian-12.yaml"),
    }


@pytest.fixture
def pillar_of(minion_opts):
    return lambda environment, name, **how: compiled(minion_opts, environment, name, **how)


@pytest.mark.parametrize("environment, name", SERVERS)
def test_pillar_of_each_server_is_valid_and_holds_its_own_secrets_alone(
    pillar_of, parameters, environment, name
):
    pillar = pillar_of(environment, name)
    grains = {"id": name, "os": "Debian", "os_family": "Debian", "osmajorrelease": "12"}
    config = django_config.resolve(pillar, django_facts.facts(grains), parameters)
    assert (config["errors"], config["warnings"]) == ([], [])

    roles = set(hosts(environment)[name]["roles"])
    held = set(re.findall(rf"{environment}-(change-this-[a-z]+(?:-\d)?)", str(pillar)))
    assert held == {secret for secret, needing in NEEDED.items() if roles & needing}
    (other,) = set(ENVIRONMENTS) - {environment}
    assert f"{other}-" not in str(pillar)


@pytest.mark.parametrize("environment, name", SERVERS)
def test_environment_is_that_of_the_map_and_not_what_a_server_says(pillar_of, environment, name):
    assert pillar_of(None, name) == pillar_of(environment, name)
    (other,) = set(ENVIRONMENTS) - {environment}
    assert "change-this" not in str(pillar_of(other, name))


def test_server_that_is_not_in_the_map_gets_no_secret(pillar_of):
    assert "change-this" not in str(pillar_of("production", "laptop"))
    assert pillar_of(None, "laptop") == {}


def test_map_is_there_for_who_names_the_environment(pillar_of):
    """As salt-ssh does, which is in no map."""
    found = pillar_of("staging", "operator_master")["django"]["hosts"]
    assert found == hosts("staging")


def copied(folder, change=lambda path, text: text):
    """The tree in another folder, each file's text as ``change`` makes it."""
    for path in TREE.rglob("*.sls"):
        target = folder / path.relative_to(TREE)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(change(path, path.read_text()))
    return folder


def test_change_of_a_value_is_one_of_its_environment_alone(pillar_of, tmp_path):
    tree = copied(tmp_path, lambda path, text: text.replace("rev: main", "rev: next"))
    for environment, name in SERVERS:
        before = pillar_of(environment, name)
        after = pillar_of(environment, name, tree=tree)
        if environment == "staging":
            assert after["django"]["projects"]["shop"]["source"].pop("rev") == "next"
            assert before["django"]["projects"]["shop"]["source"].pop("rev") == "main"
        assert after == before


@pytest.fixture(scope="module")
def keys():
    """A folder with a key; a short path, as the agent's socket is in it."""
    with tempfile.TemporaryDirectory(prefix="gpg", dir="/tmp") as folder:
        options = ["--batch", "--pinentry-mode", "loopback", "--passphrase", ""]
        key = ["--quick-generate-key", "pillar", "default", "default", "never"]
        subprocess.run(["gpg", "--homedir", folder, *options, *key], check=True)
        yield folder
        subprocess.run(["gpgconf", "--homedir", folder, "--kill", "all"], check=True)


def test_tree_with_encrypted_secrets_says_the_same(pillar_of, keys, tmp_path):
    gpg = ["gpg", "--homedir", keys, "--batch", "--trust-model", "always", "--armor"]

    def message(found):
        encrypt = [*gpg, "--encrypt", "--recipient", "pillar"]
        done = subprocess.run(encrypt, input=found[0], capture_output=True, text=True, check=True)
        return json.dumps(done.stdout)

    def change(path, text):
        if path.parent.name != "secrets":
            return text
        return "#!yaml|gpg\n" + re.sub(r"[a-z]+-change-this-[a-z0-9-]+", message, text)

    tree = copied(tmp_path, change)
    assert not any(b"change-this" in path.read_bytes() for path in tree.rglob("*.sls"))
    for environment, name in SERVERS:
        found = pillar_of(environment, name, tree=tree, gpg_keydir=keys)
        assert found == pillar_of(environment, name), name
