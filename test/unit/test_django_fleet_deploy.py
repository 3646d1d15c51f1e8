"""The order of a release over several servers, and where it stops, on simulated servers."""

import types

import django_fleet_deploy
import pytest
from django_fleet_deploy import Halted, Rollout
from django_fleet_orders import SILENT, Answer

HOSTS = {
    "jobs1": ["worker"],
    "lb1": ["balancer"],
    "web1": ["app", "web"],
    "web2": ["app", "web"],
    "web3": ["app", "web"],
}
SWITCHED = "shop: what runs is verified"


class Fleet:
    """
    Servers that do what they are told; ``fails`` is what does not work: ``{(server, function or
    ID): why}``. ``told`` has each order with its servers.
    """

    def __init__(self, hosts, fails=None):
        self.hosts, self.fails, self.told = hosts, fails or {}, []
        self.live = dict.fromkeys(hosts, "aaa")
        self.wanted = dict.fromkeys(hosts, "bbb")
        self.left = {"web1": ["shop: old releases are gone", "Nginx runs"]}
        self.away, self.fewest = set(), len(hosts)
        self.named_by = dict.fromkeys(hosts, "one")

    def ask(self, names, function, *arguments, heard=lambda name, answer: None, **_):
        what = arguments[0] if function == "state.sls_id" else function
        self.told.append((what, list(names)))
        if function in ("django.drain", "django.undrain"):
            self.told[-1] = (function, arguments[0])
        answers = {}
        for name in names:
            answers[name] = self._answer(name, function, what, arguments)
            heard(name, answers[name])
        return answers

    def _answer(self, name, function, what, arguments):
        if (name, what) in self.fails:
            return Answer(problem=self.fails[name, what])
        if function == "django.drained":
            return Answer(sorted(self.away))
        if function == "django.drain":
            self.away.add(arguments[0])
        elif function == "django.undrain":
            self.away.discard(arguments[0])
        elif what == SWITCHED:
            self.live[name] = self.wanted[name]
            in_service = {each for each in self.hosts if "web" in self.hosts[each]} - self.away
            self.fewest = min(self.fewest, len(in_service))
        elif function == "django.rollback":
            self.live[name] = "aaa"
        if function == "state.sls_id":
            return Answer({"a": {"__id__": what, "changes": {"x": 1}, "__run_num__": 0}})
        return Answer(
            {
                "release": self.wanted[name] if function == "django.stand_by" else self.live[name],
                "named_by": self.named_by[name],
                "target": f"{self.wanted[name]}-1",
                "instance": f"{self.live[name]}-1",
                "finish": self.left.get(name, ["shop: old releases are gone"]),
                "comment": "done",
                "database_is_ahead_by": {},
            }
        )

    def order(self, *words):
        """What was told, in its order, without what is looked at only."""
        return [each for each in self.told if any(word in each[0] for word in words)]


def made(fleet, batch=1, drained=(), said=None):
    note = types.SimpleNamespace(drained=list(drained))
    note.write = lambda names: setattr(note, "drained", list(names))
    said = said if said is not None else []
    before = dict.fromkeys(fleet.hosts, "aaa")
    rollout = Rollout(
        fleet, lambda *line: said.append(line), "shop", fleet.hosts, before, batch, note
    )
    rollout.note = note
    return rollout


def test_a_release_in_its_order():
    fleet = Fleet(HOSTS)
    rollout = made(fleet)
    rollout.deploy()
    everyone = ["web1", "web2", "web3", "jobs1"]
    assert fleet.told == [
        ("django.drained", ["lb1"]),
        ("shop: static files are published", everyone),
        ("django.stand_by", everyone),
        ("django.apply_migrations", ["web1"]),
        ("django.drain", "web1"),
        (SWITCHED, ["web1"]),
        ("django.health", ["web1"]),
        ("django.undrain", "web1"),
        ("django.drain", "web2"),
        (SWITCHED, ["web2"]),
        ("django.health", ["web2"]),
        ("django.undrain", "web2"),
        ("django.drain", "web3"),
        (SWITCHED, ["web3"]),
        ("django.health", ["web3"]),
        ("django.undrain", "web3"),
        (SWITCHED, ["jobs1"]),
        ("django.health", ["jobs1"]),
        ("django.apply_late_migrations", ["web1"]),
        ("shop: old releases are gone", everyone),
        ("Nginx runs", ["web1"]),
    ]
    assert set(rollout.results.values()) == {"done"} and rollout.wanted == "bbb"
    assert fleet.fewest == 2


