"""The pure parts of ./bootstrap --master and --minion."""

import pathlib
import sys

import django_keys
import django_service
import pytest
import yaml
from keys import public_key
from pillars import ROOT

sys.path.insert(0, str(ROOT / "bootstrap.d"))

from fleet import configuration, master, minion, service, ssh
from masterless import registration

KEY, OTHER = public_key(), public_key()
FINGERPRINT = django_keys.fingerprint(KEY)

# Configuration


def test_a_master_serves_this_repository_and_accepts_nobody_by_itself():
    found = configuration.master("/src/formula", "/srv/pillar")
    assert found["file_roots"] == {"base": ["/src/formula/salt", "/src/formula"]}
    assert found["pillar_roots"] == {"base": ["/srv/pillar"]}
    assert found["runner_dirs"] == ["/src/formula/_runners"]
    assert found["utils_dirs"] == ["/src/formula/_utils"]
    assert (found["auto_accept"], found["open_mode"]) == (False, False)
    assert found["on_demand_ext_pillar"] == [] and found["allow_minion_key_revoke"] is False


def test_a_minion_is_tuned_as_one_without_a_master():
    found = configuration.minion("10.0.0.5", FINGERPRINT, "web1", systemd=True)
    alone = registration.settings("/src/formula", systemd=True)
    assert registration.tuning(True).items() <= found.items()
    assert registration.tuning(True).items() <= alone.items()
    assert (found["master"], found["id"]) == ("10.0.0.5", "web1")
    assert found["master_finger"] == FINGERPRINT
    assert "disable_modules" not in found
    assert "disable_modules" in configuration.minion("m", None, None, systemd=False)


def test_salt_ssh_serves_what_a_master_does():
    """Both may be on one server, and neither then says otherwise."""
    found = configuration.ssh("/src/formula", "/srv/pillar")
    other = configuration.master("/src/formula", "/srv/pillar")
    for name in ("file_roots", "pillar_roots", "utils_dirs", "django_formula", "runner_dirs"):
        assert found[name] == other[name]
    assert all(other[name] == value for name, value in found.items() if name in other)
    assert registration.tuning(True).items() <= found["ssh_minion_opts"].items()
    assert not {"ignore_host_keys", "no_host_keys"} & set(found)


def test_both_sides_sign_alike():
    ours = configuration.master("/src", "/srv/pillar")
    theirs = configuration.minion("2001:db8::5", None, None, systemd=True)
    assert ours["signing_algorithm"] == theirs["signing_algorithm"]
    assert ours["hash_type"] == theirs["hash_type"] == django_keys.HASH
    assert theirs["ipv6"] is True
    assert not {"master_finger", "id"} & set(theirs)


@pytest.mark.parametrize(
    ("kind", "files", "said"),
    [
        ("master", {}, []),
        ("master", {"master": "# nothing\n", "master.d/own.conf": "worker_threads: 9\n"}, []),
        ("master", {"master.d/environments.conf": "pillar_roots: {staging: [/srv/a]}\n"}, []),
        ("master", {"master": "auto_accept: false\n"}, []),
        ("master", {"master.d/django-formula-master.conf": "auto_accept: true\n"}, []),
        ("master", {"master": "auto_accept: true\n"}, ["/master sets auto_accept: keys would be"]),
        (
            "master",
            {"master.d/a.conf": "autosign_file: /x\n"},
            ["/a.conf sets autosign_file: keys"],
        ),
        ("master", {"master": "user: salt\n"}, ["/master sets user, so this server's Salt"]),
        (
            "master",
            {"master.d/own.conf": "file_roots: {base: [/srv/salt]}\npillar_roots: {base: [/p]}\n"},
            ["/own.conf sets file_roots and pillar_roots, so"],
        ),
        ("master", {"master": "a: [\n"}, ["/master cannot be read"]),
        ("minion", {"minion.d/django-formula.conf": "file_client: local\n"}, []),
        ("minion", {"minion": "id: web1\nmaster: m\n"}, []),
        ("minion", {"minion.d/gpg.conf": "pillarenv: production\n"}, []),
        (
            "minion",
            {"minion": "id: web2\n", "minion.d/a.conf": "master: [m, n]\nfile_client: local\n"},
            ["/minion sets id, so", "/a.conf sets file_client and master, so"],
        ),
    ],
)
def test_what_others_have_said_is_not_overruled(tmp_path, kind, files, said):
    for name, text in files.items():
        path = tmp_path / "etc/salt" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    options = {
        "master": configuration.master("/src", "/etc/django-formula/pillar"),
        "minion": configuration.minion("m", FINGERPRINT, "web1", True),
    }[kind]
    ours = {"master": configuration.MASTER, "minion": configuration.MINION}[kind]
    found = configuration.conflicts(kind, configuration.others(kind, ours, tmp_path), options)
    assert len(found) == len(said), found
    assert all(text in problem for text, problem in zip(said, found))


