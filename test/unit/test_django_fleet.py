"""Which servers a deploy is for, in which order, and what is in its way."""

import django_fleet
import pytest

HOSTS = {
    "data1": ["cache", "database"],
    "jobs1": ["worker"],
    "lb1": ["balancer"],
    "web2": ["app", "web"],
    "web1": ["app", "web", "worker"],
}


def answer(**differs):
    """What a server of the fleet says."""
    said = {"valid": True, "errors": [], "hosts": HOSTS, "projects": ["shop"], "held": None}
    return {**said, "release": "aaa", "instance": "aaa-1", "named": ["v2"], **differs}


def answers(**differs):
    return {name: answer(**differs.get(name, {})) for name in HOSTS}


def test_web_servers_come_first_and_workers_alone_last():
    assert django_fleet.members(HOSTS) == ["web1", "web2", "jobs1"]


def test_a_server_that_is_alone_is_its_own_fleet():
    said = {"one": answer(hosts={})}
    assert django_fleet.members(django_fleet.choose("shop", said)) == ["one"]


def test_static_hosts_matter_to_projects_with_domains_for_them():
    hosts = {"web1": ["app", "web"], "files1": ["static", "monitor"]}
    known = {"projects": ["blog", "shop"], "static": ["shop"], "hosts": hosts}
    said = {name: answer(**known) for name in hosts}
    chosen = {name: django_fleet.choose(name, said) for name in known["projects"]}
    assert django_fleet.members(chosen["shop"]) == ["web1", "files1"]
    assert django_fleet.members(chosen["blog"]) == ["web1"]
    assert chosen["blog"]["files1"] == ["monitor"]


def test_servers_without_the_project_do_not_matter():
    others = {"mail": answer(hosts={}, projects=[]), **answers()}
    assert django_fleet.choose("shop", others) == HOSTS


def test_unknown_project_is_told_with_those_that_are_there():
    with pytest.raises(django_fleet.Refused, match=r"'shpo' \(did you mean shop\?\).*: shop"):
        django_fleet.choose("shpo", answers())


def test_two_fleets_are_told_apart_by_a_member():
    staging = {"stage1": ["app", "web", "database", "cache", "worker"]}
    both = {**answers(), "stage1": answer(hosts=staging)}
    with pytest.raises(django_fleet.Refused, match="fleet_of="):
        django_fleet.choose("shop", both)
    assert django_fleet.choose("shop", both, "stage1") == staging
    assert django_fleet.choose("shop", both, "web2") == HOSTS
    with pytest.raises(django_fleet.Refused, match="did you mean stage1"):
        django_fleet.choose("shop", both, "stag1")


def test_balancers_before_a_server():
    said = {**answers(), "alone": answer(hosts={})}
    assert django_fleet.balancers_of("web1", said) == ["lb1"]
    with pytest.raises(django_fleet.Refused, match="'web9' .did you mean web"):
        django_fleet.balancers_of("web9", said)
    with pytest.raises(django_fleet.Refused, match="No balancer is before alone"):
        django_fleet.balancers_of("alone", said)


@pytest.mark.parametrize(
    ("tells", "targets", "expected"),
    [("web2", False, ["web2"]), (None, True, ["web1"]), ("web2", True, ["web1", "web2"])],
)
def test_who_is_asked_to_keep_a_server_out_of_a_balancer_of_somebody_else(tells, targets, expected):
    hosts = {"web1": ["app", "web"], "web2": ["app", "web"]}
    outside = {"tells": tells, "targets": targets}
    said = {name: {**answer(hosts=hosts), "outside": outside} for name in hosts}
    assert django_fleet.balancers_of("web1", said) == expected
    del said["web1"]  # it may be lost
    if tells:
        assert django_fleet.balancers_of("web1", said) == ["web2"]
    else:
        with pytest.raises(django_fleet.Refused, match="^web1 does not answer, and only"):
            django_fleet.balancers_of("web1", said)


@pytest.mark.parametrize(
    ("batch", "count", "expected"),
    [(1, 8, 1), ("3", 8, 3), ("25%", 8, 2), ("25%", 3, 1), ("100%", 3, 3), ("1%", 1000, 10)],
)
def test_size_of_a_batch(batch, count, expected):
    assert django_fleet.size(batch, count) == expected


