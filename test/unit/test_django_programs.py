"""Why a program does not run, told once and by its own words."""

import types

import django_programs
import pytest
from django_deployment import StepError


@pytest.fixture
def definition(tmp_path):
    """Of a program whose log has lines of one that ran before."""
    path = tmp_path / "web.log"
    path.write_text("the old one\n")
    return {"stdout_logfile": str(path), "startsecs": 1}


def quoted(definition):
    """What supervisord's module says: the log's last lines, whoever wrote them."""
    path = definition["stdout_logfile"]
    with open(path, encoding="utf-8") as stream:
        return f"web is BACKOFF: exit status 1; its last lines in {path}:\n{stream.read()}"


def test_lines_of_the_one_before_are_no_reason(definition):
    with open(definition["stdout_logfile"], "a", encoding="utf-8") as stream:
        stream.write("no cheese\n")
    said = django_programs.told(quoted(definition), definition, len("the old one\n"))
    path = definition["stdout_logfile"]
    assert said == f"web is BACKOFF: exit status 1; its last lines in {path}:\nno cheese"


def test_a_reason_of_several_lines_stays_whole(definition):
    said = django_programs.told("Job failed.\nSee journalctl.", definition)
    assert said == "Job failed.\nSee journalctl.\nthe old one"
    assert django_programs.told("It hangs.", definition, 12) == "It hangs."


def test_a_worker_that_does_not_start_is_told_so(definition, monkeypatch):
    def start(*_):
        with open(definition["stdout_logfile"], "a", encoding="utf-8") as stream:
            stream.write("no cheese\n")
        raise StepError(quoted(definition))

    monkeypatch.setattr(django_programs, "claim_log", lambda *_: len("the old one\n"))
    manager = types.SimpleNamespace(programs=dict, start=start)
    deployment = types.SimpleNamespace(manager=manager, redact=lambda text: text)
    with pytest.raises(StepError) as caught:
        django_programs.start(deployment, "web", definition)
    assert "no cheese" in str(caught.value) and "the old one" not in str(caught.value)
    assert str(caught.value).count("no cheese") == 1
