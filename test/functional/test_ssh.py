"""What salt-ssh loads of this checkout for an operator, and what it sends to a server."""

import pathlib
import re
import sys

import pytest
import salt.client.ssh.wrapper
import salt.config
import salt.exceptions
import salt.fileclient
import salt.loader
import salt.roster
import yaml
from rendering import grains

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bootstrap.d"))

from fleet import configuration  # noqa: E402 - it needs the path

HOSTS = {
    "host1": {"address": "10.0.0.11", "roles": ["app", "web"]},
    "db1": {"address": "10.0.0.21", "roles": ["database", "cache"]},
}
PROJECT = {
    "source": {"path": "/srv/src"},
    "domains": ["shop.example.org"],
    "database": {"password": "the-database-s-password"},
    "cache": {"password": "the-cache-s-password"},
    "secrets": {"SECRET_KEY": "s" * 50},
}
PILLAR = {"django": {"hosts": HOSTS, "projects": {"shop": PROJECT}}}


@pytest.fixture
def options(tmp_path):
    """Options of salt-ssh as ``bootstrap --ssh`` writes them, with a pillar of two servers."""
    options = salt.config.master_config(None)
    options.update(configuration.ssh(ROOT, tmp_path / "pillar"))
    for name in ("pki_dir", "cachedir", "sock_dir", "extension_modules"):
        options[name] = str(tmp_path / name)
    options["roster_file"] = str(tmp_path / "roster")
    (tmp_path / "pillar").mkdir()
    (tmp_path / "pillar/top.sls").write_text("base: {'*': [site]}\n")
    write_pillar(options, PILLAR)
    return options


def write_pillar(options, pillar):
    [folder] = options["pillar_roots"]["base"]
    pathlib.Path(folder, "site.sls").write_text(yaml.safe_dump(pillar))


# The roster


def targets(options, target, kind="glob"):
    return salt.roster.Roster(options, options["roster"]).targets(target, kind)


@pytest.mark.parametrize(
    ("target", "kind", "names"),
    [
        ("*", "glob", {"host1", "db1"}),
        ("db*", "glob", {"db1"}),
        ("host1,db1", "list", {"host1", "db1"}),
        ("web", "nodegroup", {"host1"}),
        ("night", "nodegroup", {"db1"}),
        ("balancer", "nodegroup", set()),
    ],
)
def test_salt_finds_the_servers_of_the_map(options, target, kind, names):
    options["ssh_list_nodegroups"] = {"night": ["db1"]}
    assert set(targets(options, target, kind)) == names


def test_salt_s_own_roster_adds_to_what_the_map_says(options):
    pathlib.Path(options["roster_file"]).write_text("db1: {port: 2222}\nother: 10.0.0.9\n")
    found = targets(options, "*")
    assert set(found) == {"host1", "db1"}
    assert (found["db1"]["host"], found["db1"]["port"]) == ("10.0.0.21", 2222)
    pathlib.Path(options["roster_file"]).write_text("# nothing yet\n")
    assert set(targets(options, "*")) == {"host1", "db1"}


def test_a_pillar_without_servers_is_told_in_words(options):
    write_pillar(options, {"django": {"projects": {"shop": PROJECT}}})
    with pytest.raises(salt.exceptions.SaltClientError, match="django:hosts: expected a map"):
        targets(options, "*")


# What is asked of a server


@pytest.fixture
def asked(options):
    """
    Salt's loader of wrappers for one server. ``state.high`` notes what would be sent there, and
    answers with ``asked.answer``, or fails with ``asked.failure``.
    """
    context = {"fileclient": salt.fileclient.FSClient(options)}
    sent = []

    def high(state):
        sent.append(state)
        if loaded.failure:
            raise loaded.failure
        if loaded.nothing:
            return {"local": {"return": {}}}
        return {"local": {"return": {"django_|-x_|-x_|-answered": loaded.answer}}}

    server = {**options, "grains": grains(), "pillar": PILLAR, "id": "host1"}
    loaded = salt.loader.ssh_wrapper(server, {"state.high": high}, context)
    loaded.sent, loaded.context, loaded.failure, loaded.nothing = sent, context, None, False
    return loaded


def test_the_configuration_is_worked_out_here_without_secrets(asked):
    config = asked["django.config"]()
    assert config["errors"] == [] and config["host"]["roles"] == ["app", "web"]
    assert config["host"]["cores"] == grains()["num_cpus"], "the server's"
    assert "the-database-s-password" not in str(config) and asked.sent == []


def test_every_function_can_be_asked_of_a_server(asked):
    offered = {
        name
        for path in (ROOT / "_modules").glob("django*.py")
        for name in re.findall(r"^def ([a-z]\w*)\(", path.read_text(), re.M)
    }
    assert {"status", "rollback", "command", "validate"} <= offered
    assert {f"django.{name}" for name in offered} <= set(asked)


