"""Fingerprints, and which key is accepted: of all that a master has, the one that is meant."""

import re

import django_keys
import pytest
import salt.utils.crypt
from django_keys import KeyRefused
from keys import public_key, put, store

KEY, OTHER = public_key(), public_key()
FINGERPRINT = django_keys.fingerprint(KEY)


def test_fingerprint_is_what_salt_tells_on_the_server(tmp_path):
    (tmp_path / "minion.pub").write_text(KEY)
    assert salt.utils.crypt.pem_finger(str(tmp_path / "minion.pub")) == FINGERPRINT


@pytest.mark.parametrize(
    "form", [str.strip, lambda text: text.replace("\n", "\r\n"), lambda text: text + "\n\n"]
)
def test_fingerprint_does_not_depend_on_ends_of_lines(form):
    assert django_keys.fingerprint(form(KEY)) == FINGERPRINT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----",
        KEY.replace("BEGIN PUBLIC", "BEGIN RSA PUBLIC"),
        KEY.replace("PUBLIC", "PRIVATE"),
        KEY + KEY,
        # Salt would hash the second key's lines only, and OpenSSL would read the first's.
        OTHER.strip().replace("\n", "\r") + "\r" + KEY,
        OTHER.replace("\n", "\v") + KEY.partition("\n")[2],
        KEY.replace("\n", "\n\n", 2),
    ],
)
def test_what_is_not_one_key_has_no_fingerprint(text):
    with pytest.raises(KeyRefused, match="no public key as Salt writes it"):
        django_keys.fingerprint(text)


@pytest.mark.parametrize("form", [str.upper, lambda text: text.replace(":", ""), " {} ".format])
def test_a_fingerprint_may_be_typed_in_several_ways(form):
    assert django_keys.normal(form(FINGERPRINT)) == FINGERPRINT


@pytest.mark.parametrize("text", ["", "yes", FINGERPRINT[:-3], FINGERPRINT + ":00", "*", None])
def test_what_is_no_fingerprint_is_told(text):
    with pytest.raises(KeyRefused, match="expected a fingerprint, 32 pairs") as told:
        django_keys.normal(text)
    assert f"got '{text}'" in str(told.value)


@pytest.fixture
def master(tmp_path):
    """Function that gives a master these keys (dict of dicts of texts by state and server)."""

    def make(**states):
        for state, servers in states.items():
            for server, text in servers.items():
                put(tmp_path, state, server, text)
        return store(tmp_path)

    return make


def test_the_key_that_is_meant_is_accepted_and_no_other(master):
    keys = master(minions_pre={"web1": KEY, "web2": OTHER})
    assert django_keys.accept(keys, "web1", FINGERPRINT) is True
    listed = keys.list_keys()
    assert (listed["minions"], listed["minions_pre"]) == (["web1"], ["web2"])


def test_a_key_is_accepted_once(master):
    keys = master(minions={"web1": KEY})
    assert django_keys.accept(keys, "web1", FINGERPRINT.upper()) is False
    assert keys.list_keys()["minions"] == ["web1"]


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ({}, "no key of web1 waits here; none does: ./bootstrap"),
        ({"minions_pre": {"web11": KEY}}, "no key of web1 waits here; did you mean web11"),
        ({"minions_pre": {"db": KEY}}, "no key of web1 waits here; there are those of db"),
        ({"minions_pre": {"web1": OTHER}}, "has another fingerprint, {other}: compare both"),
        ({"minions_pre": {"web1": "me"}}, "another fingerprint, it is no public key"),
        ({"minions": {"web1": OTHER}}, "web1 is accepted with another key, {other}. If that is"),
        (
            {"minions": {"web1": OTHER}, "minions_denied": {"web1": KEY}},
            "the one that you name was turned away. Was web1 set up anew? salt-key -d web1 here",
        ),
        ({"minions_rejected": {"web1": KEY}}, "the key of web1 was rejected before."),
        ({"minions_denied": {"web1": KEY}}, "the key of web1 was turned away before."),
    ],
)
def test_another_key_is_not_accepted_and_the_reason_is_told(master, states, said):
    keys = master(**states)
    before = keys.list_keys()
    with pytest.raises(KeyRefused) as told:
        django_keys.accept(keys, "web1", FINGERPRINT)
    assert said.format(other=django_keys.fingerprint(OTHER)) in str(told.value)
    assert keys.list_keys() == before


@pytest.mark.parametrize("server", ["*", "web?", "web1,web2", "[w]eb1", "../web1", "", "web 1"])
def test_one_server_is_accepted_at_a_time(master, server):
    keys = master(minions_pre={"web1": KEY, "web2": KEY})
    with pytest.raises(KeyRefused, match=re.escape(f"name of one server, got '{server}'")):
        django_keys.accept(keys, server, FINGERPRINT)
    assert keys.list_keys()["minions"] == []


def test_a_key_that_changes_meanwhile_is_not_left_accepted(master, tmp_path, monkeypatch):
    keys = master(minions_pre={"web1": KEY})
    accept = keys.accept

    def late(**words):
        put(tmp_path, "minions_pre", "web1", OTHER)
        accept(**words)

    monkeypatch.setattr(keys, "accept", late)
    with pytest.raises(KeyRefused, match="no longer the one that was looked at"):
        django_keys.accept(keys, "web1", FINGERPRINT)
    assert keys.list_keys()["minions"] == []


def test_a_key_that_comes_a_moment_later_is_waited_for(master, tmp_path, monkeypatch):
    keys, said = master(), []
    looks = iter([None, lambda: put(tmp_path, "minions_pre", "web1", KEY)])
    monkeypatch.setattr(django_keys.time, "sleep", lambda _: (next(looks) or (lambda: None))())
    assert django_keys.accept(keys, "web1", FINGERPRINT, 60, said.append) is True
    assert said[0].startswith("no key of web1 waits here") and len(said) == 1


def test_a_key_that_does_not_come_is_not_waited_for_without_end(master):
    with pytest.raises(KeyRefused, match="no key of web1 waits here"):
        django_keys.accept(master(), "web1", FINGERPRINT, 0.2, str)
