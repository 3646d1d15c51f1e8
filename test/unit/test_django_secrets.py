"""Secrets are generated once, kept private, and never replaced."""

import json
import os
import shlex
import stat
import string
import urllib.parse

import django_secrets
import pytest

SPECS = {
    "SECRET_KEY": {"generate": 64, "format": "letters"},
    "PEPPER": {"generate": 32, "format": "hex"},
    "API_TOKEN": {"value": "from-pillar"},
}


@pytest.fixture(autouse=True)
def own_files(monkeypatch):
    """Secrets belong to root; tests do not run as root, so owners are left as they are."""
    monkeypatch.setattr("os.fchown", lambda *_: None)


@pytest.mark.parametrize(
    ("alphabet", "letters"),
    [
        ("letters", string.ascii_letters + string.digits),
        ("hex", "0123456789abcdef"),
        ("urlsafe", string.ascii_letters + string.digits + "-_"),
    ],
)
def test_generated_secret_has_its_length_and_alphabet(alphabet, letters):
    secret = django_secrets.generate(80, alphabet)
    assert len(secret) == 80
    assert set(secret) <= set(letters)
    assert django_secrets.generate(80, alphabet) != secret


def test_secrets_are_kept_over_runs(tmp_path):
    folder = tmp_path / "secrets"
    assert django_secrets.keep(folder, "shop", SPECS) == ["PEPPER", "SECRET_KEY"]
    first = django_secrets.load(folder, "shop")
    assert django_secrets.keep(folder, "shop", SPECS) == []
    more = {**SPECS, "OTHER": {"generate": 20, "format": "urlsafe"}}
    assert django_secrets.keep(folder, "shop", more) == ["OTHER"]
    assert {name: django_secrets.load(folder, "shop")[name] for name in first} == first


def test_only_root_can_read_them(tmp_path):
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o755)
    django_secrets.keep(folder, "shop", SPECS)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(django_secrets.store(folder, "shop").stat().st_mode) == 0o600


def test_store_that_others_could_read_is_closed_again(tmp_path):
    django_secrets.keep(tmp_path, "shop", SPECS)
    assert not django_secrets.exposed(tmp_path, "shop")
    for path, mode in ((django_secrets.store(tmp_path, "shop"), 0o644), (tmp_path, 0o755)):
        path.chmod(mode)
        assert django_secrets.exposed(tmp_path, "shop")
        django_secrets.keep(tmp_path, "shop", SPECS)
        assert not django_secrets.exposed(tmp_path, "shop")


def test_store_that_somebody_else_owns_is_taken_back(tmp_path, monkeypatch):
    django_secrets.keep(tmp_path, "shop", SPECS)
    given = []
    monkeypatch.setattr("os.chown", lambda path, uid, gid: given.append((path, uid)))
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
    assert django_secrets.exposed(tmp_path, "shop")
    django_secrets.keep(tmp_path, "shop", SPECS)
    assert given == [
        (tmp_path, os.getuid() + 1),
        (django_secrets.store(tmp_path, "shop"), os.getuid() + 1),
    ]


def test_what_the_pillar_gives_is_not_written_down(tmp_path):
    django_secrets.keep(tmp_path, "shop", SPECS)
    assert "from-pillar" not in django_secrets.store(tmp_path, "shop").read_text()


def test_values_come_from_the_pillar_before_the_store():
    kept = {"SECRET_KEY": "kept", "API_TOKEN": "old"}
    assert django_secrets.values(SPECS, kept) == {
        "SECRET_KEY": "kept",
        "PEPPER": "",
        "API_TOKEN": "from-pillar",
    }


@pytest.mark.parametrize("content", ["", '{"SECRET_KEY": "ab', "[]"])
def test_a_store_that_cannot_be_read_is_never_written_over(tmp_path, content):
    path = django_secrets.store(tmp_path, "shop")
    path.write_text(content)
    with pytest.raises(ValueError, match="cannot be read"):
        django_secrets.keep(tmp_path, "shop", SPECS)
    assert path.read_text() == content


def test_projects_have_stores_of_their_own(tmp_path):
    for name in ("shop", "blog"):
        django_secrets.keep(tmp_path, name, SPECS)
    assert django_secrets.load(tmp_path, "shop") != django_secrets.load(tmp_path, "blog")


@pytest.mark.parametrize(
    "spelling",
    [
        "{}",
        "postgresql://shop:{url}@127.0.0.1/shop",
        '{{"password": "{json}"}}',
        "PASSWORD={shell}",
        "got {repr}",
    ],
)
def test_secret_is_masked_however_it_is_spelt(spelling):
    secret = "p'a\"ss$%\\@:/ word"
    spelt = {
        "url": urllib.parse.quote(secret, safe=""),
        "json": json.dumps(secret)[1:-1],
        "shell": shlex.quote(secret),
        "repr": repr(secret),
    }
    text = spelling.format(secret, **spelt)
    masked = django_secrets.redact(text, [secret, "other-secret"])
    assert django_secrets.MASK in masked
    assert "ss$%" not in masked and "ss%24" not in masked and " word" not in masked


def test_longest_secret_is_masked_first_and_short_words_stay():
    masked = django_secrets.redact("abcdef abcd xy", ["abcd", "abcdef", "xy", ""])
    assert masked == f"{django_secrets.MASK} {django_secrets.MASK} xy"
