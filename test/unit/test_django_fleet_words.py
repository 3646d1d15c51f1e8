"""What operators read of a fleet."""

import django_fleet_words


def test_table_is_as_wide_as_its_entries():
    lines = django_fleet_words.table(("server", "now"), [("web1", "4f2a"), ("w", None)])
    assert lines == ["server  now", "web1    4f2a", "w       -"]


def test_long_lists_are_cut():
    assert django_fleet_words.listed(["a", "b", "c"], 2) == "a, b and 1 more"


def test_end_of_a_deploy():
    data = {
        "web1": {"before": "aaa", "now": "bbb", "seconds": 12, "result": "done"},
        "web2": {"before": "aaa", "now": "aaa", "seconds": None, "result": "not reached"},
    }
    assert django_fleet_words.summary(data) == [
        "server  before  now  seconds  result",
        "web1    aaa     bbb  12       done",
        "web2    aaa     aaa  -        not reached",
    ]


def test_halt_says_what_is_where_and_what_to_type():
    before = dict.fromkeys(["web1", "web2", "web3"], "aaa")
    now = {**before, "web1": "bbb"}
    again = "salt-run django.deploy shop"
    assert django_fleet_words.halted(
        "shop", "batch 2/3", {"web2": "no health\nlog"}, now, again, before
    ) == [
        "shop: halted at: batch 2/3",
        "  web2: no health",
        "    log",
        "What serves:",
        "  aaa on web2, web3",
        "  bbb on web1",
        "Type next:",
        "  salt-run django.deploy shop                once the cause is mended: it goes on",
        "  salt-run django.rollback shop release=aaa  to be back at what was before",
        "  salt-run django.status shop                what runs",
    ]


def test_halt_before_anything_went_live_offers_no_way_back():
    same = {"web1": "aaa", "web2": None}
    lines = django_fleet_words.halted("shop", "migrate", {}, same, "again", same)
    assert "  nothing on web2" in lines and "rollback" not in str(lines)


def test_status_has_what_is_wrong_below():
    state = {"release": "aaa", "revision": "a" * 40, "processes": {"a": "RUNNING", "b": "FATAL"}}
    answers = {
        "web1": {"shop": {**state, "healthy": True}},
        "web2": {"shop": {**state, "healthy": False, "problem": "answers 500"}},
        "web3": "does not answer",
    }
    lines = django_fleet_words.status(answers)
    assert lines[1].split() == ["web1", "shop", "aaa", "aaaaaaaaaaaa", "1/2", "healthy"]
    assert "NOT healthy" in lines[2] and "no answer" in lines[3]
    assert lines[-2:] == ["  web2: shop: answers 500", "  web3: does not answer"]


def test_a_balancer_has_a_row_and_what_is_no_project_s_none():
    up = {"state": "UP", "drained": False, "requests": 0}
    pool = {"web1": up, "web2": {**up, "drained": True}, "web3": {**up, "state": "DOWN"}}
    answers = {
        "lb1": {"shop": {"url": "http://a", "pool": pool}, "last pull": {"failed": False}},
        "db1": {"shop": {"url": "http://a"}},
    }
    [_, line] = django_fleet_words.status(answers)
    assert line.split(maxsplit=5) == ["lb1", "shop", "-", "-", "-", "1 of 3 get requests"]


def test_history_is_in_the_order_of_time():
    entries = [
        {"server": "web2", "time": "2026-01-02T00:00:00Z", "release": "bbb", "revision": "v2"},
        {"server": "web1", "time": "2026-01-01T00:00:00Z", "release": "aaa", "revision": None},
    ]
    lines = django_fleet_words.history(entries)
    assert lines[1].split() == ["2026-01-01T00:00:00Z", "web1", "aaa", "-"]
    assert lines[2].endswith("bbb      v2")
