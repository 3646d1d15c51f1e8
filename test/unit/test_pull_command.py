"""The command django-pull: what is applied, what stays in force, what is told of it."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from pillars import ROOT
from test_django_pull_source import Repository, git

sys.path.insert(0, str(ROOT / "bootstrap.d"))

import django_pull_note
from masterless import pull

# Stands in for ./bootstrap: what it was asked for goes to a file, and the pillar says how it ends.
BOOTSTRAP = """\
#!/bin/sh
echo "$@" >>"$(dirname "$0")/../asked"
word=$(cat "$2/top.sls" 2>/dev/null)
case $word in
    mistake) echo "bootstrap: the pillar: django:projects: expected a map"; exit 2 ;;
    failure) echo "Failed: 1 step, 3 not run because of that, 9 well."; exit 1 ;;
    again) cp "$(dirname "$0")/../next" "$(dirname "$0")/../host/pull.json" ;;
    busy) [ -e "$2/over" ] || { touch "$2/over"; exit 75; } ;;
    long) touch "$2/begun"; sleep 60 & trap 'kill $!; exit 130' TERM; wait ;;
esac
echo "Done in 1 s: 5 of 60 steps changed something."
"""


class Place:
    """A server with a formula whose ``bootstrap`` only notes what it is asked for."""

    def __init__(self, folder):
        self.folder, self.repository = folder, Repository(folder)
        (folder / "formula").mkdir()
        (folder / "formula/bootstrap").write_text(BOOTSTRAP)
        (folder / "formula/bootstrap").chmod(0o755)
        self.source = {"git": str(self.repository.folder), "rev": "main", "rewind": False}
        self.source.update(deploy_key=None, known_hosts=[], signed_by=[], folders=[])
        self.hook = self.formula = None

    def configure(self):
        sources = {"pillar": self.source, "formula": self.formula}
        sources = {kind: source for kind, source in sources.items() if source}
        told = {"sources": sources, "on_failure": self.hook}
        told["repository"] = str(self.folder / "formula")
        django_pull_note.SETTINGS.write_text(json.dumps(told))

    def __call__(self, *words):
        """Pull; the exit status."""
        self.configure()
        return pull.main(list(words))

    def asked(self):
        """What the pillars said that ``bootstrap`` was asked to apply since this was asked."""
        path = self.folder / "asked"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        found = []
        for line in lines:
            quiet, _, pillar = line.partition(" ")
            assert quiet == "--quiet"
            commit = os.path.basename(pillar)
            found.append(git(self.repository.folder, "show", f"{commit}:top.sls") if pillar else "")
        return found

    def in_force(self):
        return json.loads(pull.IN_FORCE.read_text())["pillar"]["commit"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    for name in ("SETTINGS", "FOLDER", "NOTE", "LOG"):
        path = tmp_path / "host" / getattr(django_pull_note, name).name
        monkeypatch.setattr(django_pull_note, name, path)
    monkeypatch.setattr(pull, "IN_FORCE", django_pull_note.FOLDER / "in-force.json")
    monkeypatch.setattr(pull, "ANSWERED", django_pull_note.FOLDER / "answered.json")
    monkeypatch.setattr(pull, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(pull, "PAUSE", 0.01)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (tmp_path / "host").mkdir()
    (tmp_path / "host/alone.conf").touch()
    monkeypatch.setattr(
        django_pull_note, "ALONE", (tmp_path / "none", tmp_path / "host/alone.conf")
    )
    return Place(tmp_path)


def told():
    return django_pull_note.last(path=django_pull_note.NOTE)


def test_what_is_new_is_applied_and_so_is_what_is_not(place, capsys):
    """A server stays what it is to be, though nothing was pushed."""
    commit = place.repository.commit("one")
    assert place() == 0
    assert place() == 0
    assert place.asked() == ["one", "one"]
    assert place.in_force() == commit
    last = told()
    assert (last["failed"], last["pillar"]) == (False, f"{commit[:12]} of main")
    assert last["result"] == "Done in 1 s: 5 of 60 steps changed something."
    assert capsys.readouterr().out.count(f"pillar: {commit[:12]} of main\n") == 1


def test_what_cannot_be_fetched_leaves_what_is_in_force(place, capsys):
    commit = place.repository.commit("one")
    place()
    place.source["git"] += "-away"
    assert place() == 1
    assert place.asked() == ["one", "one"], "it is applied again"
    last = told()
    assert last["failed"] and last["failures"] == 1 and last["pillar"].startswith(commit[:12])
    assert "pillar: cannot be fetched" in last["problems"][0]
    assert "Apart from that: Done" in last["result"]
    assert "django-pull: pillar: cannot be fetched" in capsys.readouterr().out


def test_a_wrong_address_in_the_pillar_does_not_cut_a_server_off(place):
    """The repository that answered last is asked for the commit that mends it."""
    place.repository.commit("one", by="ada")
    place()
    right, place.source["git"] = place.source["git"], place.source["git"] + "-away"
    place.repository.commit("two", by="ada")
    assert place() == 1
    assert place.asked() == ["one", "two"]
    (problem,) = told()["problems"]
    assert "cannot be fetched" in problem and f"{right} (main), which answered last" in problem
    place.source["signed_by"] = [place.repository.public("ada")]
    unsigned = place.repository.commit("three")
    assert place() == 1, "by the rules of now"
    assert place.in_force() != unsigned
    place.source["git"] = right
    place.repository.commit("four", by="ada")
    assert (place(), told()["failed"]) == (0, False)


def test_the_first_pull_may_fail(place):
    """What ``bootstrap`` was given by hand is in force."""
    assert place() == 1
    assert place.asked() == [""]
    assert "pillar" not in told()


def test_a_pillar_with_a_mistake_is_refused_and_the_next_pull_mends_it(place):
    commit = place.repository.commit("one")
    place()
    bad = place.repository.commit("mistake")
    assert place() == 1
    assert place.asked() == ["one", "mistake", "one"]
    assert place.in_force() == commit
    (problem,) = told()["problems"]
    assert problem.startswith(f"pillar {bad[:12]} was refused:\nbootstrap: the pillar: django:")
    place.repository.commit("two")
    assert place() == 0
    assert (place.asked(), told()["failed"]) == (["two"], False)


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ([], [()]),
        (["pillar"], [(), ("pillar",)]),
        (["pillar", "formula"], [(), ("formula",), ("pillar",), ("pillar", "formula")]),
    ],
)
def test_what_is_refused_is_left_out(new, expected):
    assert pull.left_out(new) == expected


def test_a_formula_that_applies_nothing_keeps_no_pillar_out(place, tmp_path):
    (tmp_path / "other").mkdir()
    formula = Repository(tmp_path / "other")
    formula.commit("#!/bin/sh\necho no\nexit 2\n", file="bootstrap")
    git(formula.folder, "update-index", "--chmod=+x", "bootstrap")
    git(formula.folder, "commit", "-q", "--amend", "-m", "bad")
    bad = git(formula.folder, "rev-parse", "HEAD")
    place.formula = {**place.source, "git": str(formula.folder)}
    commit = place.repository.commit("one")
    assert place() == 1
    assert (place.asked(), place.in_force()) == (["one"], commit)
    assert told()["problems"] == [f"formula {bad[:12]} was refused:\nno"]
    place.repository.commit("mistake")
    assert place() == 1
    assert place.asked() == ["mistake", "one"]
    (problem,) = told()["problems"]
    assert "no\n" in problem and "django:projects: expected a map" in problem
    place.repository.commit("two")
    place.formula = None
    assert place() == 0
    assert place.asked() == ["two"]


def test_a_step_that_fails_is_told_and_the_pillar_is_in_force(place):
    """As after ``salt-call state.apply``: some of it is done already."""
    commit = place.repository.commit("failure")
    assert place() == 1
    assert place.in_force() == commit
    assert told()["problems"] == ["Failed: 1 step, 3 not run because of that, 9 well."]


def test_what_is_not_signed_leaves_what_is_in_force(place):
    signed = place.repository.commit("one", by="ada")
    place.source["signed_by"] = [place.repository.public("ada")]
    assert place() == 0
    assert "signed by SHA256:" in told()["pillar"]
    place.repository.commit("two", by="eve")
    assert place() == 1
    assert place.asked() == ["one", "one"]
    assert place.in_force() == signed
    assert "none of the keys in django:pull:pillar:signed_by" in told()["problems"][0]


def test_what_went_back_is_taken_when_an_operator_says_so(place):
    place.repository.commit("one")
    place.repository.commit("two")
    place()
    git(place.repository.folder, "reset", "-q", "--hard", "HEAD~")
    assert place() == 1
    assert place("--rewind") == 0
    assert place() == 0
    assert place.asked() == ["two", "two", "one", "one"]


def test_a_run_that_is_under_way_is_waited_for(place):
    place.repository.commit("busy")
    assert place() == 0
    assert place.asked() == ["busy", "busy"]


def test_who_has_a_master_is_told_by_that(place, capsys):
    """Until its first state.apply takes the timer away."""
    place.repository.commit("one")
    (place.folder / "host/alone.conf").unlink()
    assert place() == 0
    assert place.asked() == []
    assert "a Salt master tells this server" in capsys.readouterr().out


def test_one_pull_at_a_time(place, capsys):
    place.repository.commit("one")
    with open(pull.LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert place() == 2
    assert place.asked() == []
    assert "another pull is under way" in capsys.readouterr().err


def test_failures_are_told_to_a_command(place, tmp_path):
    said = tmp_path / "said"
    place.hook = ["sh", "-c", f'{{ echo "$DJANGO_PULL_FAILURES"; cat; }} >{said}']
    place.repository.commit("one")
    place()
    assert not said.exists()
    place.source["git"] += "-away"
    place()
    place()
    assert said.read_text().startswith("2\npillar: cannot be fetched")


def test_a_command_that_fails_is_told(place, capsys):
    place.hook = ["false"]
    assert place() == 1
    assert "django-pull: on_failure: " in capsys.readouterr().out


def test_the_log_has_what_was_told_and_is_root_s(place):
    place.repository.commit("mistake")
    place()
    assert "expected a map" in django_pull_note.LOG.read_text()
    assert django_pull_note.LOG.stat().st_mode & 0o777 == 0o600
    assert django_pull_note.NOTE.stat().st_mode & 0o777 == 0o600


def test_what_is_to_be_pulled_after_it_was_said_is_pulled_at_once(place):
    place.repository.commit("again")
    git(place.repository.folder, "branch", "other")
    place.source["rev"] = "other"
    place.configure()
    settings = django_pull_note.SETTINGS.read_text()
    (place.folder / "next").write_text(settings)
    place.source["rev"] = "main"
    assert place() == 0
    assert told()["pillar"].endswith(" of other")
    assert place.asked() == ["again", "again"]


def test_what_failed_by_settings_that_were_mended_is_no_failure(place, tmp_path):
    """A commit that leaves out the formula that cannot be fetched is applied; nobody is woken."""
    said = tmp_path / "said"
    place.hook = ["sh", "-c", f"cat >{said}"]
    place.configure()
    mended = django_pull_note.SETTINGS.read_text()
    place.formula = {**place.source, "git": str(tmp_path / "away")}
    place.repository.commit("one")
    assert place() == 1 and "formula: cannot be fetched" in said.read_text()
    said.unlink()
    (tmp_path / "next").write_text(mended)
    place.repository.commit("again")
    assert place() == 0
    assert not told()["failed"] and not said.exists()
    assert place.asked() == ["one", "again", "again"]
    assert django_pull_note.LOG.read_text().count("formula: cannot be fetched") == 2


def test_what_failed_where_nothing_is_pulled_any_more_is_no_failure(place, tmp_path):
    place.formula = {**place.source, "git": str(tmp_path / "away")}
    (tmp_path / "next").write_text("{}")
    place.repository.commit("again")
    assert place() == 0
    assert not told()["failed"] and "ended" in told()
    assert place.asked() == ["again"]


def test_pulls_by_settings_that_never_settle_come_to_an_end(place, tmp_path, monkeypatch):
    """Each round says that another branch is to be pulled; the next pull of the timer goes on."""
    place.repository.commit("one")
    rounds = []

    def settings():
        rounds.append(len(rounds))
        return {**json.loads(django_pull_note.SETTINGS.read_text()), "round": len(rounds)}

    monkeypatch.setattr(pull, "_settings", settings)
    assert place() == 0
    assert place.asked() == ["one"] * 4
    assert "ended" in told()


def test_who_is_told_to_stop_does_not_begin_again(place, monkeypatch):
    place.repository.commit("again")
    place.configure()
    (place.folder / "next").write_text(django_pull_note.SETTINGS.read_text().replace("main", "x"))
    monkeypatch.setattr(pull.Pull, "_take", stop)
    assert place() == 1
    assert place.asked() == ["again"]
    assert told()["result"] == "broken off"


def stop(*_):
    raise pull.Stopped


@pytest.mark.parametrize("text", ["", "{", None])
def test_a_server_that_does_not_pull_says_so(place, capsys, text):
    if text is not None:
        django_pull_note.SETTINGS.write_text(text)
    assert pull.main([]) == 2
    assert "says nothing of pulls" in capsys.readouterr().err


@pytest.mark.needs_root
def test_it_ends_when_it_is_told_to_and_says_so(place, tmp_path):
    """As by systemctl stop, or when the server goes down; what it has started ends first."""
    commit = place.repository.commit("long")
    place.configure()
    program = tmp_path / "program.py"
    names = {
        name: str(getattr(django_pull_note, name)) for name in ("SETTINGS", "FOLDER", "NOTE", "LOG")
    }
    names["ALONE"] = str(tmp_path)
    program.write_text(
        f"import pathlib, sys\nsys.path[:0] = {[str(ROOT / 'bootstrap.d'), str(ROOT / '_utils')]}\n"
        "import django_pull_note\n"
        f"for name, path in {names}.items():\n"
        "    setattr(django_pull_note, name, pathlib.Path(path))\n"
        "django_pull_note.ALONE = [django_pull_note.ALONE]\n"
        "from masterless import pull\n"
        f"pull.LOCK = pathlib.Path({str(pull.LOCK)!r})\n"
        "sys.exit(pull.main([]))\n"
    )
    process = subprocess.Popen([sys.executable, "-I", "-S", str(program)])
    begun = django_pull_note.FOLDER / "pillar" / commit / "begun"
    deadline = time.monotonic() + 30
    while not begun.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    killer = threading.Timer(40, process.kill)
    killer.start()
    process.terminate()
    assert process.wait() == 1
    killer.cancel()
    assert told()["result"] == "broken off"
