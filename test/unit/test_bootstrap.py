"""The pure parts of ./bootstrap: its shell part as far as no root is needed, and masterless."""

import logging
import os
import subprocess
import sys

import pytest
import yaml
from pillars import ROOT

sys.path.insert(0, str(ROOT / "bootstrap.d"))

import session
from masterless import command, engine, preflight, registration, report, syntax

# The command line


def bootstrap(*arguments):
    return subprocess.run(
        [str(ROOT / "bootstrap"), *arguments], capture_output=True, text=True, timeout=30
    )


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_needs_no_root_and_changes_nothing(option):
    done = bootstrap(option)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: sudo ./bootstrap [PILLAR.sls]")


def test_version_is_that_of_the_formula():
    version = yaml.safe_load((ROOT / "FORMULA").read_text())["version"]
    assert bootstrap("--version").stdout == f"django-formula {version}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dry-run"], "unknown option --dry-run; ./bootstrap --help lists them"),
        (["a.sls", "b.sls"], "expected one pillar file, got a.sls and b.sls"),
        ([""], "expected the path of a pillar file, got an empty argument"),
    ],
)
def test_a_wrong_command_line_is_refused(arguments, said):
    done = bootstrap(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"bootstrap: {said}\n")


FINGERPRINT = ":".join(["0f"] * 32)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--master", "--minion", "m"], ["expected --master or --minion, not both"]),
        (["--ssh", "--master"], ["expected --ssh or --master, not both"]),
        (["--ssh", "--id", "web1"], ["--id: expected together with --minion MASTER"]),
        (["--minion"], ["--minion: expected a value, got none"]),
        (["--minion", "--id", "web1"], ["--minion: expected a value, got --id"]),
        (["--minion="], ["--minion: expected a value, got none"]),
        (["--id", "web1"], ["--id: expected together with --minion MASTER"]),
        (
            ["--master", "--master-fingerprint", FINGERPRINT],
            ["--master-fingerprint: expected together with --minion MASTER"],
        ),
        (
            ["--minion", "m", "shop.sls", "--master-fingerprint", FINGERPRINT],
            ["expected no pillar with --minion, got shop.sls: it is the master's"],
        ),
        (
            [
                "--minion=10.0.0.5/24",
                f"--master-fingerprint={FINGERPRINT}:",
                "--id",
                "../web1",
                "-x",
            ],
            [
                "unknown option -x; ./bootstrap --help lists them",
                "--minion: expected a name or an address of the master, got 10.0.0.5/24",
                "--id: expected letters, digits, dots, hyphens and underscores, got ../web1",
            ],
        ),
        (
            ["--minion", "2001:db8::5", "--master-fingerprint", "0f:0f", "--id", "ok.1_a-b"],
            ["--master-fingerprint: expected 32 pairs of hexadecimal digits, got 0f:0f"],
        ),
    ],
)
def test_every_mistake_of_a_command_line_is_told_at_once(arguments, said):
    done = bootstrap(*arguments)
    told = [line.removeprefix("bootstrap: ") for line in done.stderr.splitlines()]
    # Whoever is root is told, too, that a fingerprint is missing.
    told = [line for line in told if "expected with --minion; ./bootstrap --master" not in line]
    assert (done.returncode, done.stdout, told) == (2, "", said)


@pytest.mark.needs_root
def test_a_master_is_not_taken_on_trust():
    done = bootstrap("--minion", "10.0.0.5")
    assert done.returncode == 2
    assert "--master-fingerprint: expected with --minion" in done.stderr


