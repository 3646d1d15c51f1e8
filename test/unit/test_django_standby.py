"""A cluster's folder: what is in it, and what a run that was killed has left beside it."""

import pathlib

import django_standby
import pytest


@pytest.fixture
def cluster(tmp_path):
    """Function that makes a folder as initdb does, with these files besides; its path."""

    def make(*files, name="main"):
        folder = tmp_path / name
        for path in (
            "PG_VERSION",
            "global/pg_control",
            "pg_tblspc/",
            *(f"base/{number}/1259_fsm" for number in (1, 4, 5)),
            "base/5/pg_internal.init",
            *files,
        ):
            if path.endswith("/"):
                (folder / path).mkdir(parents=True, exist_ok=True)
                continue
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).touch()
        return str(folder)

    return make


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ([], "fresh"),
        (["base/16384/1259"], "data"),
        (["base/5/16384.1"], "data"),
        (["base/5/16390_vm"], "data"),
        (["pg_tblspc/16400"], "data"),
        (["base/pgsql_tmp/t"], "fresh"),
        (["standby.signal", "base/16384/1259"], "standby"),
    ],
)
def test_what_is_in_a_folder(cluster, files, kind):
    assert django_standby.kind(cluster(*files)) == kind


def test_folder_that_is_not_there_is_missing(tmp_path):
    assert django_standby.kind(str(tmp_path / "main")) == "missing"


@pytest.mark.parametrize(
    "files",
    [
        ["standby.signal", "base/16384/1259"],
        ["backup_label", "base/16384/1259"],
        [],
    ],
)
def test_copy_and_what_nobody_used_goes(cluster, files):
    data = cluster()
    left = cluster(*files, name="main.django-copy")
    assert django_standby.tidy(data) is None
    assert not pathlib.Path(left).exists()


def test_half_a_copy_goes(cluster, tmp_path):
    data = cluster()
    (tmp_path / "main.django-copy/base/16384").mkdir(parents=True)
    assert django_standby.tidy(data) is None
    assert [path.name for path in tmp_path.iterdir()] == ["main"]


def test_data_of_an_old_primary_is_kept(cluster):
    data = cluster("standby.signal")
    cluster("base/16384/1259", name="main.django-copy")
    aside = django_standby.tidy(data)
    assert aside.startswith(f"{data}.before-2")
    assert pathlib.Path(aside, "base/16384/1259").exists()


def test_folders_change_places(cluster):
    data, other = cluster("base/16384/1259"), cluster(name="other")
    django_standby.exchange(data, other)
    assert django_standby.kind(data) == "fresh" and django_standby.kind(other) == "data"


def test_exchange_with_nothing_is_told(cluster, tmp_path):
    with pytest.raises(FileNotFoundError):
        django_standby.exchange(cluster(), tmp_path / "nothing")


def test_mark_makes_a_standby(cluster):
    data = cluster()
    django_standby.mark(data)
    assert django_standby.kind(data) == "standby"


@pytest.mark.parametrize(
    ("kind", "role", "ours", "problem"),
    [
        ("standby", "primary", True, "promote it"),
        ("standby", "", True, "promote it"),
        ("standby", "standby", True, None),
        ("data", "primary", False, None),
        ("data", "standby", False, "databases of its own"),
        ("data", "standby", True, None),
        ("fresh", "standby", False, None),
    ],
)
def test_cluster_that_does_not_fit_the_role(monkeypatch, kind, role, ours, problem):
    monkeypatch.setattr(django_standby, "kind", lambda _: kind)
    replication = {"role": role, "primary": {"name": "db1"}} if role else {}
    server = {"version": "15", "replication": replication}
    told = django_standby.misplaced(server, [{"version": "15", "ours": ours}])
    assert (problem in told) if problem else told is None


