"""Virtual environments: what is in them, how they are named, the commands that build them."""

import os

import django_venv
import pytest

UV = "/opt/uv"
VENV = "/srv/django/shop/venvs/abc"


@pytest.fixture
def source(tmp_path):
    (tmp_path / "requirements.txt").write_text("Django==5.2\n-r requirements/base.txt\n")
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/base.txt").write_text("-c ../limits.txt\npsycopg\n")
    (tmp_path / "limits.txt").write_text("psycopg<4\n")
    return tmp_path


def settings(**changes):
    return {
        "install": "auto",
        "installer": "uv",
        "requirements": [],
        "extras": [],
        "groups": [],
        "packages": ["gunicorn==23.0.0"],
        "constraints": [],
        "isolated": False,
        **changes,
    }


def inputs(python, source, revision="r1", own_package=None):
    return django_venv.inputs(python, source, "/usr/bin/python3.11", revision, own_package)


# How packages are named


def test_how_to_install_looks_at_what_is_there(tmp_path):
    assert django_venv.how_to_install(settings(), tmp_path) == "none"
    (tmp_path / "pyproject.toml").touch()
    assert django_venv.how_to_install(settings(), tmp_path) == "pyproject"
    (tmp_path / "requirements.txt").touch()
    assert django_venv.how_to_install(settings(), tmp_path) == "requirements"
    (tmp_path / "uv.lock").touch()
    assert django_venv.how_to_install(settings(), tmp_path) == "uv-lock"
    named = settings(requirements=["x.txt"])
    assert django_venv.how_to_install(named, tmp_path) == "requirements"
    assert django_venv.how_to_install(settings(install="none"), tmp_path) == "none"


def test_requirement_file_that_is_missing_is_told(source):
    with pytest.raises(django_venv.VenvError, match="not in the source: none.txt"):
        inputs(settings(requirements=["none.txt"]), source)
    (source / "limits.txt").unlink()
    with pytest.raises(django_venv.VenvError, match="no file limits.txt"):
        inputs(settings(), source)


# The name


def test_included_files_count(source):
    found = inputs(settings(), source)
    assert sorted(found["contents"]) == ["limits.txt", "requirements.txt", "requirements/base.txt"]
    before = django_venv.name_of(found)
    (source / "limits.txt").write_text("psycopg<5\n")
    assert django_venv.name_of(inputs(settings(), source)) != before


def test_files_that_include_each_other_end(source):
    (source / "limits.txt").write_text("-r requirements.txt\n")
    assert len(inputs(settings(), source)["contents"]) == 3


def test_name_is_that_of_the_packages_and_not_of_the_code(source):
    first = django_venv.name_of(inputs(settings(), source, "r1"))
    assert django_venv.name_of(inputs(settings(), source, "r2")) == first
    changed = inputs(settings(packages=["gunicorn==24.0.0"]), source, "r1")
    assert django_venv.name_of(changed) != first


def test_environment_that_holds_the_project_follows_its_revision(source):
    isolated = settings(isolated=True)
    assert inputs(isolated, source, "r1") != inputs(isolated, source, "r2")
    (source / "requirements.txt").unlink()
    (source / "pyproject.toml").write_text("[build-system]\n")
    assert inputs(settings(), source, "r1") != inputs(settings(), source, "r2")


@pytest.mark.parametrize(
    ("line", "is_local"),
    [
        ("-e .", True),
        ("--editable=./library", True),
        (".", True),
        (".[extra]", True),
        ("../library", True),
        ("library @ file:///srv/library", True),
        ("-e git+https://git.example.org/a.git#egg=a", False),
        ("Django==5.2  # ./not this", False),
        ("--index-url https://packages.example.org/", False),
    ],
)
def test_environment_that_holds_a_folder_of_the_source_is_that_of_one_release(
    source, line, is_local
):
    (source / "requirements/base.txt").write_text(f"idna\n{line}\n")
    assert (inputs(settings(), source)["revision"] is not None) is is_local