def test_every_problem_of_the_system_is_told_at_once():
    """The script is handed over by root, as somebody else may not reach the repository."""
    become = ["setpriv", "--reuid", "65534"] if os.geteuid() == 0 else []
    with (ROOT / "bootstrap").open() as script:
        done = subprocess.run(
            [*become, "sh", "-s", "/nowhere.sls"],
            stdin=script,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert done.returncode == 2
    assert "must run as root: sudo" in done.stderr
    assert "pillar /nowhere.sls: there is no such file" in done.stderr


@pytest.mark.parametrize(
    ("path", "name"),
    [("bootstrap.d/salt.lock", "salt"), ("salt/django/host/files/uv.lock", "uv")],
)
def test_lock_files_pin_every_package_with_hashes(path, name):
    entries = [
        entry for entry in (ROOT / path).read_text().split("\n") if entry and entry[0] not in "# "
    ]
    assert any(entry.startswith(f"{name}==") for entry in entries)
    assert all("==" in entry and entry.endswith("\\") for entry in entries)
    assert not any(entry.startswith("timelib") for entry in entries)  # it needs a compiler


# Registration


def test_settings_serve_both_file_roots_and_load_modules_from_the_repository():
    found = registration.settings("/src/formula", systemd=True)
    assert found["file_roots"] == {"base": ["/src/formula/salt", "/src/formula"]}
    assert found["module_dirs"] == ["/src/formula/_modules"]
    assert found["django_formula"] == "/src/formula"
    assert found["autoload_dynamic_modules"] is False
    assert "disable_modules" not in found


def test_settings_without_systemd_keep_salt_from_skipping_services():
    found = registration.settings("/src/formula", systemd=False)
    assert found["disable_modules"] == ["systemd_service"]


def test_rendered_settings_are_marked_as_ours_and_read_back():
    options = registration.settings("/src/formula", systemd=True)
    text = registration.render(options)
    assert text.startswith(registration.HEADER)
    assert yaml.safe_load(text) == options


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, None),
        ({"etc/salt/minion": "# nothing but comments\n"}, None),
        ({"etc/salt/minion": "log_level: info\nid: web1\n"}, None),
        ({"etc/salt/minion.d/django-formula.conf": "# an older header\nfile_roots: {}"}, None),
        ({"etc/salt/minion": "master: salt.example.org\n"}, "etc/salt/minion sets master"),
        (
            {"etc/salt/minion.d/own.conf": "file_client: local\npillar_roots: {}\n"},
            "etc/salt/minion.d/own.conf sets file_client and pillar_roots",
        ),
        ({"etc/salt/minion": "a: [\n"}, "etc/salt/minion cannot be read"),
        ({"etc/salt/pki/minion/minion_master.pub": "key"}, "it has a master's key"),
        (
            {"etc/systemd/system/multi-user.target.wants/salt-minion.service": ""},
            "its service salt-minion is enabled",
        ),
        ({"etc/rc3.d/S01salt-minion": ""}, "its service salt-minion is enabled"),
    ],
)
def test_a_minion_of_somebody_else_is_recognised(tmp_path, files, reason):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = registration.managed_by(tmp_path)
    assert found == (reason and reason.replace("etc/salt/m", f"{tmp_path}/etc/salt/m"))


def test_a_managed_minion_gets_a_directory_of_our_own(tmp_path):
    registered = registration.Registration(tmp_path, "it has a master's key", "/x/salt-call")
    options = registered.options("web1")
    assert registered.command == "/x/salt-call -c /etc/django-formula/salt"
    assert registered.master_file == registration.OWN / "minion"
    assert options["id"] == "web1"
    assert options["cachedir"] != "/var/cache/salt/minion"


@pytest.fixture
def pillar_folder(tmp_path, monkeypatch):
    folder = tmp_path / "registered"
    monkeypatch.setattr(registration, "PILLAR", folder)
    return folder


def test_a_pillar_is_installed_once_and_readable_by_root_only(tmp_path, pillar_folder):
    (tmp_path / "mine.sls").write_text("django: {}\n")
    names = [pillar_folder / "site.sls", pillar_folder / "top.sls"]
    assert registration.install(tmp_path / "mine.sls") == [str(name) for name in names]
    assert registration.install(tmp_path / "mine.sls") == []
    assert pillar_folder.stat().st_mode & 0o777 == 0o700
    assert [name.stat().st_mode & 0o777 for name in names] == [0o600, 0o600]
    assert yaml.safe_load(names[1].read_text()) == {"base": {"*": ["site"]}}