# The key of the master


@pytest.mark.parametrize(
    ("text", "fingerprint", "said"),
    [
        (None, FINGERPRINT, None),
        (KEY, FINGERPRINT, None),
        (KEY, None, None),
        ("hello", FINGERPRINT, "is to be the key of a master: it is no public key"),
        (OTHER, FINGERPRINT, f"{django_keys.fingerprint(OTHER)}, and not {FINGERPRINT}"),
    ],
)
def test_the_key_of_another_master_is_told(tmp_path, text, fingerprint, said):
    path = tmp_path / "minion_master.pub"
    if text:
        path.write_text(text)
    found = minion.wrong_master(path, fingerprint, "10.0.0.5")
    assert len(found) == bool(said) and (not said or said in found[0])


def test_a_master_that_does_not_answer_is_told(monkeypatch):
    monkeypatch.setattr(minion.master, "answers", lambda _, port: port == 4505)
    (problem,) = minion.unreachable("10.0.0.5")
    assert problem.startswith("nobody answers at 10.0.0.5, port 4506.")


# The pillar of all


@pytest.fixture
def pillar(tmp_path, monkeypatch):
    monkeypatch.setattr(registration, "PILLAR", tmp_path / "pillar")
    monkeypatch.setattr(configuration, "MASTER", tmp_path / "master.d/ours.conf")
    monkeypatch.setattr(configuration, "SSH", tmp_path / "master.d/ssh.conf")
    return tmp_path / "pillar"


def test_a_master_without_a_pillar_gets_an_empty_one_once(pillar, tmp_path):
    wanted = configuration.master("/src", pillar)
    predicted = master.write(configuration.MASTER, wanted, pillar, None, test=True)
    assert not pillar.exists()
    assert master.write(configuration.MASTER, wanted, pillar, None, test=False) == predicted
    assert len(predicted) == 3
    assert yaml.safe_load((pillar / "site.sls").read_text()) == {}
    assert (pillar / "site.sls").stat().st_mode & 0o777 == 0o600
    assert pillar.stat().st_mode & 0o777 == 0o700
    (pillar / "site.sls").write_text("django: {}\n")
    (pillar / "site.sls").chmod(0o600)
    assert master.write(configuration.MASTER, wanted, pillar, None, test=False) == []


def test_a_folder_of_the_operator_s_is_the_pillar_where_it_lies(pillar, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "top.sls").write_text("base: {}\n")
    assert master.pillar_folder("/src", folder) == folder
    master.write(
        configuration.MASTER, configuration.master("/src", folder), folder, folder, test=False
    )
    assert not pillar.exists()
    assert master.pillar_folder("/src", None) == folder, "it is remembered"
    assert master.pillar_folder("/src", folder / "top.sls") == pillar, (
        "another pillar takes its place"
    )


# An operator's own


def test_a_roster_that_is_there_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(ssh, "ROSTER", tmp_path / "roster")
    told = [f"{tmp_path}/roster is written"]
    assert ssh.write_roster(test=True) == told and not ssh.ROSTER.exists()
    assert ssh.write_roster(test=False) == told
    assert yaml.safe_load(ssh.ROSTER.read_text()) is None
    ssh.ROSTER.write_text("web1: {port: 2222}\n")
    assert ssh.write_roster(test=False) == []
    assert ssh.ROSTER.read_text() == "web1: {port: 2222}\n"


def test_a_key_that_is_there_stays_and_none_is_made_beside_an_agent(tmp_path):
    key = tmp_path / "ssh/salt-ssh.rsa"
    assert ssh.make_key(key, test=True) == [f"{key} is made"] and not key.parent.exists()
    assert ssh.make_key(key, test=False) == [f"{key} is made"]
    assert key.stat().st_mode & 0o777 == 0o600
    assert ssh.make_key(key, test=False) == [] == ssh.make_key(None, test=False)


