"""Tools from PyPI: what a lock file pins, what is installed, how it is brought there."""

import pathlib

import django_tools
import pytest
from django_run import CommandError

LOCK = """\
# made by uv
supervisor==4.3.0 \\
    --hash=sha256:aaaa \\
    --hash=sha256:bbbb
Zope.Interface==7.2 \\
    --hash=sha256:cccc
colorama==0.4.6 ; sys_platform == "win32" \\
    --hash=sha256:dddd
"""


def test_pins_leave_out_what_has_a_condition():
    assert django_tools.pins(LOCK) == {"supervisor": "4.3.0", "zope-interface": "7.2"}


@pytest.fixture
def venv(tmp_path):
    folder = tmp_path / "supervisor/lib/python3.11/site-packages"
    for name in ("supervisor-4.2.0.dist-info", "zope_interface-7.2.dist-info"):
        (folder / name).mkdir(parents=True)
        (folder / name / "METADATA").write_text("two")
        record = f"{name}/METADATA,sha256=x,3\n{name}/RECORD,,\n__pycache__/a.pyc,,\n"
        (folder / name / "RECORD").write_text(record)
    return tmp_path / "supervisor"


def test_differences_are_versions_and_missing_packages(venv, tmp_path):
    assert django_tools.differences(venv, LOCK) == {"supervisor": {"old": "4.2.0", "new": "4.3.0"}}
    assert django_tools.differences(tmp_path / "none", LOCK) == {
        "supervisor": {"old": None, "new": "4.3.0"},
        "zope-interface": {"old": None, "new": "7.2"},
    }


def cut_short(path):
    path.write_text("t")


@pytest.mark.parametrize("harm", [pathlib.Path.unlink, cut_short])
@pytest.mark.parametrize("file", ["METADATA", "RECORD"])
def test_package_that_is_not_all_there_is_none(venv, harm, file):
    harm(next(venv.glob(f"**/zope_interface-7.2.dist-info/{file}")))
    missing = django_tools.differences(venv, LOCK)["zope-interface"]
    assert missing == {"old": None, "new": "7.2"}


@pytest.fixture
def commands(monkeypatch):
    """The command lines that are run."""
    found = []
    monkeypatch.setattr("os.fchown", lambda *_: None)
    monkeypatch.setattr(django_tools, "run", lambda argv, **_: found.append(argv))
    return found


def test_uv_fills_the_environment_by_hashes(tmp_path, commands):
    uv = tmp_path / "uv"
    uv.touch()
    venv = tmp_path / "supervisor"
    django_tools.install(venv, LOCK, str(uv))
    create, fill = commands
    assert create[:2] == [str(uv), "venv"]
    assert fill == [
        *(str(uv), "pip", "install", "--quiet", "--compile-bytecode"),
        *("--python", f"{venv}/bin/python", "--no-deps", "--require-hashes"),
        *("--requirement", f"{tmp_path}/.supervisor.lock"),
    ]
    assert not (tmp_path / ".supervisor.lock").exists()


def test_uv_itself_comes_by_pip(tmp_path, commands):
    venv = tmp_path / "uv"
    django_tools.install(venv, LOCK, f"{venv}/bin/uv")
    assert commands[0] == ["/usr/bin/python3", "-m", "venv", str(venv)]
    assert commands[1][1:4] == ["-m", "pip", "install"]
    assert "--require-hashes" in commands[1]


def test_environment_that_is_there_is_only_filled(venv, tmp_path, commands):
    (venv / "bin").mkdir()
    (venv / "bin/python").touch()
    django_tools.install(venv, LOCK, str(tmp_path / "none"))
    assert len(commands) == 1


def test_environment_with_half_a_package_is_made_anew(venv, tmp_path, commands):
    (venv / "bin").mkdir()
    (venv / "bin/python").touch()
    next(venv.glob("**/zope_interface-7.2.dist-info/RECORD")).unlink()
    django_tools.install(venv, LOCK, str(tmp_path / "none"))
    assert not venv.exists()
    assert len(commands) == 2


def test_failure_is_told(tmp_path, monkeypatch):
    def fail(argv, **_):
        raise CommandError(argv, 1, "no network", "exit status 1")

    monkeypatch.setattr("os.fchown", lambda *_: None)
    monkeypatch.setattr(django_tools, "run", fail)
    with pytest.raises(django_tools.ToolError, match="no network"):
        django_tools.install(tmp_path / "venv", LOCK, "/none/uv")
