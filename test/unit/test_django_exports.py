"""Waiting for the NFS server to give out what it should."""

import json
import types

import django_exports
import django_server_nfs
import pytest
from django_service import ServiceError

SHOP = "/srv/media/shop"


def answers(monkeypatch, *replies):
    """Let the server answer with these lists of paths, one after the other; None: it does not."""
    left = list(replies)
    clock = iter(range(10_000))

    def run(argv, **_):
        assert argv == django_server_nfs.ASK
        paths = left.pop(0) if len(left) > 1 else left[0]
        if paths is None:
            return types.SimpleNamespace(returncode=1, stdout="", stderr="no such name\n")
        listed = [[number, path, False] for number, path in enumerate(["/", *paths])]
        data = {"type": "(tt)a(qsb)", "data": [[1, 2], listed]}
        return types.SimpleNamespace(returncode=0, stdout=json.dumps(data), stderr="")

    monkeypatch.setattr(django_exports, "run", run)
    monkeypatch.setattr(django_exports.time, "sleep", lambda _: None)
    monkeypatch.setattr(django_exports.time, "monotonic", lambda: next(clock))
    return left


def test_server_that_starts_is_waited_for(monkeypatch):
    left = answers(monkeypatch, None, [], [SHOP])
    django_exports.wait_for([SHOP])
    assert left == [[SHOP]]


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (None, "does not answer: no such name"),
        ([], f"does not give out {SHOP}: they have to be on a file system that knows handles"),
        ([SHOP, "/srv/media/blog"], "still gives out /srv/media/blog"),
    ],
)
def test_what_is_wrong_is_told_with_its_last_words(monkeypatch, tmp_path, found, told):
    log = tmp_path / "ganesha.log"
    log.write_text("could not resolve\n")
    monkeypatch.setattr(django_server_nfs, "LOG", str(log))
    answers(monkeypatch, found)
    with pytest.raises(ServiceError, match=told) as caught:
        django_exports.wait_for([SHOP])
    assert ("could not resolve" in str(caught.value)) == (found is None or not found)
