"""Steps of a release, continued where a run was killed."""

import contextlib
import json
import pathlib
import pwd
import socket
import tempfile
import threading
import types

import django_failure
import django_health
import django_layout
import django_rollback
import django_step_build
import django_step_switch
import django_step_tasks
import pytest
from django_deployment import Deployment, Outcome, StepError
from django_step_build import configure, fetch
from django_step_static import collect
from releases import FIRST, SECOND, THIRD, served


@pytest.mark.needs_root
def test_configuration_is_written_once(deployment):
    assert configure(deployment).changes
    assert configure(deployment).changes == {}


@pytest.mark.needs_root
def test_an_edited_environment_is_seen(deployment):
    configure(deployment)
    path = deployment.layout.instance(deployment.instance) / "environment"
    text = path.read_text()
    path.chmod(0o600)
    path.write_text(f"{text}export MORE=1\n")
    assert configure(deployment).changes["files"] == [str(path)]
    assert path.read_text() == text


def test_a_tree_that_was_built_in_part_is_not_built_on(deployment, monkeypatch):
    deployment.layout.save_record(deployment.release_id, stage="fetched")

    def killed(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(django_step_build, "_make", killed)
    assert deployment.fetched
    with pytest.raises(KeyboardInterrupt):
        django_step_build.build(deployment)
    assert not deployment.fetched, "the next run begins with another tree"


@pytest.mark.needs_root
def test_configuration_whose_record_was_not_written_any_more_is_continued(deployment):
    configure(deployment)
    record = deployment.layout.instance(deployment.instance) / "instance.json"
    record.unlink()
    deployment.test = True
    assert configure(deployment).changes == {"instance": deployment.instance, "files": []}
    assert not record.exists()
    deployment.test = False
    configure(deployment)
    assert deployment.layout.instance_record(deployment.instance)["release"]
    assert configure(deployment).changes == {}


@pytest.mark.parametrize("when", ["befor", "static", None, 1])
def test_tasks_of_a_kind_that_is_none_are_not_all_done(deployment, when):
    with pytest.raises(StepError, match="when: expected one of first, before, after, got"):
        django_step_tasks.tasks(deployment, when)


def test_user_that_is_gone_is_told(deployment):
    deployment.user = "nobody-of-that-name"
    with pytest.raises(StepError, match="nobody-of-that-name"):
        configure(deployment)


def renamed(deployment, secret):
    """The same project with another SECRET_KEY in its environment."""
    return Deployment(
        deployment.project,
        deployment.host,
        {**deployment.secrets, "SECRET_KEY": secret},
        deployment.manager,
        str,
    )


def test_another_secret_key_is_another_instance_and_no_other_release(deployment):
    assert renamed(deployment, "y" * 50).release_id != deployment.release_id, "nothing is kept yet"
    fetch(deployment)
    other = renamed(deployment, "y" * 50)
    assert other.release_id == deployment.release_id
    assert other.instance != deployment.instance
    kept = deployment.layout.names
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.write_text("{")
    fetch(deployment)
    assert renamed(deployment, "z" * 50).release_id == deployment.release_id


def test_a_test_keeps_no_key_of_names(deployment):
    deployment.test = True
    fetch(deployment)
    assert not deployment.layout.names.exists()


# A release that failed


@pytest.fixture
def failed(deployment, monkeypatch):
    """The deployment while another release serves, in good health; the wanted one has failed."""
    layout = deployment.layout
    live = "0123456789ab-0123456789ab"
    (layout.release("0123456789ab") / "source").mkdir(parents=True)
    layout.save_record("0123456789ab", stage="built")
    layout.instance(live).mkdir()
    layout.save_instance_record(live, release="0123456789ab")
    layout.live.symlink_to(f"instances/{live}")
    configure(deployment)
    deployment.reason = None
    monkeypatch.setattr(django_health, "ask", lambda *_: deployment.reason)
    return deployment


def settle(deployment, blames_release=True):
    error = StepError("no cheese", blames_release=blames_release)
    return django_failure.settle(deployment, "check", error)


def test_a_release_to_blame_is_refused_and_removed(failed):
    release_id, instance = failed.release_id, failed.instance
    assert "django.release_allow shop" in settle(failed)
    assert failed.hold["release"] == release_id
    assert failed.hold["reason"] == "no cheese"
    assert failed.target == failed.layout.live_instance()
    assert not failed.layout.release(release_id).exists()
    assert not failed.layout.instance(instance).exists()
    assert configure(failed).changes == {}
    assert django_rollback.allow(failed) == [release_id]
    assert failed.hold is None


def test_what_may_pass_by_itself_refuses_nothing(failed):
    assert settle(failed, blames_release=False) == ""
    assert failed.hold is None
    assert failed.layout.release(failed.release_id).exists()


def test_a_release_is_not_to_blame_while_the_old_one_is_sick_too(failed):
    failed.reason = "no answer"
    assert settle(failed) == ""
    assert failed.hold is None


def test_the_first_release_is_never_refused(failed):
    failed.layout.live.unlink()
    assert settle(failed) == ""
    assert failed.hold is None


def test_a_release_that_has_served_is_kept_though_it_is_refused(failed):
    entry = {"instance": f"{failed.release_id}-ffffffffffff", "time": "", "revision": ""}
    failed.layout.history.write_text(json.dumps({"entries": [entry]}))
    assert settle(failed)
    assert failed.layout.release(failed.release_id).exists()


@pytest.fixture
def styled(failed):
    """The one that serves and the wanted one have a static file of one name; the new is public."""
    layout = failed.layout
    releases = {layout.release_of(layout.live_instance()): "old", failed.release_id: "new"}
    for release_id, text in releases.items():
        folder = layout.release(release_id) / "static"
        folder.mkdir()
        (folder / "site.css").write_text(text)
        layout.save_record(release_id, static=str(folder))
    layout.static.mkdir()
    collect(failed)
    assert style(failed) == "new"
    return failed


def style(deployment):
    return (deployment.layout.static / "site.css").read_text()


@pytest.mark.parametrize("blames_release", [True, False])
def test_what_serves_on_has_its_own_static_files(styled, blames_release):
    settle(styled, blames_release)
    assert style(styled) == "old"


def test_static_files_of_what_is_held_to_are_mended(styled):
    settle(styled)
    assert collect(styled).changes == {}
    (styled.layout.static / "site.css").unlink()
    styled.test = True
    assert collect(styled).changes == {"static": "0123456789ab"}
    styled.test = False
    assert collect(styled).changes == {"static": "0123456789ab"}
    assert style(styled) == "old"


def test_a_host_for_static_files_says_when_it_has_them(styled):
    """Also where they were published before they had domains of their own."""
    assert not (styled.layout.static / "-/health").exists()
    styled.project["static_site"] = {"domains": ["static.shop.test"]}
    styled.test = True
    assert collect(styled).changes
    styled.test = False
    assert collect(styled).changes
    assert (styled.layout.static / "-/health").exists()
    assert collect(styled).changes == {}


def test_a_changed_pillar_lifts_a_refusal(failed):
    settle(failed)
    failed._declared = {"env": {"A": "1"}}
    assert failed.hold is None


# Going back


def test_the_release_that_served_before_is_gone_back_to(deployment):
    served(deployment, FIRST, SECOND, THIRD)
    assert django_rollback.choose(deployment) == SECOND
    assert django_rollback.choose(deployment, "aaa") == FIRST


def test_a_second_rollback_goes_further_back(deployment):
    served(deployment, FIRST, SECOND, THIRD, SECOND)
    deployment.layout.save_refusals([{"release": THIRD[:12], "left": [THIRD]}])
    assert django_rollback.choose(deployment) == FIRST


@pytest.mark.parametrize("lost", ["definitions", "facts", "venv", "release", "source"])
def test_what_is_not_complete_is_not_gone_back_to(deployment, lost):
    served(deployment, FIRST, SECOND)
    record = deployment.layout.instance_record(FIRST)
    if lost == "release":
        deployment.layout.save_record(FIRST[:12], stage="fetched")
    elif lost == "source":
        deployment.layout.save_record(FIRST[:12], tree="another")
    else:
        deployment.layout.save_instance_record(
            FIRST, **{lost: record[lost] and type(record[lost])()}
        )
    with pytest.raises(StepError, match="these have served and are still here: bbbbbbbbbbbb"):
        django_rollback.choose(deployment)


def speak_uwsgi(deployment, instance):
    web = {"command": ["uwsgi", "--uwsgi-socket=/run/x"]}
    deployment.layout.save_instance_record(instance, definitions={"web": web})


def test_a_server_of_another_protocol_is_gone_back_to_behind_nginx(deployment):
    served(deployment, FIRST, SECOND, THIRD)
    speak_uwsgi(deployment, SECOND)
    assert django_rollback.choose(deployment) == SECOND
    deployment.project["web"]["server"] = "apache"
    with pytest.raises(StepError, match=f"Apache does not speak with instance {SECOND}"):
        django_rollback.choose(deployment)
    speak_uwsgi(deployment, THIRD)
    assert django_rollback.choose(deployment) == SECOND


def test_a_switch_leaves_one_link_for_the_front_door(deployment):
    served(deployment, FIRST, SECOND)
    speak_uwsgi(deployment, SECOND)
    http, uwsgi = deployment.layout.sockets["http"], deployment.layout.sockets["uwsgi"]
    slot = deployment.layout.sockets["mod_wsgi"]
    for instance, link, other in ((FIRST, http, uwsgi), (SECOND, uwsgi, http)):
        links = django_step_switch.links(deployment, instance)
        assert links[0] == (link, str(deployment.layout.instance_socket(instance)))
        embedded = deployment.layout.sockets["embedded"]
        assert links[1:4] == ((other, None), (slot, None), (embedded, None))
        assert [path.name for path, _ in links[4:]] == ["current", "live"]


def test_a_switch_into_apache_leaves_the_link_to_a_slot(deployment, monkeypatch):
    served(deployment, FIRST, SECOND)
    web = {"mod_wsgi": {"module": "shop.wsgi:application"}}
    deployment.layout.save_instance_record(SECOND, definitions={"web": web})
    slots = types.SimpleNamespace(slot_of=lambda instance: {FIRST: "a", SECOND: "b"}[instance])
    monkeypatch.setattr(deployment.manager, "slots", slots, raising=False)
    sockets = deployment.layout.sockets
    links = django_step_switch.links(deployment, SECOND)
    assert links[0] == (sockets["mod_wsgi"], "slots/b")
    assert links[1:3] == ((sockets["http"], None), (sockets["uwsgi"], None))
    asked = deployment.health_of(SECOND)
    assert (asked["protocol"], asked["port"]) == ("mod_wsgi", 7079)
    assert asked["site"] == f"b.{deployment.name}.invalid"


def test_what_is_to_serve_in_apache_s_own_processes_is_asked_in_a_private_one(
    deployment, monkeypatch
):
    served(deployment, FIRST, SECOND)
    web = {"embedded": {"module": "shop.wsgi:application"}}
    deployment.layout.save_instance_record(SECOND, definitions={"web": web})
    embedded = types.SimpleNamespace(port_of=lambda instance: 40123)
    monkeypatch.setattr(deployment.manager, "embedded", embedded, raising=False)
    link = deployment.layout.sockets["embedded"]
    assert django_step_switch.links(deployment, SECOND)[0] == (link, f"instances/{SECOND}")
    asked = deployment.health_of(SECOND)
    assert (asked["protocol"], asked["port"]) == ("mod_wsgi", 40123)
    assert asked["site"] == f"e.{deployment.name}.invalid"
    embedded.port_of = lambda instance: None
    assert deployment.health_of(SECOND)["port"] == 7079


def test_a_group_that_is_not_the_project_s_own_makes_another_release(deployment):
    before = deployment.release_id
    deployment.project["group"] = "www-data"
    assert deployment.release_id != before


def test_another_user_gets_what_the_project_has_written(deployment, monkeypatch):
    handed, users = [], {"shop": (1001, 1001), "www-data": (33, 33)}
    account = {
        name: types.SimpleNamespace(pw_uid=uid, pw_gid=gid) for name, (uid, gid) in users.items()
    }
    monkeypatch.setattr(pwd, "getpwnam", account.__getitem__)
    monkeypatch.setattr(django_layout, "hand_over", lambda *words: handed.append(words))
    deployment.layout.cache.mkdir()
    for user, expected in (
        ("shop", []),
        ("www-data", [((1001, 1001), (33, 33))]),
        ("www-data", []),
        ("shop", [((33, None), (1001, 1001))]),
    ):
        handed.clear()
        deployment.user = user
        fetch(deployment)
        assert [words[1:] for words in handed] == expected
        assert {words[0] for words in handed} <= {deployment.project["paths"]["cache"]}


@pytest.mark.parametrize("other", [{"user": "nobody"}, {"group": "staff"}])
def test_cache_of_another_user_or_group_is_begun_anew(deployment, monkeypatch, other):
    """What is shared with environments is for root and that group only."""
    monkeypatch.setattr(django_layout, "hand_over", lambda *words: None)
    archive = deployment.layout.cache / "uv/archive-v0"
    for wanted, stays in (({}, True), ({}, True), (other, False)):
        archive.mkdir(parents=True, exist_ok=True)
        deployment.user = wanted.get("user", deployment.user)
        deployment.project["group"] = wanted.get("group", deployment.project["group"])
        fetch(deployment)
        assert archive.exists() == stays


def test_what_serves_in_apache_is_asked_there_though_the_pillar_has_nginx(deployment, monkeypatch):
    served(deployment, FIRST)
    web = {"mod_wsgi": {"module": "shop.wsgi:application"}}
    deployment.layout.save_instance_record(FIRST, definitions={"web": web})
    slots = types.SimpleNamespace(slot_of=lambda instance: "a")
    monkeypatch.setattr(deployment.manager, "slots", slots, raising=False)
    assert deployment.project["web"]["server"] == "nginx"
    assert deployment.health_of(FIRST)["port"] == 7079


def test_nginx_speaks_what_the_live_instance_does(failed):
    live = failed.layout.live_instance()
    failed.project["app"]["server"] = "uwsgi"
    configure(failed)
    failed.layout.save_instance_record(live, definitions={"web": {"command": ["gunicorn"]}})
    assert failed.spoken == failed.health_of(live)["protocol"] == "http"
    assert failed.health_of(failed.instance)["protocol"] == "uwsgi"
    failed.test = True
    assert failed.spoken == "uwsgi", "what a run would make of it"
    failed.test = False
    failed.layout.live.unlink()
    assert failed.spoken == "uwsgi", "the pillar's, as long as nothing serves"
    failed.project["web"]["server"] = "apache"
    assert failed.spoken == "http", "before which uWSGI speaks that"


def test_a_damaged_release_is_not_passed_over_in_silence(deployment):
    served(deployment, FIRST, SECOND, THIRD)
    deployment.layout.save_record(SECOND[:12], tree="another")
    with pytest.raises(StepError, match=f"Release {SECOND[:12]} cannot serve"):
        django_rollback.choose(deployment)
    assert django_rollback.choose(deployment, "aaa") == FIRST


def test_history_that_is_lost_is_made_anew_of_what_has_served(deployment):
    served(deployment, FIRST, SECOND, THIRD)
    for name in (FIRST, THIRD):
        deployment.layout.save_instance_record(name, served=True)
    deployment.layout.history.write_text("{")
    django_step_switch._remember(deployment, THIRD)
    assert [entry["instance"] for entry in deployment.layout.served()] == [FIRST, THIRD]


@pytest.mark.needs_root
def test_what_was_not_checked_does_not_go_live(deployment):
    """By a step that an operator calls alone, say: its settings may have DEBUG on."""
    configure(deployment)
    deployment.manager.programs = dict
    deployment.manager.comes_back = lambda name, definition: False
    with pytest.raises(StepError, match="has not passed its checks.*django.vet shop"):
        django_step_switch.go_live(deployment)
    deployment.test = True
    assert django_step_switch.go_live(deployment).changes, "a run has checked it by then"


def test_what_comes_back_with_its_manager_needs_no_start(deployment):
    served(deployment, FIRST, SECOND)
    deployment.test = True
    deployment.manager.programs = dict
    for comes_back, expected in ((True, False), (False, True)):
        deployment.manager.comes_back = lambda name, definition, answer=comes_back: answer
        found = django_step_switch.go_live(deployment).changes
        assert ("started" in found) == expected


def test_lost_record_of_what_serves_is_told(deployment):
    served(deployment, FIRST, SECOND)
    (deployment.layout.instance(SECOND) / "instance.json").write_text("{")
    with pytest.raises(StepError, match=f"the record of instance {SECOND} is lost"):
        django_rollback.ahead(deployment, FIRST)
    assert django_rollback._halves(deployment, SECOND, {}) == ({}, {})


def test_nothing_to_go_back_from(deployment):
    with pytest.raises(StepError, match="no live release"):
        django_rollback.choose(deployment)


@pytest.mark.parametrize("failure", [None, StepError("it is not healthy")])
def test_static_files_are_those_of_what_serves_on_the_way_back(styled, monkeypatch, failure):
    layout, live, old = styled.layout, styled.instance, styled.layout.live_instance()
    layout.save_instance_record(live, facts={})
    layout.live.unlink()
    layout.live.symlink_to(f"instances/{live}")

    def go_live(_):
        assert style(styled) == "old", "before the switch, as for a new release"
        if failure:
            raise failure
        return Outcome({}, "")

    monkeypatch.setattr(django_step_switch, "go_live", go_live)
    for name in ("processes.run_processes", "verify.verify", "prune.prune"):
        monkeypatch.setattr(f"django_step_{name}", lambda _: Outcome({}, ""))
    with pytest.raises(StepError) if failure else contextlib.nullcontext():
        django_rollback.go_back(styled, old, {})
    assert style(styled) == ("new" if failure else "old")
    assert (styled.hold or {}).get("kind") == (None if failure else "rolled back")
    assert styled.target == (live if failure else old)


def test_late_migrations_are_reversed_before_the_switch_back(deployment, monkeypatch):
    add, drop, child, other = (["shop", name] for name in ("0002", "0003", "0004", "0005"))
    served(deployment, FIRST, SECOND)
    facts = {"migrations": [], "after_switch": [[drop, child]]}
    deployment.layout.save_instance_record(SECOND, facts=facts)
    done = []

    def asked(tasks, timeout, failure, instance):
        assert instance == SECOND
        (task,) = tasks
        done.append(("try" if task["tried"] else "reverse", task["migrations"]))
        return {"reverse": {alias: keys[::-1] for alias, keys in task["migrations"].items()}}

    def step(name):
        return lambda _: done.append(name) or Outcome({}, "")

    monkeypatch.setattr(deployment, "django", asked)
    monkeypatch.setattr(django_rollback, "_hold", lambda *_: None)
    for module, name in (
        (django_rollback.django_step_switch, "go_live"),
        (django_rollback.django_step_processes, "run_processes"),
        (django_rollback.django_step_verify, "verify"),
        (django_rollback.django_step_prune, "prune"),
    ):
        monkeypatch.setattr(module, name, step(name))
    everything = {"default": [add, drop, child], "archive": [other]}
    changes = django_rollback.go_back(deployment, FIRST, everything)
    assert changes["reversed"] == {
        "default": ["shop.0004", "shop.0003", "shop.0002"],
        "archive": ["shop.0005"],
    }
    assert done[:5] == [
        ("try", everything),
        ("reverse", {"default": [drop, child]}),
        "go_live",
        "run_processes",
        ("reverse", {"default": [add], "archive": [other]}),
    ]


# What is left of those before


def test_who_waits_for_the_old_process_is_not_left_alone(deployment):
    served(deployment, FIRST, SECOND)
    layout, said = deployment.layout, []
    layout.run = pathlib.Path(tempfile.mkdtemp(prefix="run"))
    name = f"shop.web.{FIRST}"
    with (
        socket.socket(socket.AF_UNIX) as server,
        socket.socket(socket.AF_UNIX) as visitor,
    ):
        server.bind(str(layout.instance_socket(FIRST)))
        server.listen()
        visitor.connect(str(layout.instance_socket(FIRST)))
        accept = threading.Timer(0.5, lambda: said.append(("accepted", server.accept())))
        accept.start()
        deployment.manager.stop = lambda *_: said.append(("stopped", None))
        django_step_switch._retire(deployment, name)
        accept.join()
        assert [what for what, _ in said] == ["accepted", "stopped"]
        said[0][1][0].close()
    assert not layout.instance_socket(FIRST).exists()
    layout.run.rmdir()


# Damage


def test_a_damaged_release_gets_another_identity(deployment):
    before = deployment.release_id
    assert not deployment.is_damaged
    (deployment.layout.release(before) / "source" / "new.py").write_text("1")
    assert deployment.is_damaged
    deployment.test = True
    deployment.replace_damaged()
    assert deployment.release_id != before
    assert not deployment.layout.repairs.exists()
    deployment.test = False
    deployment.replace_damaged()
    assert json.loads(deployment.layout.repairs.read_text()) == {before: 2}
    assert not deployment.is_damaged


def test_what_was_built_only_in_part_is_not_damaged(deployment):
    deployment.layout.save_record(deployment.release_id, stage="fetched")
    assert not deployment.is_damaged
    deployment.layout.current.symlink_to(f"releases/{deployment.release_id}")
    assert deployment.is_damaged, "the live one was built once"
