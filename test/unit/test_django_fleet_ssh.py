"""Orders over SSH: who is asked how, what the answers mean, and what ends with an operator."""

import subprocess
import sys
import time

import django_fleet
import django_fleet_ssh
import pytest
from django_fleet_orders import CROSSED, Orders, Unreachable
from salt.exceptions import SaltClientError, SaltSystemExit
from test_django_fleet_orders import Script

CHANGED = (
    "@@@@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\n@@@@@\nHost key verification"
)
UNKNOWN = (
    "No ED25519 host key is known for 10.0.0.1 and you have requested strict checking.\r\n"
    "Host key verification failed.\r\n"
)
DENIED = "root@10.0.0.1: Permission denied (publickey,password).\r\n"
REFUSED = "ssh: connect to host 10.0.0.1 port 22: Connection refused\r\n"


class Client(Script):
    """Salt's SSHClient: what each server answers."""

    def cmd_iter(self, **order):
        found = self.answer_to(order)
        for name in order["tgt"]:
            yield {name: found[name]}


class Roster:
    def __init__(self, *names, error=None):
        self.names, self.error = names, error

    def targets(self, target, kind):
        assert (target, kind) == ("*", "glob")
        if self.error:
            raise self.error
        return dict.fromkeys(self.names, {})


def orders(client, *names):
    return Orders(django_fleet_ssh.Servers(client, Roster(*(names or ("web1", "web2")))))


def test_all_of_the_map_are_asked_and_no_others():
    client = Client({"web1": {"return": 1}, "web2": {"return": 2}}, {"web2": {"return": 3}})
    answers = orders(client).ask("*", "django.x")
    assert {name: each.value for name, each in answers.items()} == {"web1": 1, "web2": 2}
    answers = orders(client).ask(["web2", "web9"], "django.x")
    assert answers["web2"].value == 3 and answers["web9"].problem == "is not in django:hosts"
    assert orders(Client()).ask(["web9"], "django.x")["web9"].problem == "is not in django:hosts"


def test_nothing_has_to_be_refreshed_there():
    asked = orders(Client())
    assert asked.refresh("*") == ["web1", "web2"] and asked.refresh(["web9"]) == ["web9"]
    assert asked.synchronise(["web1"]) == []


def test_words_stay_words():
    """Salt reads arguments as YAML: a release's id may look like a number there."""
    client = Client({"web1": {"return": 1}})
    orders(client).ask(["web1"], "django.x", "12e4567", 5, test=True, patience=7)
    [order] = client.asked
    assert order["arg"] == ['"12e4567"', 5] and order["kwarg"] == {"test": True}
    assert (order["timeout"], order["ssh_timeout"]) == (7, 0)


def test_states_are_applied_by_our_own_function():
    """Salt's ``state.sls_id`` over SSH leaves out what a state requires."""
    told = {"a": {"__id__": "a", "result": False, "comment": "refused", "__run_num__": 0}}
    client = Client({"web1": {"return": told, "retcode": 2}})
    answer = orders(client).ask(["web1"], "state.sls_id", "a", "django")["web1"]
    assert client.asked[0]["fun"] == "django.up_to" and answer.problem == "a: refused"


@pytest.mark.parametrize(
    "said", [['The function "state.pkg" is running as PID 7'], CROSSED, f"An Exception: {CROSSED}"]
)
def test_a_server_at_work_is_asked_again(said, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    client = Client({"web1": said}, {"web1": {"return": {}}})
    assert orders(client).ask(["web1"], "state.sls_id")["web1"].problem is None


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"stdout": "", "stderr": UNKNOWN, "retcode": 255}, "its host key is not in known_hosts"),
        ({"stdout": "", "stderr": CHANGED, "retcode": 255}, "is not the one in known_hosts"),
        (
            {"stdout": "", "stderr": DENIED, "retcode": 255},
            "let this machine in: Permission denied",
        ),
        ({"stdout": "", "stderr": REFUSED, "retcode": 255}, "over SSH: Connection refused"),
        ({"stdout": "", "stderr": "a\nwhat else\n", "retcode": 1}, "over SSH: what else"),
        ({"stdout": "x", "stderr": "", "retcode": 1}, "nothing was said"),
        ("This host has no project 'a'", "This host has no project 'a'"),
        ({"problem": "answers 500"}, "answers 500"),
    ],
)
def test_failures_are_told_in_a_sentence(entry, problem):
    answer = django_fleet_ssh.heard("django.x", entry)
    assert problem in answer.problem and "\n" not in answer.problem


def test_what_a_function_says_of_its_failure_is_its_answer():
    answer = django_fleet_ssh.heard("django.health", {"problem": "answers 500"})
    assert answer.problem and answer.value == {"problem": "answers 500"}


def test_a_machine_that_cannot_ask_says_why():
    wrong = Roster(error=SaltClientError("django:hosts: expected a map"))
    with pytest.raises(Unreachable, match="expected a map"):
        Orders(django_fleet_ssh.Servers(Client(), wrong)).ask("*", "django.x")
    for error in (SaltClientError("could not"), SaltSystemExit(msg="No ssh binary, could not")):
        with pytest.raises(Unreachable, match="could not"):
            orders(Client(error)).ask("*", "django.x")


@pytest.mark.parametrize(
    ("ssh", "has_roster", "has_minions", "over_ssh"),
    [
        (None, True, False, True),
        (None, True, True, False),
        (None, False, True, False),
        (None, False, False, False),
        (True, True, True, True),
        (False, True, False, False),
    ],
)
def test_minions_come_first_unless_an_operator_says_so(ssh, has_roster, has_minions, over_ssh):
    assert django_fleet_ssh.chosen(ssh, has_roster, has_minions) is over_ssh


def test_what_cannot_be_chosen_is_refused():
    with pytest.raises(django_fleet.Refused, match="expected True or False, got 'maybe'"):
        django_fleet_ssh.chosen("maybe", True, False)
    with pytest.raises(django_fleet.Refused, match="bootstrap --ssh"):
        django_fleet_ssh.chosen(True, False, True)


PARENT = """\
import os, sys, time
import django_fleet_ssh
django_fleet_ssh.let_children_end_with_this_process()
if not os.fork():
    if not os.fork():
        print(os.getpid(), flush=True)
    time.sleep(60)
time.sleep(60)
"""


def test_what_has_to_be_begun_yet_is_not_after_a_kill():
    """The pipe ends with the last of the processes that have it."""
    path = {"PYTHONPATH": ":".join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=path) as one:
        one.stdout.readline()
        one.kill()
        begun = time.monotonic()
        assert one.stdout.read() == b"" and time.monotonic() - begun < 30