def test_static_hosts_have_all_files_before_and_change_last():
    """Nobody takes them out of the balancers, as they go on serving what they have."""
    hosts = {**HOSTS, "files1": ["static"], "files2": ["static"]}
    fleet = Fleet(hosts)
    made(fleet, 3).deploy()
    everyone = ["web1", "web2", "web3", "files1", "files2", "jobs1"]
    assert fleet.told[1] == ("shop: static files are published", everyone)
    assert fleet.order(SWITCHED) == [
        (SWITCHED, ["web1", "web2", "web3"]),
        (SWITCHED, ["jobs1"]),
        (SWITCHED, ["files1", "files2"]),
    ]
    assert fleet.order("drain")[1:] == []
    assert ("django.apply_migrations", ["web1"]) in fleet.told


def test_no_balancer_is_no_hindrance():
    hosts = {name: roles for name, roles in HOSTS.items() if name != "lb1"}
    fleet = Fleet(hosts)
    made(fleet).deploy()
    assert fleet.order("drain") == [] and set(fleet.live.values()) == {"bbb"}


@pytest.mark.parametrize(("batch", "drains"), [("100%", 0), (2, 3), ("50%", 3)])
def test_never_all_web_servers_are_drained(batch, drains):
    fleet = Fleet(HOSTS)
    made(fleet, batch).deploy()
    assert len(fleet.order("django.drain")) == drains + 1
    assert fleet.fewest >= 1


def test_servers_that_have_it_are_looked_at_and_not_drained():
    fleet = Fleet(HOSTS)
    fleet.live.update(web1="bbb", web2="bbb")
    rollout = made(fleet)
    rollout.deploy()
    assert fleet.order(SWITCHED)[0] == (SWITCHED, ["web1", "web2"])
    assert fleet.order("django.drain")[1:] == [("django.drain", "web3")]
    assert rollout.results["web1"] == "was there already"


def test_where_all_have_it_nothing_is_switched():
    """The states that are left to do look at all that comes before them."""
    fleet = Fleet(HOSTS)
    fleet.live.update(dict.fromkeys(HOSTS, "bbb"))
    rollout = made(fleet)
    rollout.deploy()
    assert fleet.order("django.drain", SWITCHED, "late") == [("django.drained", ["lb1"])]
    assert set(rollout.results.values()) == {"was there already"}


@pytest.mark.parametrize("fails", [SWITCHED, "django.health"], ids=["switch", "health"])
def test_first_batch_that_fails_is_the_last(fails):
    fleet = Fleet(HOSTS, {("web1", fails): "it is broken"})
    rollout = made(fleet)
    with pytest.raises(Halted) as halted:
        rollout.deploy()
    assert halted.value.failures == {"web1": "it is broken"} and "batch 1/3" in halted.value.step
    assert {fleet.live[name] for name in ("web2", "web3", "jobs1")} == {"aaa"}
    assert fleet.away == set(), "it is back in the balancer"
    assert rollout.results["web1"].startswith("FAILED at batch 1/3")
    assert rollout.results["web2"] == "not reached"
    assert fleet.order("late") == []


def test_server_that_cannot_be_spared_is_switched_all_the_same():
    fleet, said = Fleet(HOSTS, {("lb1", "django.drain"): "No other host would serve"}), []
    made(fleet, said=said).deploy()
    assert {fleet.live[name] for name in HOSTS if name != "lb1"} == {"bbb"}
    assert ("batch 1/3", "web1: not drained: No other host would serve") in said


@pytest.mark.parametrize("step", ["shop: static files are published", "django.apply_migrations"])
def test_failure_before_the_switch_changes_nothing_that_serves(step):
    fleet = Fleet(HOSTS, {("web1", step): "it is broken"})
    with pytest.raises(Halted):
        made(fleet).deploy()
    assert set(fleet.live.values()) == {"aaa"} and fleet.order("django.drain", SWITCHED) == [
        ("django.drained", ["lb1"])
    ]


def test_one_that_fails_in_a_batch_leaves_the_others_of_it_switched():
    fleet = Fleet(HOSTS, {("web1", SWITCHED): SILENT})
    rollout = made(fleet, 2)
    with pytest.raises(Halted):
        rollout.deploy()
    data = rollout.data({**fleet.live})
    assert data["web2"]["result"] == "done" and data["web2"]["now"] == "bbb"
    assert data["web3"]["result"] == "not reached"


