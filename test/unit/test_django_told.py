"""What a balancer was told of its backends, and when it is told again."""

import json
import pathlib
import stat

import django_drained
import django_outside
import django_told
import pytest
from test_django_backends import FROM, fleet

SCRIPT = """\
#!/bin/sh
cat >> {told}
[ -e {broken} ] || exit 0
echo "no such pool" >&2
exit 3
"""


@pytest.fixture
def balancer(tmp_path, monkeypatch, resolve):
    """A host that tells; ``balancer.heard()`` is what the hook got, each time."""
    for module, name in ((django_told, "backends"), (django_drained, "drained")):
        monkeypatch.setattr(module, "PATH", str(tmp_path / f"{name}.json"))
    hook = tmp_path / "hook"
    hook.write_text(SCRIPT.format(told=tmp_path / "told", broken=tmp_path / "broken"))
    hook.chmod(0o755)
    return Balancer(tmp_path, hook, resolve)


class Balancer:
    def __init__(self, folder, hook, resolve):
        self.folder, self.hook, self._resolve = folder, hook, resolve

    def tell(self, test=False, host="web1", drained=(), command=None, **changes):
        external = {"from": FROM, "hook": command or [str(self.hook)]}
        config = self._resolve({**fleet(external=external), **changes}, id=host)
        assert config["errors"] == []
        return django_told.tell(config["external"], config["backends"], list(drained), test)

    def heard(self):
        text, found = (self.folder / "told").read_text(), []
        decoder = json.JSONDecoder()
        while text:
            value, end = decoder.raw_decode(text)
            found.append(value)
            text = text[end:].lstrip()
        return found


def test_it_is_told_once(balancer):
    predicted = balancer.tell(test=True)
    assert not (balancer.folder / "told").exists() and predicted
    assert balancer.tell() == predicted
    assert balancer.tell() == {} == balancer.tell(test=True)
    (heard,) = balancer.heard()
    assert [server["name"] for server in heard["shop"]["servers"]] == ["web1", "web2"]
    assert heard["shop"]["servers"][0]["drained"] is False
    assert stat.S_IMODE((balancer.folder / "backends.json").stat().st_mode) == 0o600


def test_a_change_is_told_in_words(balancer):
    balancer.tell()
    changes = balancer.tell(drained=["web2"])
    assert changes["shop"]["old"].startswith(
        "*.example.org, example.org at web1 (10.0.0.11:80), web2 ([fd00::12]:80); healthy if /up/"
    )
    assert "web2 ([fd00::12]:80, drained);" in changes["shop"]["new"]
    assert balancer.heard()[1]["shop"]["servers"][1]["drained"] is True


def test_another_hook_tells_again(balancer):
    balancer.tell()
    changes = balancer.tell(command=[str(balancer.hook), "--all"])
    assert changes == {"hook": {"old": str(balancer.hook), "new": f"{balancer.hook} --all"}}
    assert len(balancer.heard()) == 2


def test_what_failed_is_told_by_the_next_run(balancer):
    broken = balancer.folder / "broken"
    broken.touch()
    with pytest.raises(django_told.TellError, match="the next run tells it") as failed:
        balancer.tell()
    assert "no such pool" in str(failed.value) and "exit status 3" in str(failed.value)
    broken.unlink()
    assert balancer.tell() and balancer.tell() == {}


def test_a_record_that_was_cut_off_tells_again(balancer):
    balancer.tell()
    (balancer.folder / "backends.json").write_text("{")
    assert balancer.tell()


def test_a_host_that_does_not_tell_any_more_forgets(balancer):
    """Another one tells meanwhile, so that what this one knows would be no reason to be silent."""
    balancer.tell()
    assert balancer.tell(host="web2", test=True) == {"forgotten": "what this host has told"}
    assert pathlib.Path(django_told.PATH).exists()
    assert balancer.tell(host="web2") and balancer.tell(host="web2") == {}
    assert balancer.tell()


def test_hosts_that_left_are_not_drained_any_more(balancer):
    django_drained.save({"web1": "since then", "web9": "since then"})
    assert list(django_told.keep({"web1": "10.0.0.11"}, test=True)) == ["web1"]
    assert "web9" in django_drained.load()
    django_told.keep({"web1": "10.0.0.11"})
    assert list(django_drained.load()) == ["web1"]


def test_a_host_is_drained_by_who_tells(balancer, resolve):
    hook = {"from": FROM, "hook": [str(balancer.hook)]}

    def keeper(host):
        return django_outside.Keeper(resolve(fleet(external=hook), id=host), str)

    teller = keeper("web1")
    predicted, _ = teller.drain("web2", 5, test=True)
    assert teller.drained() == [] and predicted["web2"] == {"old": "ready", "new": "drained"}
    assert teller.drain("web2", 5)[0] == predicted
    assert teller.drain("web2", 5) == ({}, {}) and teller.drained() == ["web2"]
    assert [server["drained"] for server in balancer.heard()[0]["shop"]["servers"]] == [False, True]
    with pytest.raises(django_outside.OutsideError, match="Without web1 no host would serve"):
        teller.drain("web1", 5)
    assert teller.undrain("web2", 5)[0]["web2"] == {"old": "drained", "new": "ready"}
    assert teller.drained() == []
    assert [server["drained"] for server in balancer.heard()[1]["shop"]["servers"]] == [False] * 2
    with pytest.raises(django_outside.OutsideError, match="'web3' .*did you mean web"):
        teller.member("web3")
    with pytest.raises(django_outside.OutsideError, match="web2 is drained on web1, which tells"):
        keeper("web2").member("web2")
