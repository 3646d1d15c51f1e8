"""The table of what is proven: from markers to text, and back from a run's report."""

import pathlib
import runpy
import subprocess
import sys

import pytest

from test import proven

MARINE = ("database server", "Marine", "it floats", ["Debian 12"])
TEST = """\
import pytest

pytestmark = pytest.mark.proves("database server", "Marine", "it floats", on=["Debian 12"])


@pytest.mark.parametrize(
    "good",
    [
        True,
        pytest.param(GOOD, marks=pytest.mark.proves("Salt", "another", "b", on=["Debian 13"])),
    ],
)
def test_it(good):
    assert good
"""
CONFTEST = """\
from test import proven


def pytest_configure(config):
    config.addinivalue_line("markers", "proves(area, product, what, on): a row")


def pytest_collection_modifyitems(items):
    for item in items:
        item.user_properties += map(proven.property_of, item.iter_markers(proven.MARKER))
"""


def test_committed_table_is_what_the_markers_say():
    generate = runpy.run_path(str(proven.ROOT / "docs/generate"))
    assert proven.TABLE.read_text() == generate["texts"]()[proven.TABLE], "run docs/generate"


def test_table_tells_rendered_systems_and_links_to_tests_that_are_there():
    text = proven.TABLE.read_text()
    assert "Ubuntu 22.04 and Ubuntu 24.04: every state is rendered" in text
    for row, files in proven.declared().items():
        assert row.product in text and row.what in text
        for name in files:
            assert (proven.TABLE.parent / f"../test/integration/{name}").exists()


def test_rows_are_read_from_markers_on_files_tests_and_parameters(tmp_path):
    (tmp_path / "test_a.py").write_text(TEST.replace("GOOD", "True"))
    (tmp_path / "test_b.py").write_text(TEST.replace("GOOD", "True"))
    found = proven.declared(tmp_path)
    assert found[proven.row(*MARINE)] == ["test_a.py", "test_b.py"]
    assert {row.product for row in found} == {"Marine", "another"}


@pytest.mark.parametrize(
    "words",
    [
        ("no such area", "a", "b", ["Debian 12"]),
        ("Salt", "", "b", ["Debian 12"]),
        ("Salt", "a", "", ["Debian 12"]),
        ("Salt", "a", "b", "Debian 12"),
        ("Salt", "a", "b", []),
    ],
)
def test_marker_that_fits_no_table_is_refused(words):
    with pytest.raises(ValueError):
        proven.row(*words)


@pytest.mark.parametrize("good", [True, False])
def test_row_is_shown_when_all_of_its_tests_passed(tmp_path, good):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_a.py").write_text(TEST.replace("GOOD", str(good)))
    report = tmp_path / "report.xml"
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    done = subprocess.run(
        [*argv, f"--rootdir={tmp_path}", "-c", "/dev/null", str(tmp_path)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(proven.ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == (0 if good else 1), done.stdout
    assert {row.product: passed for row, passed in proven.shown(report).items()} == {
        "Marine": good,
        "another": good,
    }


def test_whole_run_fails_for_a_row_that_it_did_not_show(capsys):
    tell = runpy.run_path(str(proven.ROOT / "test/run"))["tell_proven"]
    rows = list(proven.declared())
    assert tell(dict.fromkeys(rows, True), whole=True) == 0
    assert tell(dict.fromkeys(rows[1:], True), whole=True) == 1
    assert f"NOT RUN  {rows[0].product}" in capsys.readouterr().out
    assert tell(dict.fromkeys(rows[:1], True), whole=False) == 0


def test_report_that_is_not_there_shows_nothing(tmp_path):
    assert proven.shown(pathlib.Path(tmp_path, "none.xml")) == {}