def test_a_folder_is_a_pillar_where_it_is(tmp_path, pillar_folder, monkeypatch):
    """And the file that was one gets another name: who changed it would wonder."""
    (tmp_path / "mine.sls").write_text("django: {}\n")
    (tmp_path / "pulled").mkdir()
    monkeypatch.setattr(registration, "SALT", tmp_path / "salt")
    registered = registration.Registration(tmp_path, None)
    command.put(registered, tmp_path / "mine.sls")
    assert command.known_pillar(tmp_path, registered) == pillar_folder / "site.sls"
    changed = command.put(registered, tmp_path / "pulled")
    assert changed == [str(registered.file), str(pillar_folder / "site.before")]
    assert command.known_pillar(tmp_path, registered) == tmp_path / "pulled"
    assert command.candidate(tmp_path / "pulled") == tmp_path / "pulled"
    options = yaml.safe_load(registered.file.read_text())
    assert options["pillar_roots"] == {"base": [str(tmp_path / "pulled")]}
    command.put(registered, tmp_path / "mine.sls")
    assert command.known_pillar(tmp_path, registered) == pillar_folder / "site.sls"


def test_the_registered_folder_may_be_given_by_its_name(tmp_path, pillar_folder, monkeypatch):
    (tmp_path / "mine.sls").write_text("django: {}\n")
    monkeypatch.setattr(registration, "SALT", tmp_path / "salt")
    registered = registration.Registration(tmp_path, None)
    command.put(registered, tmp_path / "mine.sls")
    assert command.put(registered, pillar_folder) == []
    assert (pillar_folder / "site.sls").exists()


def test_a_mistake_in_a_folder_is_told_with_its_line(tmp_path):
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/init.sls").write_text("a: b: c\n")
    error = "Rendering SLS 'secrets' failed. Please see master log for details."
    assert engine.where(tmp_path, error).startswith("; line 1, column 5")
    assert engine.where(tmp_path, "Rendering SLS 'nowhere' failed") == ""
    assert engine.where(tmp_path / "secrets/init.sls", error).startswith("; line 1, column 5")


def test_a_candidate_keeps_the_other_files_of_the_registered_pillar(tmp_path, pillar_folder):
    pillar_folder.mkdir()
    (pillar_folder / "top.sls").write_text("base: {'*': [site, secrets]}\n")
    (pillar_folder / "secrets.sls").write_text("a: b\n")
    (pillar_folder / "site.sls").write_text("old: 1\n")
    (tmp_path / "mine.sls").write_text("new: 1\n")
    folder = tmp_path / "candidate"
    registration.candidate(folder, tmp_path / "mine.sls")
    assert (folder / "site.sls").read_text() == "new: 1\n"
    assert (folder / "top.sls").read_text() == "base: {'*': [site, secrets]}\n"
    assert (folder / "secrets.sls").exists()
    assert (pillar_folder / "site.sls").read_text() == "old: 1\n"


def test_the_example_pillar_is_valid(resolve):
    text = (ROOT / command.EXAMPLE).read_text()
    text = text.replace("{{ opts.django_formula }}", str(ROOT))
    config = resolve(yaml.safe_load(text)["django"])
    assert config["errors"] == []
    assert (ROOT / "examples/guestbook/manage.py").exists()


# Preflight

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1
   1: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 4712 1
   2: 0100007F:0016 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4713 1