@pytest.mark.parametrize(
    ("origin", "is_local"),
    [('editable = "library"', True), ('registry = "https://x/"', False), ('virtual = "."', False)],
)
def test_environment_that_holds_a_folder_of_the_lock_file_is_that_of_one_release(
    source, origin, is_local
):
    (source / "pyproject.toml").write_text("[project]\n")
    (source / "uv.lock").write_text(f"[[package]]\nname = 'a'\nsource = {{ {origin} }}\n")
    assert (inputs(settings(), source)["revision"] is not None) is is_local


# The interpreter


def test_interpreter_that_is_missing_is_told_with_what_is_there():
    with pytest.raises(django_venv.VenvError, match=r"'9.9' is not on this host \(there are: "):
        django_venv.find_interpreter("9.9")


def test_interpreter_is_found_by_version_and_path(tmp_path, monkeypatch):
    program = tmp_path / "python3.12"
    program.touch(mode=0o755)
    (tmp_path / "python3").symlink_to(program)
    monkeypatch.setattr(django_venv, "_folders", lambda: [str(tmp_path)])
    assert django_venv.find_interpreter("3.12") == str(program)
    assert django_venv.find_interpreter("python3") == str(program)
    assert django_venv.find_interpreter(f"{tmp_path}/python3") == str(program)
    assert django_venv.installed_interpreters() == ["3.12"]


# Commands


def build(python, source, own_package=None):
    values = inputs(python, source, own_package=own_package)
    return django_venv.commands(values, python, source, VENV, UV)


def test_uv_installs_requirement_files(source):
    assert build(settings(), source) == [
        [UV, "venv", "--no-project", "--python", "/usr/bin/python3.11", VENV],
        [
            *(UV, "pip", "install", "--python", f"{VENV}/bin/python", "--compile-bytecode"),
            *("gunicorn==23.0.0", "--requirement", f"{source}/requirements.txt"),
        ],
    ]


def test_pip_installs_requirement_files(source):
    assert build(settings(installer="pip"), source) == [
        ["/usr/bin/python3.11", "-m", "venv", VENV],
        [
            *(f"{VENV}/bin/python", "-m", "pip", "install", "--no-input"),
            *("--disable-pip-version-check", "gunicorn==23.0.0"),
            *("--requirement", f"{source}/requirements.txt"),
        ],
    ]


def test_lock_file_is_synchronised(source):
    (source / "uv.lock").touch()
    (source / "pyproject.toml").write_text("[project]\n")
    sync = build(settings(extras=["s3"], groups=["prod"]), source)[1]
    assert sync == [
        *(UV, "sync", "--locked", "--no-default-groups", "--compile-bytecode"),
        *("--project", str(source), "--no-install-project", "--extra", "s3", "--group", "prod"),
    ]