def test_following_is_of_the_primary_of_the_map():
    server = {"replication": {"primary": {"address": "10.0.0.21"}}}
    receiver = {"status": "streaming", "host": "10.0.0.21"}
    assert django_standby.is_streaming(server, {"receiver": receiver})
    for other in ({"status": "waiting"}, {"host": "10.0.0.22"}):
        assert not django_standby.is_streaming(server, {"receiver": {**receiver, **other}})
    assert not django_standby.is_streaming(server, {"receiver": None})


@pytest.fixture
def server(cluster):
    """The configuration of a host with the role replica, whose cluster has data."""
    peer = {"name": "db1", "address": "10.0.0.21"}
    replication = {"data": cluster("base/16384/1259"), "primary": peer, "slot": "django_db2"}
    replication.update(user="django_replica", passfile="/etc/x", unit="postgresql@15-main")
    return {"version": "15", "port": 5432, "config_dir": "/etc/x", "replication": replication}


def test_rewind_that_was_broken_off_does_not_go_on(server, monkeypatch):
    """Half of the cluster may be the other's: not even its own log is to be believed."""
    pathlib.Path(server["replication"]["data"] + django_standby.REWINDING).touch()
    monkeypatch.setattr(django_standby, "recover", lambda _: pytest.fail("it is not started"))
    with pytest.raises(django_standby.CommandError, match="broken off before"):
        django_standby.rewind(server, "1\t0/3000060\tpromoted", force=False)


@pytest.mark.parametrize("force", [False, True])
def test_transactions_that_only_this_host_has_do_not_go_unasked(server, monkeypatch, force):
    data = server["replication"]["data"]
    commands = []
    monkeypatch.setattr(django_standby, "control", lambda _: {"state": "shut down", "timeline": 1})
    monkeypatch.setattr(django_standby, "commits_after", lambda *_: 2)
    monkeypatch.setattr(django_standby, "run", lambda argv, **_: commands.append(argv))
    if force:
        assert django_standby.rewind(server, "1\t0/3000060\tpromoted", force) == 2
        assert [argv[0].rpartition("/")[2] for argv in commands] == ["pg_rewind"]
        assert django_standby.kind(data) == "standby"
    else:
        with pytest.raises(django_standby.StandbyError, match="not on db1: 2"):
            django_standby.rewind(server, "1\t0/3000060\tpromoted", force)
        assert commands == [] and django_standby.kind(data) == "data"
    assert not pathlib.Path(data + django_standby.REWINDING).exists()


def test_copy_that_fails_leaves_the_cluster_and_takes_no_room(server, monkeypatch):
    data = server["replication"]["data"]

    def fail(argv, **_):
        pathlib.Path(data + django_standby.COPY, "base").mkdir(parents=True)
        raise django_standby.CommandError(argv, 1, "No space left on device", "exit status 1")

    monkeypatch.setattr(django_standby, "run", fail)
    with pytest.raises(django_standby.CommandError, match="No space left"):
        django_standby.copy(server)
    assert django_standby.kind(data) == "data"
    assert not pathlib.Path(data + django_standby.COPY).exists()


@pytest.mark.parametrize("tries", [1, 3])
def test_copy_waits_until_one_that_was_broken_off_has_let_go(server, monkeypatch, tries):
    data = server["replication"]["data"]
    begun = []

    def copied(argv, **_):
        if not argv[0].endswith("pg_basebackup"):
            return
        begun.append(argv)
        pathlib.Path(data + django_standby.COPY, "base").mkdir(parents=True)
        if len(begun) < tries:
            said = 'replication slot "django_db2" is active for PID 456'
            raise django_standby.CommandError(argv, 1, said, "exit status 1")

    monkeypatch.setattr(django_standby, "run", copied)
    monkeypatch.setattr(django_standby, "PAUSE", 0)
    monkeypatch.setattr(django_standby, "stop", lambda _: None)
    django_standby.copy(server)
    assert len(begun) == tries
    assert django_standby.is_standby(data)