"""


def test_listening_sockets_are_read_from_the_kernels_table():
    assert preflight.sockets(TABLE) == {80: {"4711"}, 5432: {"4712"}}


def test_owners_are_the_processes_that_hold_a_socket(tmp_path):
    for pid, inode in (("9", "1"), ("77", "4711")):
        (tmp_path / pid / "fd").mkdir(parents=True)
        (tmp_path / pid / "fd" / "3").symlink_to(f"socket:[{inode}]")
        (tmp_path / pid / "comm").write_text("apache2\n")
    (tmp_path / "self").mkdir()
    assert preflight.owners({"4711"}, tmp_path) == [(77, "apache2")]


@pytest.mark.parametrize(
    ("holders", "said"),
    [
        ([(7, "nginx"), (8, "nginx")], []),
        ([(7, "apache2")], ["apache2 (process 7)"]),
        ([], ["another program"]),
    ],
)
def test_a_port_is_taken_by_any_program_but_the_one_it_is_for(holders, said):
    found = preflight.taken(
        [(80, "the front door (Nginx)", ("nginx",)), (81, "x", ())], {80: {"1"}}, lambda _: holders
    )
    assert len(found) == len(said)
    assert all(f"port 80 is taken by {who};" in text for who, text in zip(said, found, strict=True))


def test_ports_wanted_are_those_of_the_configuration(resolve):
    config = resolve(
        {
            "nginx": {"port": 8080},
            "projects": {"shop": {"source": {"path": "/srv/src"}, "settings": "shop.settings"}},
        }
    )
    ports = [port for port, *_ in preflight.wanted(config)]
    assert ports[:2] == [8080, 5432]
    assert ports[2] == config["redis"]["instances"][0]["port"]


def test_apache_may_take_the_ports_of_the_nginx_that_it_replaces(resolve, tmp_path):
    project = {"source": {"path": "/srv/src"}, "web": {"server": "apache"}}
    config = resolve({"projects": {"shop": project}})
    assert preflight.wanted(config)[0] == (80, "the front door (Apache)", ("apache2",))
    assert report.stack(config).endswith("Apache")
    assert list(report.served(config)) == ["shop"]
    (tmp_path / "ours").write_text("# Written by django-formula; the next run replaces changes.\n")
    (tmp_path / "theirs").write_text("user www-data;\n")
    for name, programs in (("ours", ("apache2", "nginx")), ("theirs", ("apache2",))):
        servers = {"nginx": (("nginx",), f"{tmp_path}/{name}"), "apache": (("apache2",), "")}
        assert preflight.holders("apache", servers) == programs


# What is said of files that cannot be rendered


def test_a_rendering_error_shows_no_line_of_the_file():
    error = "Rendering SLS 'site' failed, render error:\nbad indent; line 3\n\n---\na: hunter2\n---"
    assert engine.rendering_error(error) == "Rendering SLS 'site' failed, bad indent; line 3"


def test_a_rendering_error_of_a_program_is_told_by_its_last_line():
    error = (
        "Rendering SLS 'site' failed, render error:\nTraceback (most recent call last):\n"
        '  File "/run/site.sls", line 3, in run\n    raise RuntimeError("x")\nRuntimeError: x\n'
    )
    assert engine.rendering_error(error) == "Rendering SLS 'site' failed, RuntimeError: x"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a:\n\tb: hunter2\n", "line 2, column 1 (indent with spaces, not with tabs)"),
        ("a: @hunter2\n", "line 1, column 4 (a value that begins with @ has to be in quotes)"),
        ("a: {b: */5 * *}\n", "line 1, column 8"),
        (
            "a: b: hunter2\n",
            "line 1, column 5 (a value with a colon and a space",
        ),
        ("a: [hunter2\n", "line 2, column 1"),
        (
            "#!yaml|gpg\na: %x\n",
            "line 2, column 4 (a value that begins with % has to be in quotes)",
        ),
    ],
)
def test_where_a_pillar_is_not_yaml(text, place):
    assert syntax.place(text).startswith(place)
    assert "hunter2" not in syntax.place(text)


@pytest.mark.parametrize("text", ["a: 1\n", "{% if x %}\na: @\n", "#!py\na: @\n", "a: &b [*b]\n"])
def test_what_is_yaml_or_becomes_it_has_no_such_place(text):
    assert syntax.place(text) is None


@pytest.mark.parametrize(
    ("name", "level", "logged"),
    [
        ("salt.state", logging.INFO, True),
        ("bootstrap", logging.INFO, True),
        ("salt.loaded.int.module.cmdmod", logging.INFO, False),
        ("salt.loaded.int.module.cmdmod", logging.ERROR, True),
    ],
)
def test_the_log_holds_states_and_what_is_wrong(name, level, logged):
    record = logging.LogRecord(name, level, "", 1, "text", (), None)
    assert session.worth_logging(record) is logged


def test_the_log_shows_no_line_of_a_pillar_that_cannot_be_rendered():
    record = logging.LogRecord("salt.pillar", 50, "", 1, "bad: %s", ("x\n---\nhunter2",), None)
    assert session.worth_logging(record)
    assert record.getMessage() == "bad: x"
