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
