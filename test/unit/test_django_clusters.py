"""PostgreSQL's clusters: what is on the host, and which major version may be wanted."""

import django_clusters
import pytest


@pytest.fixture
def cluster(tmp_path):
    """Function that makes a cluster's files; the folder as ``root``."""

    def make(version, name="main", start=None, ours=False):
        folder = tmp_path / version / name
        folder.mkdir(parents=True)
        (folder / "postgresql.conf").touch()
        if ours:
            (folder / "conf.d").mkdir()
            (folder / "conf.d/10-django-restart.conf").touch()
        if start:
            (folder / "start.conf").write_text(f"# Automatic startup\n\n{start}\n")

    make.root = tmp_path
    return make


def test_clusters_are_found(cluster):
    assert django_clusters.find(cluster.root) == []
    cluster("15", start="manual")
    cluster("17", ours=True)
    (cluster.root / "13" / "main").mkdir(parents=True)  # what a purged package leaves
    assert django_clusters.find(cluster.root) == [
        {"version": "15", "name": "main", "start": "manual", "ours": False},
        {"version": "17", "name": "main", "start": "auto", "ours": True},
    ]


@pytest.mark.parametrize(
    "wanted, is_given, there, said",
    [
        ("15", False, {}, None),
        ("15", False, {"15": "auto"}, None),
        ("15", True, {"15": "auto"}, None),
        ("17", False, {"15": "auto"}, "left out, which means 17 on this system"),
        ("17", True, {"15": "auto"}, "Say version: '15', or upgrade first"),
        ("17", True, {"15": "manual"}, "an empty 17 would be set up beside it"),
        ("17", False, {"15": "manual", "17": "auto"}, None),  # after pg_upgradecluster
        ("17", False, {"15": "auto", "17": "auto"}, "say which version has the projects' data"),
        ("17", True, {"15": "auto", "17": "auto"}, None),
        ("15", True, {"15": "auto", "17": "auto"}, None),
    ],
)
def test_version_that_has_the_data(cluster, wanted, is_given, there, said):
    for version, start in there.items():
        cluster(version, start=start)
    found = django_clusters.problem(wanted, is_given, django_clusters.find(cluster.root))
    assert found is None if said is None else said in found, found


@pytest.mark.parametrize("is_given", [True, False])
def test_cluster_that_the_projects_use_is_not_left_for_an_empty_one(cluster, is_given):
    """As when packages of a new version made one beside it, and the pillar already says so."""
    cluster("15", ours=True)
    cluster("17")
    found = django_clusters.problem("17", is_given, django_clusters.find(cluster.root))
    assert "this host starts 15/main, too" in found


def test_cluster_that_was_upgraded_from_is_left(cluster):
    cluster("15", start="manual", ours=True)
    cluster("17", ours=True)
    assert django_clusters.problem("17", True, django_clusters.find(cluster.root)) is None
