"""Where a password comes from."""

import pathlib

import django_password
import pytest
from django_password import PasswordError

LOOK_UP = {"env": {"PW": "from-env"}.get, "pillar": {"a:b": "from-pillar", "n": 3}.get}


def find(source, kept_in="/nowhere"):
    return django_password.find(source, kept_in, LOOK_UP)


def test_only_one_source():
    keywords = {"password_env": "PW", "password_file": None, "cwd": "/"}
    assert django_password.split(keywords) == ({"password_env": "PW"}, {"cwd": "/"})
    with pytest.raises(PasswordError, match="only one of"):
        django_password.split({"password_env": "PW", "password_file": "/x"})


def test_sources(tmp_path):
    path = tmp_path / "password"
    path.write_text("from-file\nsecond line\n")
    assert find({"password_env": "PW"}) == ("from-env", None)
    assert find({"password_pillar": "a:b"}) == ("from-pillar", None)
    assert find({"password_file": str(path)}) == ("from-file", str(path))
    assert find({}, str(path)) == ("from-file", str(path))
    assert find({}, "/nowhere") == (None, "/nowhere")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"password_env": "OTHER"}, "there is no variable 'OTHER'"),
        ({"password_pillar": "n"}, "there is no pillar key 'n'"),
        ({"password_file": "relative"}, "no absolute path"),
    ],
)
def test_no_password(source, message):
    with pytest.raises(PasswordError, match=message):
        find(source)


def test_empty_file_is_told(tmp_path):
    (tmp_path / "password").touch()
    with pytest.raises(PasswordError, match="is empty"):
        find({"password_file": str(tmp_path / "password")})


def test_generated_password_is_for_its_owner_alone(tmp_path):
    path = pathlib.Path(django_password.store(tmp_path / "new", "shop", "../me@x"))
    assert path.name == "shop...%2Fme@x.password"
    password = django_password.keep(path)
    assert django_password.read(path) == password and len(password) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_password_is_not_kept_where_everybody_writes(tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(PasswordError, match="written by everybody"):
        django_password.keep(tmp_path / "password")
