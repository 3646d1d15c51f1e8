"""What servers answer to a master, and what their silence means."""

import django_fleet_orders
import pytest
from django_fleet_orders import SILENT, Minions, Orders, understood
from salt.exceptions import SaltClientError

RUNNING = ['The function "state.apply" is running as PID 7 and was started at 3 with jid 4']


class Script:
    """A client of Salt's: what is answered to the first order, the second, …"""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def answer_to(self, order):
        """The next answer, or failure."""
        self.asked.append(order)
        found = self.answers.pop(0)
        if isinstance(found, BaseException):
            raise found
        return found


class Client(Script):
    """Salt's LocalClient."""

    def cmd_iter(self, **order):
        for name, entry in self.answer_to(order).items():
            yield {name: entry}
        yield {"dead": {"failed": True}}


def ask_of(client, *waiting):
    return Orders(Minions(client), *waiting).ask


def state(result, comment="", number=0, changes=()):
    return {"__id__": f"state {number}", "__run_num__": number, "result": result} | {
        "comment": comment,
        "changes": dict.fromkeys(changes),
    }


def test_answers_come_by_name_and_silence_is_one():
    client, heard = Client({"web1": {"ret": 1, "retcode": 0}}), []
    answers = ask_of(client)(
        ["web1", "web2"], "django.x", "a", heard=lambda name, _: heard.append(name), test=True
    )
    assert answers["web1"].value == 1 and answers["web1"].problem is None
    assert answers["web2"].problem == SILENT
    assert heard == ["web1", "web2"]
    assert client.asked[0]["tgt"] == ["web1", "web2"] and client.asked[0]["tgt_type"] == "list"
    assert client.asked[0]["arg"] == ["a"] and client.asked[0]["kwarg"] == {"test": True}


def test_everybody_is_who_answers():
    client = Client({"web1": {"ret": {}, "retcode": 0}})
    assert list(ask_of(client)("*", "django.x")) == ["web1"]
    assert client.asked[0]["tgt_type"] == "glob"


def test_run_of_another_is_waited_for(monkeypatch):
    monkeypatch.setattr(django_fleet_orders.time, "sleep", lambda _: None)
    busy, done = {"ret": RUNNING, "retcode": 1}, {"ret": {"a": state(True)}, "retcode": 0}
    client, waited = Client({"web1": busy, "web2": done}, {"web1": done}), []
    answers = ask_of(client, waited.append)(["web1", "web2"], "state.sls_id")
    assert {name: answer.problem for name, answer in answers.items()} == {
        "web1": None,
        "web2": None,
    }
    assert client.asked[1]["tgt"] == ["web1"] and waited == ["web1"]


def test_master_that_is_away():
    with pytest.raises(django_fleet_orders.Unreachable, match="systemctl status salt-master"):
        ask_of(Client(SaltClientError("could not be contacted")))(["web1"], "django.x")


def test_minions_have_the_pillar_and_the_formula_before_they_are_asked():
    pillar = Client({"web1": {"ret": True, "retcode": 0}})
    assert Orders(Minions(pillar)).refresh("*") == ["web1"]
    assert pillar.asked[0]["fun"] == "saltutil.refresh_pillar"
    with pytest.raises(django_fleet_orders.Unreachable, match="salt-key --list accepted"):
        Orders(Minions(Client({}))).refresh("*")
    assert Orders(Minions(Client({}))).refresh(["web1"]) == []
    had = {"web1": {"ret": {"modules": ["django"]}}, "web2": {"ret": {"modules": []}}}
    modules = Client(had, {"web1": {"ret": True}})
    assert Orders(Minions(modules)).synchronise(["web1", "web2"]) == ["web1"]
    assert [order["fun"] for order in modules.asked] == [
        "saltutil.sync_all",
        "saltutil.refresh_modules",
    ]


@pytest.mark.parametrize(
    ("function", "entry", "problem"),
    [
        ("django.x", {"ret": "ERROR: no such project", "retcode": 1}, "no such project"),
        ("django.x", {"ret": "'django.x' is not available.", "retcode": 254}, "never applied"),
        ("django.x", {"ret": "", "retcode": 1}, "said nothing"),
        ("state.x", {"ret": ["Rendering SLS failed", "so"]}, "Rendering SLS failed\nso"),
        ("state.x", {"ret": "ERROR: no matches for ID"}, "no matches for ID"),
    ],
)
def test_failures_are_understood(function, entry, problem):
    assert problem in understood(function, entry).problem


def test_first_state_that_failed_is_named():
    told = {"b": state(False, "refused", 1), "c": state(False, "requisite", 2), "a": state(True)}
    answer = understood("state.sls_id", {"ret": told, "retcode": 2})
    assert answer.problem == "state 1: refused"


def test_what_changed_comes_in_its_order():
    told = {"b": state(True, "", 1, ["x"]), "c": state(True, "", 2), "a": state(True, "", 0, ["y"])}
    answer = understood("state.sls_id", {"ret": told})
    assert answer.problem is None
    assert django_fleet_orders.changed(answer) == ["state 0", "state 1"]
