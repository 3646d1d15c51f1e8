"""What the pillar says of pulls: checked, worked out, masked; and what is noted of the last one."""

import datetime
import json
import os

import django_config
import django_pull
import django_pull_note
import pytest

PULL = {"pillar": {"git": "https://git.example.org/pillar.git", "rev": "production"}}
SHOP = {"shop": {"source": {"path": "/srv/src/shop"}}}
NAMES = {"git": ["git"], "ssh": ["openssh-client"], "timers": ["cron"]}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample ada"


@pytest.fixture
def resolve_pull(resolve):
    """Function from ``django:pull`` to the configuration."""
    return lambda pull, **grains: resolve({"projects": SHOP, "pull": pull}, **grains)


def test_without_the_key_nothing_is_pulled(resolve):
    config = resolve({"projects": SHOP})
    assert config["pull"] == {}
    assert "django.host.pull" not in config["tiers"]
    assert "git" not in config["packages"]


def test_a_pillar_is_pulled_each_quarter_of_an_hour(resolve_pull):
    pull = resolve_pull(PULL)["pull"]
    assert (pull["interval"], pull["splay"], pull["schedule"]) == (900, 300, "*/15 * * * *")
    assert pull["sources"] == {
        "pillar": {
            **PULL["pillar"],
            "deploy_key": None,
            "known_hosts": [],
            "signed_by": [],
            "rewind": False,
            "folders": [],
        }
    }


@pytest.mark.parametrize(
    ("pull", "said"),
    [
        ({}, "django:pull: expected pillar, formula or both, got neither"),
        ({**PULL, "interval": "2m"}, "django:pull:splay: expected at most the interval, 120 s"),
        ({**PULL, "interval": "10s"}, "django:pull:interval: expected a duration"),
        (
            {"pillar": {"git": "https://token:secret@git.example.org/pillar.git"}},
            "django:pull:pillar:git: expected an URL without a password or a token",
        ),
        ({"pillar": {"rev": "production"}}, "django:pull:pillar:git: "),
        ({"pillar": {**PULL["pillar"], "signed_by": []}}, "expected at least 1 in the list"),
        ({"pillar": {**PULL["pillar"], "signed_by": ["ada"]}}, "expected a public SSH key"),
        ({"pillar": {**PULL["pillar"], "folders": ["../etc"]}}, "django:pull:pillar:folders:0"),
        ({"pilar": PULL["pillar"]}, "did you mean pillar"),
    ],
)
def test_mistakes_are_told(resolve_pull, pull, said):
    (error,) = [each for each in resolve_pull(pull)["errors"] if said in each]
    assert "secret" not in error


def test_a_cron_must_be_able_to_say_the_interval(resolve_pull):
    pull = {**PULL, "interval": "7m"}
    assert resolve_pull(pull)["errors"] == []
    (error,) = resolve_pull(pull, init="unknown")["errors"]
    assert error.startswith("django:pull:interval: expected a part of an hour or of a day")
    assert resolve_pull({**PULL, "interval": "10m"}, init="unknown")["errors"] == []


@pytest.mark.parametrize(
    ("source", "init", "expected"),
    [
        ({}, "systemd", {"git"}),
        ({}, "unknown", {"git", "cron"}),
        ({"signed_by": [KEY]}, "systemd", {"git", "openssh-client"}),
        ({"git": "git@git.example.org:pillar.git"}, "systemd", {"git", "openssh-client"}),
        ({"git": "ssh://git@git.example.org/pillar.git"}, "systemd", {"git", "openssh-client"}),
        ({"git": "/srv/pillar.git"}, "systemd", {"git"}),
    ],
)
def test_packages_are_what_git_and_the_timer_need(resolve_pull, source, init, expected):
    pull = resolve_pull({"pillar": {**PULL["pillar"], **source}})["pull"]
    assert django_pull.packages(pull, NAMES, init) == expected


def test_deploy_keys_are_masked(resolve_pull):
    config = resolve_pull({"pillar": {**PULL["pillar"], "deploy_key": "the-key"}})
    assert "the-key" not in json.dumps(django_config.public(config))
    told = json.loads(django_pull.settings(config["pull"], "/srv/formula"))
    assert told["sources"]["pillar"]["deploy_key"] == "the-key", "where only root can read it"
    assert told["repository"] == "/srv/formula"


# The note

NOW = datetime.datetime(2026, 5, 1, 3, 0, tzinfo=datetime.timezone.utc)


@pytest.fixture
def last(tmp_path):
    """Function from a note (dict or text) to what is told of it at three in the morning."""

    def tell(note):
        path = tmp_path / "last.json"
        path.write_text(note if isinstance(note, str) else json.dumps(note))
        return django_pull_note.last(NOW, path)

    return tell


def test_a_pull_is_told_with_its_age(last):
    told = last(
        {
            "started": "2026-05-01T02:40:00+00:00",
            "ended": "2026-05-01T02:41:00+00:00",
            "exit_status": 0,
            "result": "No changes in 3 s",
            "pillar": "0123456789ab of production",
            "problems": [],
            "failures": 0,
        }
    )
    assert told == {
        "result": "No changes in 3 s",
        "failed": False,
        "age": "19 minutes",
        "started": "2026-05-01T02:40:00+00:00",
        "ended": "2026-05-01T02:41:00+00:00",
        "pillar": "0123456789ab of production",
    }


@pytest.mark.parametrize("text", ["", "{}", "[1]", "null", '{"started": "soon"}', '{"started": 1}'])
def test_a_note_that_makes_no_sense_is_none(last, text):
    assert last(text) == {"result": "has not run yet", "failed": False}


def test_a_pull_that_was_killed_is_told(last):
    told = last({"started": "2026-05-01T02:00:00+00:00", "pid": os.getpid()})
    assert (told["result"], told["failed"], told["age"]) == ("was broken off", True, "1 hour")


def test_a_pull_that_failed_is_complained_of(tmp_path):
    path = tmp_path / "last.json"
    note = {"started": "2026-05-01T02:40:00+00:00", "ended": "2026-05-01T02:59:00+00:00"}
    note.update(result="Apart from that: No changes", exit_status=1, failures=3)
    note.update(problems=["pillar: cannot be fetched: exit status 128\nfatal: no route"])
    path.write_text(json.dumps(note))
    assert django_pull_note.complaint(NOW, path) == (
        "The last pull failed, as 3 in a row have, 1 minute ago: pillar: cannot be fetched: "
        "exit status 128 (see /var/log/django-formula/pull.log)"
    )
    path.write_text(json.dumps({**note, "failures": 1}))
    assert django_pull_note.complaint(NOW, path).startswith("The last pull failed 1 minute ago: ")
    path.write_text(json.dumps({**note, "exit_status": 0}))
    assert django_pull_note.complaint(NOW, path) is None
    assert django_pull_note.complaint(NOW, tmp_path / "none") is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 seconds"), (1, "1 second"), (119, "1 minute"), (7200, "2 hours"), (2e5, "2 days")],
)
def test_ages_are_in_words(seconds, words):
    moment = NOW - datetime.timedelta(seconds=seconds)
    assert django_pull_note.age(moment.isoformat(), NOW) == words
