"""The program that carries out release tasks, run as the project's Python runs it."""

import json
import os
import subprocess
import sys

import django_tasks
import pytest
from pillars import ROOT

TASKS = ROOT / "salt/django/app/files/tasks"
DJANGO = """\
from importlib import import_module as load


def setup():
    load("shop.apps")
"""


def answer(tmp_path, apps):
    """The answer (dict) and the last lines of a project whose ``shop/apps.py`` has this text."""
    library, project = tmp_path / "library", tmp_path / "project"
    for path, text in (
        (library / "django.py", DJANGO),
        (library / "toolbox.py", "def fail():\n    raise LookupError('no tool')\n"),
        (project / "shop/__init__.py", ""),
        (project / "shop/apps.py", apps),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    names = sorted(path for path in TASKS.glob("*.py") if path.name != "main.py")
    texts = [path.read_text() for path in [*names, TASKS / "main.py"]]
    done = subprocess.run(
        [sys.executable, "-"],
        input=django_tasks.program([{"do": "inspect"}], texts),
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(library)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    return json.loads(done.stdout), done.stderr


@pytest.mark.parametrize(
    ("apps", "error", "line"),
    [
        ("import sys\nimport antigravitate\n", "ModuleNotFoundError", 2),
        ("import toolbox\n\n\ntoolbox.fail()\n", "LookupError: no tool", 4),
        ("a = 1\nb = = 2\n", "SyntaxError", 2),
        ("try:\n    {}['a']\nexcept KeyError as e:\n    raise ValueError('b') from e\n", "V", 4),
    ],
)
def test_failure_names_the_project_s_file_and_line(tmp_path, apps, error, line):
    told, lines = answer(tmp_path, apps)
    place = tmp_path / "project/shop/apps.py"
    assert told["error"].startswith(error)
    assert told["where"] == f"{place}:{line}"
    assert f'File "{place}", line {line}' in lines
    for plumbing in ("importlib", "<stdin>", "frozen"):
        assert plumbing not in lines


def test_failure_elsewhere_shows_the_way_there(tmp_path):
    told, lines = answer(tmp_path, "import toolbox\n\n\ntoolbox.fail()\n")
    assert lines.index("apps.py") < lines.index("toolbox.py") < lines.index("LookupError: no tool")


def test_failure_of_a_migration_names_it(tmp_path):
    told, _ = answer(tmp_path, "e = ValueError('no cheese')\ne.about = 'shop.0002'\nraise e\n")
    assert told["error"] == "shop.0002: ValueError: no cheese"


def test_failure_outside_of_the_project_is_told_in_a_sentence(tmp_path):
    away = "class OperationalError(Exception):\n    pass\n\n\nraise OperationalError('refused')\n"
    told, lines = answer(tmp_path, away)
    assert told["error"] == "OperationalError: refused"
    assert told["passing"]
    assert "Traceback" not in lines


@pytest.mark.parametrize("kind", ["CommandError", "ConnectionDoesNotExist"])
def test_what_django_says_to_people_is_told_in_a_sentence(tmp_path, kind):
    """Such as: conflicting migrations, no fixture of that name, no database of that alias."""
    text = f"class {kind}(Exception):\n    pass\n\n\nraise {kind}('no archive')\n"
    told, lines = answer(tmp_path, text)
    assert (told["error"], told["where"]) == (f"{kind}: no archive", "")
    assert "Traceback" not in lines


@pytest.mark.parametrize(
    "driver",
    [
        "class Denied(Exception):\n    sqlstate = '42501'\n\n\nraise Denied('no right')\n",
        "raise Exception(1142, 'CREATE command denied')\n",
    ],
)
def test_rights_that_somebody_has_to_grant_are_told_in_a_sentence(tmp_path, driver):
    """As Django has it: the driver's error is the cause of one of its own."""
    lines = "".join(f"    {line}\n" for line in driver.splitlines())
    raised = f"try:\n{lines}except Exception as e:\n    raise LookupError('no table') from e\n"
    told, lines = answer(tmp_path, raised)
    assert told["error"] == "LookupError: no table"
    assert told["passing"]
    assert "Traceback" not in lines