def test_project_is_installed_with_its_extras_and_groups(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[build-system]\n")
    install = build(settings(extras=["a", "b"], groups=["prod"]), tmp_path)[-1]
    assert install[-4:] == [
        "gunicorn==23.0.0",
        f"{tmp_path}[a,b]",
        "--group",
        f"{tmp_path}/pyproject.toml:prod",
    ]


APPLICATION = '[project]\nname = "site"\nversion = "1"\ndependencies = ["Django"]\n'


@pytest.mark.parametrize(
    "text",
    [
        APPLICATION,
        f"[build-system]\n{APPLICATION}[tool.poetry]\npackage-mode = false\n",
        f"{APPLICATION}[tool.uv]\npackage = false\n",
    ],
)
def test_of_a_project_that_is_no_package_only_what_it_needs_is_installed(tmp_path, text):
    """As uv does it: setuptools would refuse folders such as config and accounts side by side."""
    (tmp_path / "pyproject.toml").write_text(text)
    install = build(settings(extras=["a", "b"], groups=["prod"]), tmp_path)[-1]
    assert install[-8:] == [
        *("--requirement", f"{tmp_path}/pyproject.toml", "--extra", "a", "--extra", "b"),
        *("--group", f"{tmp_path}/pyproject.toml:prod"),
    ]
    assert inputs(settings(), tmp_path, "r1") == inputs(settings(), tmp_path, "r2")


@pytest.mark.parametrize(
    ("text", "python"),
    [
        (f"{APPLICATION}[tool.setuptools]\npackages = ['site']\n", {}),
        (f"{APPLICATION}[tool.uv]\npackage = true\n", {}),
        (APPLICATION, {"installer": "pip"}),
    ],
)
def test_project_that_says_it_is_a_package_is_installed(tmp_path, text, python):
    (tmp_path / "pyproject.toml").write_text(text)
    assert build(settings(**python), tmp_path)[-1][-1] == str(tmp_path)
    assert inputs(settings(), tmp_path)["revision"] or python


def test_package_from_pypi_is_installed_under_constraints(tmp_path):
    python = settings(constraints=["Django<6", "abc!=1"])
    install = build(python, tmp_path, own_package="wagtail[x]==6.3")[-1]
    constraints = f"{VENV}.constraints"
    assert install[-4:] == ["--constraint", constraints, "wagtail[x]==6.3", "gunicorn==23.0.0"]
    values = inputs(python, tmp_path)
    path, text = django_venv.constraint_file(VENV, values)
    assert (path, sorted(text.split())) == (constraints, ["Django<6", "abc!=1"])
    assert django_venv.constraint_file(VENV, inputs(settings(), tmp_path)) is None


def test_nothing_to_install_is_only_an_environment(tmp_path):
    assert len(build(settings(packages=[]), tmp_path)) == 1


# What surrounds them


def test_build_environment_lets_the_pillar_win():
    env = django_venv.environment({"UV_LINK_MODE": "hardlink"}, VENV, "/cache", {})
    assert env["UV_LINK_MODE"] == "hardlink"
    assert (env["HOME"], env["UV_CACHE_DIR"]) == ("/cache", "/cache/uv")
    assert env["UV_PYTHON_DOWNLOADS"] == "never"


def test_only_the_first_environment_shares_its_files_with_the_cache(tmp_path):
    """Its files are root's when it is built, and nobody else may link to such."""
    assert django_venv.environment({}, VENV, tmp_path, {})["UV_LINK_MODE"] == "hardlink"
    (tmp_path / "uv").mkdir()
    assert django_venv.environment({}, VENV, tmp_path, {})["UV_LINK_MODE"] == "copy"


def test_index_of_the_pillar_is_for_uv_and_pip():
    secrets = {
        "python.index_url": "http://u:p@index.example.org/simple",
        "python.extra_index_urls": "http://x.example.org http://y.example.org",
    }
    env = django_venv.environment({}, VENV, "/cache", secrets)
    assert env["UV_DEFAULT_INDEX"] == env["PIP_INDEX_URL"] == secrets["python.index_url"]
    assert env["UV_INDEX"] == env["PIP_EXTRA_INDEX_URL"] == secrets["python.extra_index_urls"]


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("[global]\nindex-url = http://a.example.org/%40x\n", "http://a.example.org/%40x"),
        ("[install]\nuser = no\n", None),
        ("broken", None),
    ],
)
def test_index_of_the_host_is_read_from_its_pip_settings(tmp_path, text, index):
    path = tmp_path / "pip.conf"
    path.write_text(text)
    assert django_venv.pip_index(path) == index
    assert django_venv.pip_index(tmp_path / "none") is None


def test_installed_packages_are_listed(tmp_path):
    folder = tmp_path / "lib/python3.11/site-packages"
    for name in ("Django-5.2.dist-info", "old-1.0.egg-info", "django"):
        (folder / name).mkdir(parents=True)
    assert django_venv.installed(tmp_path) == ["Django-5.2", "old-1.0"]
    assert django_venv.installed(tmp_path / "none") == []


def test_description_says_what_is_in_it(source):
    assert django_venv.describe(inputs(settings(), source)) == (
        "python3.11 with requirements gunicorn==23.0.0"
    )
    nothing = inputs(settings(install="none", packages=[]), os.path.dirname(source))
    assert django_venv.describe(nothing) == "python3.11 with no packages"