@pytest.mark.parametrize("batch", [0, "0%", "101%", -1, "half", "2.5", None, 1.5, True])
def test_size_that_is_none_is_refused(batch):
    with pytest.raises(django_fleet.Refused, match="batch: expected"):
        django_fleet.size(batch, 4)


def test_nothing_is_in_the_way():
    assert django_fleet.problems("shop", HOSTS, answers(), "v2", ["lb1"]) == []


def test_all_mistakes_at_once():
    said = answers(
        web1={"valid": False, "errors": ["django:projects:shop:app: no"]},
        web2={"valid": False, "errors": ["django:projects:shop:app: no"]},
        data1={"valid": False, "errors": ["django:postgresql: no"]},
    )
    said["jobs1"] = "does not answer"
    del said["lb1"]
    assert django_fleet.problems("shop", HOSTS, said, None, ["lb1"]) == [
        "jobs1: does not answer",
        "lb1: does not answer",
        "data1: django:postgresql: no",
        "web1, web2: django:projects:shop:app: no",
    ]


def test_a_server_of_data_need_not_answer():
    said = answers()
    said["data1"] = "does not answer"
    assert django_fleet.problems("shop", HOSTS, said) == []


def test_what_is_held_back_is_not_deployed():
    said = answers(web1={"held": "Release bbb failed"}, web2={"held": "Release bbb failed"})
    assert django_fleet.problems("shop", HOSTS, said) == [
        "web1, web2: Release bbb failed",
        "To have it tried again: salt -L web1,web2 django.release_allow shop",
    ]


def test_another_revision_than_the_pillar_s_is_refused():
    (told,) = django_fleet.problems("shop", HOSTS, answers(), "v3")
    assert "'v3'" in told and "the pillar says v2" in told and "django:projects:shop:source" in told
    (told,) = django_fleet.problems("shop", HOSTS, answers(web2={"named": ["v1"]}), "v2")
    assert "the pillar says v1 on web2" in told


def test_revision_of_a_source_that_names_none():
    said = {name: answer(named=[]) for name in HOSTS}
    (told,) = django_fleet.problems("shop", HOSTS, said, "v3")
    assert "names no revision" in told


NEW = dict.fromkeys(["web1", "web2", "jobs1"], "bbb")
OLD = dict.fromkeys(NEW, "aaa")
SINCE = dict.fromkeys(NEW, "2026-01-01T00:00:00Z")


def test_all_go_back_to_the_one_before():
    assert django_fleet.way_back("shop", NEW, OLD, SINCE) == (list(NEW), [], "aaa")


def test_after_a_halt_those_go_back_that_have_the_new_one():
    now = {**OLD, "web1": "bbb"}
    back = {"web1": "aaa", "web2": "000", "jobs1": "000"}
    assert django_fleet.way_back("shop", now, back, SINCE) == (["web1"], ["web2", "jobs1"], "aaa")


def test_earlier_configuration_of_the_same_release():
    assert django_fleet.way_back("shop", NEW, dict.fromkeys(NEW), SINCE) == (list(NEW), [], None)


def test_servers_with_different_pasts_are_not_guessed_about():
    with pytest.raises(
        django_fleet.Refused, match=r"web2: bbb serves, before it 000\n.*\n.*release="
    ):
        django_fleet.way_back("shop", NEW, {**OLD, "web2": "000"}, SINCE)
    now = {"web1": "bbb", "web2": "aaa"}
    back = {"web1": "aaa", "web2": "bbb"}
    with pytest.raises(django_fleet.Refused, match="release=ID"):
        django_fleet.way_back("shop", now, back, SINCE)
    later = {**SINCE, "web1": "2026-01-02T00:00:00Z"}
    assert django_fleet.way_back("shop", now, back, later) == (["web1"], ["web2"], "aaa")


def test_named_release_is_gone_back_to():
    now = {**NEW, "web2": "aaa"}
    found = django_fleet.way_back("shop", now, OLD, SINCE, "aa")
    assert found == (["web1", "jobs1"], ["web2"], "aaa")
    with pytest.raises(django_fleet.Refused, match="serves on every server already"):
        django_fleet.way_back("shop", OLD, OLD, SINCE, "aaa")


def test_server_that_cannot_go_back_keeps_all_from_it():
    with pytest.raises(django_fleet.Refused, match="web2: No release to go back to"):
        wrong = {**OLD, "web2": ValueError("No release to go back to")}
        django_fleet.way_back("shop", NEW, wrong, SINCE)
