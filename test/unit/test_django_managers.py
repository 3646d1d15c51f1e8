"""A project's programs in two process managers, while it changes from one to the other."""

import pytest
from django_managers import Managers


class Manager:
    def __init__(self, kind, *names):
        self.kind, self.names, self.did, self.test = kind, names, [], False

    def programs(self):
        return {name: {"running": True} for name in self.names}

    def start(self, name, definition):
        self.did.append(("start", name))

    def differs(self, name, definition):
        return self.kind

    def failure(self, name):
        return self.kind

    def stop(self, name, timeout):
        self.did.append(("stop", name))

    def dismiss(self, name):
        self.did.append(("dismiss", name))

    def discard(self, name):
        self.did.append(("discard", name))

    def activate(self, name):
        self.did.append(("activate", name))


@pytest.fixture
def both():
    new, old = Manager("systemd", "shop.web.b"), Manager("supervisord", "shop.web.a")
    return Managers(new, old, slots=Manager("apache"), embedded=Manager("own")), new, old


def test_programs_of_both_are_seen(both):
    managers, *_ = both
    assert managers.kind == "systemd"
    assert set(managers.programs()) == {"shop.web.a", "shop.web.b"}


def test_new_ones_go_to_the_chosen_one(both):
    managers, new, old = both
    managers.start("shop.web.c", {})
    assert (new.did, old.did) == ([("start", "shop.web.c")], [])
    assert managers.differs("shop.web.a", {}) == managers.failure("shop.web.a") == "systemd"


def test_what_apache_runs_goes_to_its_slots(both):
    managers, new, old = both
    slots = managers.slots
    inside = {"mod_wsgi": {"module": "shop.wsgi:application"}}
    managers.start("shop.web.d", inside)
    assert (slots.did, new.did, old.did) == ([("start", "shop.web.d")], [], [])
    slots.names = ("shop.web.d",)
    assert managers.differs("shop.web.d", inside) == managers.failure("shop.web.d") == "apache"
    managers.stop("shop.web.d", 5)
    assert slots.did[-1] == ("stop", "shop.web.d")
    assert set(managers.programs()) == {"shop.web.a", "shop.web.b", "shop.web.d"}


@pytest.mark.parametrize("verb, words", [("stop", [5]), ("dismiss", []), ("discard", [])])
def test_each_is_stopped_where_it_runs(both, verb, words):
    managers, new, old = both
    for name in ("shop.web.a", "shop.web.b"):
        getattr(managers, verb)(name, *words)
    assert (new.did, old.did) == ([(verb, "shop.web.b")], [(verb, "shop.web.a")])


def test_another_manager_may_be_missing(both):
    managers, new, old = both
    managers.test = False
    assert (managers.test, new.test, old.test) == (False, False, True)


def test_what_runs_in_apache_s_own_processes_is_activated(both):
    managers, new, old = both
    own, inside = managers.embedded, {"embedded": {"module": "shop.wsgi:application"}}
    managers.start("shop.web.e", inside)
    managers.activate("shop.web.e", inside)
    managers.activate("shop.web.d", {"mod_wsgi": {}})
    managers.activate("shop.web.c", {})
    assert own.did == [("start", "shop.web.e"), ("activate", "shop.web.e")]
    assert (managers.slots.did, new.did, old.did) == ([], [], [])
    own.names = ("shop.web.e",)
    assert managers.differs("shop.web.e", inside) == managers.failure("shop.web.e") == "own"
    managers.discard("shop.web.e")
    assert own.did[-1] == ("discard", "shop.web.e")
