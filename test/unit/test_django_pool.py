"""The pool of a balancer: what is said of hosts, and which may leave it."""

import django_drained
import django_haproxy
import django_pool
import pytest

CONFIG = {
    "projects": [
        {
            "name": "shop",
            "members": [
                {"name": "web1", "address": "10.0.0.11:80"},
                {"name": "web2", "address": "[fd00::12]:80"},
            ],
        }
    ]
}
FILE = """\
backend shop
    default-server check
    server web1 10.0.0.11:80
    server web10 10.0.0.20:80
    server web2 [fd00::12]:80 disabled
"""
# Three to 10.0.0.11 port 80, of which one is at its end; one to its port 443, one to another host.
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0500000A:C350 0B00000A:0050 01 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0500000A:C351 0B00000A:0050 02 00000000:00000000 00:00000000 00000000     0        0 2
   2: 0500000A:C352 0B00000A:0050 06 00000000:00000000 00:00000000 00000000     0        0 3
   3: 0500000A:C353 0B00000A:01BB 01 00000000:00000000 00:00000000 00000000     0        0 4
   4: 0500000A:C354 0C00000A:0050 01 00000000:00000000 00:00000000 00000000     0        0 5
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue
   0: 000000FD000000000000000005000000:C350 000000FD000000000000000012000000:0050 01 00000000
"""


@pytest.fixture
def haproxy(monkeypatch, tmp_path):
    """Function that makes HAProxy say these states of the hosts; the list of drained ones too."""
    monkeypatch.setattr(django_drained, "PATH", tmp_path / "drained.json")

    def say(states, **listed):
        monkeypatch.setattr(django_haproxy, "servers", lambda: {"shop": states})
        django_drained.save(listed)

    return say


def test_just_the_drained_hosts_are_disabled_in_the_file():
    assert django_drained.mark(FILE, ["web2"]) == FILE
    both = django_drained.mark(FILE, ["web1"])
    assert "    server web1 10.0.0.11:80 disabled\n" in both
    assert "    server web10 10.0.0.20:80\n    server web2 [fd00::12]:80\n" in both
    assert django_drained.mark(both, ["web2"]) == FILE


def test_connections_are_counted_by_the_kernel(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text(TCP)
    (tmp_path / "net/tcp6").write_text(TCP6)
    assert django_haproxy.connections("10.0.0.11", 80, tmp_path) == 2
    assert django_haproxy.connections("10.0.0.13", 80, tmp_path) == 0
    assert django_haproxy.connections("fd00::12", 80, tmp_path) == 1


def test_servers_are_read_from_the_statistics(monkeypatch):
    told = "# pxname,svname,qcur,status,\nshop,web1,0,UP 1/2,\nshop,web2,0,MAINT,\n\n"
    monkeypatch.setattr(django_haproxy, "ask", lambda command: told)
    assert django_haproxy.servers() == {"shop": {"web1": "UP 1/2", "web2": "MAINT"}}


@pytest.mark.parametrize(
    ("state", "serves", "is_out"),
    [
        ("UP", True, False),
        ("UP 1/2", True, False),
        ("no check", True, False),
        ("DOWN", False, False),
        ("DOWN 1/2", False, False),
        ("MAINT", False, True),
        ("MAINT (via shop/web1)", False, True),
        ("DRAIN", False, False),
    ],
)
def test_states_have_a_meaning(state, serves, is_out):
    assert (django_haproxy.serves(state), django_haproxy.is_out(state)) == (serves, is_out)


@pytest.mark.parametrize(
    ("others", "listed", "told"),
    [
        ("DOWN", {}, r"no host would serve shop \(web2 is DOWN\)"),
        ("MAINT", {}, r"\(web2 is MAINT\)"),
        ("UP", {"web2": "today"}, r"\(web2 is drained\)"),
    ],
)
def test_the_last_host_that_serves_stays(haproxy, others, listed, told):
    haproxy({"web1": "UP", "web2": others}, **listed)
    with pytest.raises(django_pool.PoolError, match=told):
        django_pool.drain(CONFIG, "web1", 0, test=True)


def test_a_host_that_serves_nobody_may_leave(haproxy):
    haproxy({"web1": "DOWN", "web2": "UP"})
    changes, _ = django_pool.drain(CONFIG, "web1", 0, test=True)
    assert changes == {"web1": {"old": "DOWN", "new": "drained"}}


def test_a_host_that_is_drained_already_stays_so_whatever_the_others_do(haproxy):
    haproxy({"web1": "MAINT", "web2": "DOWN"}, web1="today")
    assert django_pool.drain(CONFIG, "web1", 0, test=True)[0] == {}


def test_the_only_host_cannot_be_drained(haproxy):
    haproxy({"web1": "UP"})
    alone = {"projects": [{"name": "shop", "members": CONFIG["projects"][0]["members"][:1]}]}
    with pytest.raises(django_pool.PoolError, match="there is no other"):
        django_pool.drain(alone, "web1", 0, test=True)


@pytest.mark.parametrize(
    ("host", "told"),
    [("web3", r"'web3'.*did you mean web"), ("x", r"'x'.*there are: web1, web2"), (7, "'7'")],
)
def test_names_that_are_none_are_told(host, told):
    with pytest.raises(django_pool.PoolError, match=told):
        django_pool.member(CONFIG, host)


def test_a_host_that_haproxy_does_not_know_yet_comes_drained(haproxy):
    haproxy({"web2": "UP"}, web1="today")
    assert django_pool.keep(CONFIG, test=True)[0] == {}