def test_salt_run_has_its_folder_without_a_daemon(tmp_path):
    proc = tmp_path / "cache/proc"
    assert ssh.make_folder(proc, test=True) == [f"{proc} is made"] and not proc.exists()
    assert ssh.make_folder(proc, test=False) == [f"{proc} is made"] and proc.is_dir()
    assert ssh.make_folder(proc, test=False) == []


# The service


@pytest.fixture
def daemon(tmp_path, monkeypatch):
    """Function that makes the service of a server in a folder, as it is known to be."""
    monkeypatch.setattr(django_service, "UNITS", tmp_path)
    monkeypatch.setattr(django_service, "SCRIPTS", tmp_path)
    acts = []
    monkeypatch.setattr(django_service, "act", lambda name, verb: acts.append(verb))

    def make(booted=True, unread=(), **state):
        monkeypatch.setattr(django_service, "booted", lambda: booted)
        monkeypatch.setattr(django_service, "unread", lambda *_: list(unread))
        known = {"there": False, "running": None, "enabled": None} | state
        monkeypatch.setattr(django_service, "look", lambda _: known)
        made = service.Service("minion", "/opt/salt/bin", pathlib.Path("/etc/salt/x.conf"))
        made.acts = acts
        return made

    return make


def test_a_pillar_that_the_server_has_alone_becomes_that_of_all(pillar, tmp_path, monkeypatch):
    monkeypatch.setattr(registration, "SALT", tmp_path / "salt")
    monkeypatch.setattr(registration, "managed_by", lambda: None)
    assert master.pillar_folder("/src", None) == pillar
    folder = tmp_path / "from-git"
    folder.mkdir()
    registration.Registration("/src", None).write(folder)
    assert master.pillar_folder("/src", None) == folder


@pytest.mark.parametrize("booted", [True, False])
def test_a_service_that_is_not_there_is_written_enabled_and_started(daemon, booted):
    made = daemon(booted=booted)
    predicted = list(made.needs(test=True))
    assert not made.path.exists() and made.acts == []
    assert list(made.needs(test=False)) == predicted and len(predicted) == 3
    assert made.acts == ["enable", "start"]
    text = made.path.read_text()
    assert "/opt/salt/bin/salt-minion\n" in text and "@" not in text.replace('"$@"', "")
    assert ("[Service]" in text) is booted
    assert bool(made.path.stat().st_mode & 0o111) is not booted


def test_a_service_of_the_server_s_own_salt_is_used(daemon):
    made = daemon(there=True, running=False, enabled=True)
    assert list(made.needs(test=False)) == ["salt-minion is started"]
    assert not made.path.exists()


def test_a_service_that_runs_is_left_alone_unless_its_configuration_changed(daemon):
    there = {"there": True, "running": True, "enabled": True}
    assert list(daemon(**there).needs(test=False)) == []
    made = daemon(unread=["/etc/salt/x.conf"], **there)
    assert next(made.needs(test=False)).startswith("salt-minion is restarted")
    assert made.acts == ["restart"]


def test_what_was_done_before_a_failure_is_told(daemon, monkeypatch):
    made, done = daemon(there=True, running=False, enabled=False), []

    def act(name, verb):
        if verb == "start":
            raise django_service.ServiceError("salt-minion did not start: its port is taken")

    monkeypatch.setattr(django_service, "act", act)
    with pytest.raises(django_service.ServiceError) as failure:
        done.extend(made.needs(test=False))
    told = master.failed(failure.value, done, "/var/log/x")
    assert told[0] == "bootstrap: salt-minion did not start: its port is taken"
    assert "  salt-minion starts with the server" in told and told[-1].endswith("/var/log/x")


def test_commands_are_told_as_they_can_be_typed(tmp_path, monkeypatch):
    for folder in ("ours", "theirs", "path"):
        (tmp_path / folder).mkdir()
    for folder in ("ours", "theirs"):
        (tmp_path / folder / "salt").write_text("#!/bin/sh\n")
        (tmp_path / folder / "salt").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    ours = str(tmp_path / "ours")
    assert service.command("salt", ours) == f"{ours}/salt", "it is not on the path"
    (tmp_path / "path/salt").symlink_to(tmp_path / "theirs/salt")
    assert service.command("salt", ours) == f"{ours}/salt", "another one is"
    (tmp_path / "path/salt").unlink()
    (tmp_path / "path/salt").symlink_to(tmp_path / "ours/salt")
    assert service.command("salt", ours) == "salt"