def test_an_order_goes_to_the_server_with_its_words(asked):
    asked.answer = {"result": True, "changes": {"answer": {"shop": {}}}, "comment": ""}
    assert asked["django.history"]("shop", limit=5, __pub_fun="x") == {"shop": {}}
    [state] = asked.sent
    order = ["answered", {"arguments": ["shop"]}, {"keywords": {"limit": 5}}]
    assert state["history"]["django"] == order


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (
            {"changes": {}, "comment": "This host has no project 'a'"},
            "This host has no project 'a'",
        ),
        ({"changes": {"answer": {"valid": False}}, "comment": ""}, {"valid": False}),
    ],
)
def test_a_refusal_is_told_and_a_failure(asked, result, told):
    parsed = {"return": {"django_|-x_|-x_|-answered": {"result": False, **result}}, "retcode": 2}
    asked.failure = salt.client.ssh.wrapper.SSHCommandExecutionError("", "", 2, result=parsed)
    assert asked["django.status"]("a") == told
    assert asked.context["retcode"] == 1


def test_a_server_that_cannot_be_asked_is_salt_s_to_tell(asked):
    asked.failure = salt.client.ssh.wrapper.SSHCommandExecutionError("", "no route to host", 255)
    with pytest.raises(salt.client.ssh.wrapper.SSHCommandExecutionError):
        asked["django.status"]("shop")


# States up to one


HIGH = {
    "tools are there": {"test": ["nop"], "__sls__": "django.a", "__env__": "base"},
    "site is configured": {
        "test": [
            {"names": ["a", "b"]},
            {"require": [{"test": "tools are there"}, {"sls": "django.b"}]},
            "nop",
        ],
        "__sls__": "django.c",
        "__env__": "base",
    },
    "user is there": {"test": ["nop"], "__sls__": "django.b", "__env__": "base"},
    "site runs": {
        "test": [{"watch": [{"test": "site is configured"}]}, "nop"],
        "__sls__": "django.c",
        "__env__": "base",
    },
    "something else": {"test": ["nop"], "__sls__": "django.c", "__env__": "base"},
    "after it": {
        "test": [{"require": [{"test": "site runs"}]}, "nop"],
        "__sls__": "django.c",
        "__env__": "base",
    },
}


@pytest.fixture
def up_to(options):
    """The wrapper's ``up_to`` of a server; ``up_to.told`` is what the server says of its states."""
    context = {"fileclient": salt.fileclient.FSClient(options)}
    functions = {
        "state.running": lambda: loaded.running,
        "state.show_sls": lambda sls: HIGH if sls == "django" else ["No such SLS"],
        "state.high": lambda high: loaded.sent.append(high) or {"local": {"return": loaded.told}},
    }
    loaded = salt.loader.ssh_wrapper({**options, "grains": grains()}, functions, context)
    loaded.running, loaded.sent, loaded.told, loaded.context = [], [], {"x": {}}, context
    return loaded


def test_a_state_is_sent_with_all_that_it_requires_and_no_more(up_to):
    assert up_to["django.up_to"]("site runs") == {"local": {"return": {"x": {}}}}
    [sent] = up_to.sent
    names = ["tools are there", "site is configured", "user is there", "site runs"]
    assert list(sent) == names and sent["site runs"] == HIGH["site runs"]


def test_states_of_another_run_are_not_disturbed(up_to):
    up_to.running = ['The function "state.pkg" is running as PID 7']
    assert up_to["django.up_to"]("site runs") == up_to.running
    assert up_to.sent == [] and up_to.context["retcode"] == 1


def test_an_order_whose_place_another_has_taken_was_not_carried_out(up_to, asked):
    up_to.told = {}
    assert up_to["django.up_to"]("site runs").startswith("another order came")
    assert up_to.context["retcode"] == 1
    asked.nothing = True
    assert asked["django.status"]("shop").startswith("another order came")
    assert asked.context["retcode"] == 1


def test_an_unknown_state_or_sls_is_told(up_to):
    assert "no state 'sight runs' in the SLS django" in up_to["django.up_to"]("sight runs")
    assert up_to.context["retcode"] == 1 and up_to.sent == []
    assert up_to["django.up_to"]("site runs", "other") == ["No such SLS"]


# On the server


def test_a_function_s_answer_is_in_the_changes_of_a_state(states, modules):
    found = states["django.answered"](name="config")
    assert found.result is True and found.changes["answer"] == modules["django.config"]()


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("status", ["typo"], "django: expected a map with the key projects"),
        ("status", ["a", "b", "c"], "django.status: too many positional arguments"),
    ],
)
def test_what_cannot_be_answered_is_said(states, name, arguments, said):
    found = states["django.answered"](name=name, arguments=arguments)
    assert found.result is False and found.comment.startswith(said) and found.changes == {}


def test_an_answer_that_means_failure_is_one(states):
    found = states["django.answered"](name="validate")
    assert found.result is False and found.changes["answer"]["valid"] is False