def test_server_that_is_not_taken_back_halts():
    fleet = Fleet(HOSTS, {("lb1", "django.undrain"): "web1 is not healthy"})
    rollout = made(fleet)
    with pytest.raises(Halted) as halted:
        rollout.deploy()
    assert halted.value.failures["web1"] == "stays out of the balancer:\nlb1: web1 is not healthy"
    assert fleet.live["web2"] == "aaa" and rollout.note.drained == ["web1"]


def test_server_that_fails_and_is_not_taken_back_tells_both():
    fails = {("web1", "django.health"): "answers 500", ("lb1", "django.undrain"): "web1 is down"}
    with pytest.raises(Halted) as halted:
        made(Fleet(HOSTS, fails)).deploy()
    told = "answers 500\nstays out of the balancer:\nlb1: web1 is down"
    assert halted.value.failures == {"web1": told}


def test_server_that_was_left_out_for_its_health_does_not_hinder_its_mending():
    fleet = Fleet(HOSTS)
    rollout = made(fleet, drained=["web1"])
    fleet.fails["lb1", "django.undrain"] = "web1 is not healthy"
    ask = fleet.ask

    def mended(names, function, *arguments, **keywords):
        if SWITCHED in arguments:
            fleet.fails.clear()
        return ask(names, function, *arguments, **keywords)

    fleet.ask = mended
    rollout.deploy()
    assert fleet.away == set() and rollout.note.drained == []
    assert set(rollout.results.values()) == {"done"}


def test_what_a_killed_deploy_had_drained_comes_back():
    fleet = Fleet(HOSTS)
    rollout = made(fleet, drained=["web2", "gone"])
    rollout.deploy()
    assert fleet.told[1] == ("django.undrain", "web2") and rollout.note.drained == []


def test_whom_an_operator_has_drained_stays_out():
    fleet = Fleet(HOSTS)
    fleet.away.add("web2")
    said = []
    made(fleet, said=said).deploy()
    assert fleet.away == {"web2"} and fleet.live["web2"] == "bbb"
    assert ("balancer", "web2: stay drained") in said


def test_balancer_that_cannot_be_asked_changes_nothing():
    fleet = Fleet(HOSTS, {("lb1", "django.drained"): "HAProxy does not run"})
    with pytest.raises(Halted, match="balancers are asked"):
        made(fleet).deploy()
    assert len(fleet.told) == 1


def test_interruption_puts_back_what_was_drained():
    fleet = Fleet(HOSTS)
    real = fleet._answer

    def interrupted(name, function, what, arguments):
        if what == SWITCHED:
            raise KeyboardInterrupt
        return real(name, function, what, arguments)

    fleet._answer = interrupted
    with pytest.raises(KeyboardInterrupt):
        made(fleet).deploy()
    assert fleet.told[-1] == ("django.undrain", "web1")


def test_servers_with_different_releases_do_not_get_one():
    fleet = Fleet(HOSTS)
    fleet.wanted["web2"] = "ccc"
    with pytest.raises(Halted, match="same source") as halted:
        made(fleet).deploy()
    assert "ccc" in halted.value.failures["web2"]
    assert set(fleet.live.values()) == {"aaa"}


def test_servers_that_name_releases_by_different_keys_are_told_what_to_do():
    fleet = Fleet(HOSTS)
    fleet.wanted["web2"] = "ccc"
    fleet.named_by["web2"] = "another"
    with pytest.raises(Halted, match="rm /srv/django/shop/names.json"):
        made(fleet).deploy()


def test_going_back_in_batches():
    fleet = Fleet(HOSTS)
    fleet.live.update(web1="bbb", web2="bbb")
    rollout = made(fleet, "50%")
    rollout.go_back("aaa", ["web1", "web2"], ["web3", "jobs1"])
    assert fleet.told[1:] == [
        ("django.release_hold", ["web3", "jobs1"]),
        ("django.drain", "web1"),
        ("django.rollback", ["web1"]),
        ("django.undrain", "web1"),
        ("django.drain", "web2"),
        ("django.rollback", ["web2"]),
        ("django.undrain", "web2"),
    ]
    assert set(fleet.live.values()) == {"aaa"}


def test_progress_is_told_as_it_happens():
    said = []
    made(Fleet(HOSTS), said=said).deploy()
    assert ("batch 1/3", "web1: drained") in said
    assert ("batch 1/3", "web1: bbb serves and is healthy (0 s)") in said
    assert ("finish", "web1: Nginx runs") in said
    assert any(step == "migrate" and line.startswith("web1: done (0 s)") for step, line in said)
    assert django_fleet_deploy.NOT_REACHED not in str(said)
