"""A real HAProxy with the rendered configuration: who is in its pool, and who is not."""

import concurrent.futures
import json
import os
import ssl
import threading

import django_drained
import django_haproxy
import pytest
import requests
from front import Site, certificate, free_port
from pool import balancing
from salt.exceptions import CommandExecutionError


@pytest.fixture
def pool(minion_opts, tmp_path, monkeypatch):
    with balancing(minion_opts, tmp_path, monkeypatch) as found:
        yield found


@pytest.fixture
def visitors():
    with concurrent.futures.ThreadPoolExecutor() as made:
        yield made


def slow(pool, visitors, name):
    """A slow request that has reached a host (its future)."""

    def counts():
        return {each: len(host.asked) for each, host in pool.hosts.items()}

    while True:
        before = counts()
        answer = visitors.submit(pool.ask, "/slow/")
        pool.wait(lambda seen=before: counts() != seen)
        if counts()[name] > before[name]:
            return answer


def test_a_drained_host_answers_what_it_has_and_gets_nothing_new(pool, visitors):
    assert pool.who() == {"web1", "web2"}
    answer = slow(pool, visitors, "web1")
    assert pool.call["django.drain"]("web1", test=True)["left"] == 1
    assert pool.call["django.drain"]("web1", timeout=0)["left"] == 1
    assert pool.who() == {"web2"}
    pool.answer_soon()
    again = pool.call["django.drain"]("web1")
    assert (again["changes"], again["left"]) == ({}, 0)
    assert pool.hosts["web1"].may_answer.is_set() and answer.result().text == "web1"
    assert "salt-call django.undrain web1" in again["comment"]
    status = pool.call["django.status"]()["shop"]["pool"]
    assert status["web1"].items() >= {"state": "MAINT", "drained": True, "requests": 0}.items()
    assert status["web2"] == {"state": "UP", "drained": False, "requests": 0}


def test_requests_of_a_haproxy_before_a_reload_are_waited_for(pool, visitors):
    answer = slow(pool, visitors, "web1")
    pool.reload()
    pool.answer_soon()
    assert pool.call["django.drain"]("web1")["left"] == 0
    assert pool.hosts["web1"].may_answer.is_set() and answer.result().text == "web1"


def test_a_drained_host_stays_out_over_reloads_and_new_files(pool):
    before = pool.config.read_text()
    changes = pool.call["django.drain"]("web1")["changes"]
    assert changes == {"web1": {"old": "UP", "new": "drained"}}
    assert django_drained.PATH.stat().st_mode & 0o777 == 0o600
    edited = pool.config.read_text()
    pool.write()
    assert pool.config.read_text() == edited != before
    pool.reload()
    assert pool.states()["web1"] == "MAINT"
    assert pool.who() == {"web2"}
    assert pool.call["django.undrain"]("web1")["changes"]
    assert pool.who() == {"web1", "web2"}
    assert pool.config.read_text() == before
    assert pool.call["django.undrain"]("web1")["changes"] == {}


def test_what_a_test_says_is_what_is_done(pool):
    predicted = pool.call["django.drain"]("web1", test=True)["changes"]
    assert pool.who() == {"web1", "web2"} and not django_drained.PATH.exists()
    assert pool.call["django.drain"]("web1")["changes"] == predicted
    predicted = pool.call["django.undrain"]("web1", test=True)["changes"]
    assert pool.who() == {"web2"}
    assert pool.call["django.undrain"]("web1")["changes"] == predicted


def test_the_last_host_that_serves_is_not_drained(pool):
    pool.call["django.drain"]("web1")
    with pytest.raises(CommandExecutionError, match="Without web2 no host would serve shop"):
        pool.call["django.drain"]("web2")
    pool.call["django.undrain"]("web1")
    pool.hosts["web1"].status = 503
    pool.wait(lambda: pool.states()["web1"] == "DOWN")
    with pytest.raises(CommandExecutionError, match=r"\(web1 is DOWN\). Nothing was changed"):
        pool.call["django.drain"]("web2")
    assert pool.who() == {"web2"}


def test_a_host_that_is_not_well_stays_out(pool):
    pool.call["django.drain"]("web1")
    pool.hosts["web1"].status = 503
    for test in (True, False):
        with pytest.raises(CommandExecutionError, match="answered 503, expected 200"):
            pool.call["django.undrain"]("web1", timeout=0, test=test)
    assert pool.who() == {"web2"}
    pool.hosts["web1"].status = 200
    assert pool.call["django.undrain"]("web1")["changes"]


def test_names_that_are_none_are_told(pool):
    for function in ("django.drain", "django.undrain"):
        with pytest.raises(CommandExecutionError, match=r"'wep1'.*did you mean web1\?"):
            pool.call[function]("wep1")


def test_every_run_tells_who_is_out_and_makes_good_what_was_cut_off(pool):
    keep = pool.call["django.keep_drained"]
    assert keep() == {"changes": {}, "comment": "Every host of the pool may get requests."}
    pool.call["django.drain"]("web1")
    done = keep()
    assert done["changes"] == {} and "web1 is drained since 20" in done["comment"]
    assert done["warnings"] == [done["comment"]]
    django_haproxy.set_state("shop", "web1", "ready")
    assert keep(test=True)["changes"] == keep()["changes"] == {"drained": ["web1"]}
    assert pool.who() == {"web2"}
    pool.call["django.undrain"]("web1")
    django_haproxy.set_state("shop", "web2", "maint")
    (told,) = keep(test=True)["warnings"]
    assert "web2 gets no requests, as somebody told HAProxy" in told
    assert pool.states()["web2"] == "MAINT"


def test_hosts_that_left_the_map_are_forgotten(pool):
    django_drained.save({"web9": django_drained.now()})
    assert pool.call["django.drained"]() == []
    keep = pool.call["django.keep_drained"]
    assert keep(test=True)["changes"] == keep()["changes"] == {"forgotten": ["web9"]}
    assert django_drained.load() == {}


def test_a_haproxy_that_is_away_is_told(pool):
    pool.stop()
    with pytest.raises(CommandExecutionError, match="HAProxy does not answer at"):
        pool.call["django.drain"]("web1")
    assert pool.call["django.keep_drained"](test=True)["changes"] == {}
    assert "does not answer" in pool.call["django.status"]()["shop"]["problem"]


# TLS


@pytest.fixture
def secure(minion_opts, tmp_path, monkeypatch):
    """A pool whose project has a certificate."""
    web = {"tls": {**certificate(tmp_path), "hsts": "365d"}, "trusted_proxies": ["127.0.0.9"]}
    with balancing(minion_opts, tmp_path, monkeypatch, web=web) as pool:
        pool.site = Site(tmp_path, pool.port, pool.tls_port)
        yield pool


def seen(pool):
    """The headers that the hosts behind have seen last."""
    return next(host.asked.pop() for host in pool.hosts.values() if host.asked)


def test_https_ends_at_the_balancer(secure):
    said = secure.site.ask_securely("shop.test", "shop.test")
    assert b"HTTP/1.1 200 " in said
    assert b"strict-transport-security: max-age=31536000" in said.lower()
    assert seen(secure)["X-Forwarded-Proto"] == "https"


def test_http_is_sent_to_https(secure):
    answer = secure.ask("/cart?item=1", X_Forwarded_Proto="https")
    where = f"https://shop.test:{secure.tls_port}/cart?item=1"
    assert (answer.status, answer.getheader("Location")) == (308, where)
    assert answer.getheader("Strict-Transport-Security") is None
    assert secure.ask(host="evil.test").status == 421
    assert not any(host.asked for host in secure.hosts.values())


def test_a_proxy_in_front_may_have_ended_https_itself(secure):
    assert secure.ask(source="127.0.0.9", X_Forwarded_Proto="https").status == 200
    assert seen(secure)["X-Forwarded-Proto"] == "https"
    assert secure.ask(source="127.0.0.9", X_Forwarded_Proto="http").status == 308


def test_certificates_are_shown_by_name(secure):
    assert b" 421 " in secure.site.ask_securely("shop.test", "evil.test")
    with pytest.raises(ssl.SSLError):
        secure.site.ask_securely("evil.test", "evil.test")


def test_another_certificate_is_taken_without_a_dropped_request(secure, tmp_path, visitors):
    def visit():
        answers = []
        while not over.is_set():
            answers.append(secure.site.ask_securely("shop.test", "shop.test"))
        return answers

    over, before = threading.Event(), secure.site.certificate("shop.test")
    visiting = [visitors.submit(visit) for _ in range(4)]
    certificate(tmp_path)
    secure.reload()
    over.set()
    answers = [answer for each in visiting for answer in each.result()]
    assert answers and all(b"HTTP/1.1 200 " in answer for answer in answers)
    after = secure.site.certificate("shop.test")
    assert before != after == ssl.PEM_cert_to_DER_cert((tmp_path / "tls.pem").read_text())


# Statistics


@pytest.fixture
def counted(minion_opts, tmp_path, monkeypatch):
    """A pool with a page of statistics for another address."""
    haproxy = {"statistics": {"port": free_port(), "from": ["127.0.0.9"]}}
    with balancing(minion_opts, tmp_path, monkeypatch, haproxy) as pool:
        pool.page = f"http://127.0.0.1:{haproxy['statistics']['port']}/"
        yield pool


def test_statistics_are_behind_a_password_that_is_never_shown(counted, tmp_path):
    store = tmp_path / "secrets/haproxy.statistics.json"
    secret = tmp_path / "etc/haproxy/statistics.auth"
    assert [os.stat(path).st_mode & 0o777 for path in (store, secret)] == [0o600, 0o600]
    password = json.loads(store.read_text())["password"]
    assert len(password) == 32
    said = [counted.guarded, counted.call["django.config"](), counted.config.read_text()]
    assert password not in json.dumps(said)
    assert counted.guarded["changes"] == {
        "generated": ["password"],
        str(secret): ["content", "mode", "owner"],
    }
    assert counted.call["django.guard_statistics"]()["changes"] == {}
    assert requests.get(counted.page, timeout=10).status_code == 401
    for wrong in (("admin", "wrong"), ("root", password)):
        assert requests.get(counted.page, auth=wrong, timeout=10).status_code == 401
    page = requests.get(counted.page, auth=("admin", password), timeout=10)
    assert page.status_code == 200 and "web2" in page.text


def test_another_password_is_predicted_and_taken(counted, tmp_path):
    (tmp_path / "secrets/haproxy.statistics.json").write_text('{"password": "another-word"}')
    guard = counted.call["django.guard_statistics"]
    assert guard(test=True)["changes"] == guard()["changes"] != {}
    counted.reload()
    assert requests.get(counted.page, auth=("admin", "another-word"), timeout=10).status_code == 200


# Cookies


def test_visitors_stay_with_a_host_until_it_is_drained(minion_opts, tmp_path, monkeypatch):
    with balancing(minion_opts, tmp_path, monkeypatch, web={"sticky": True}) as pool:
        answer = pool.ask()
        first, cookie = answer.text, answer.getheader("Set-Cookie")
        assert cookie.startswith("django-host=") and first not in cookie
        assert cookie.endswith("; path=/; HttpOnly; SameSite=Lax")
        mine = {"Cookie": f"{cookie.partition(';')[0]}; other=1"}
        answers = [pool.ask(**mine) for _ in range(8)]
        assert {answer.text for answer in answers} == {first}
        assert {answer.getheader("Set-Cookie") for answer in answers} == {None}
        assert pool.hosts[first].asked[-1]["Cookie"] == "other=1"
        pool.call["django.drain"](first)
        answer = pool.ask(**mine)
        assert answer.status == 200 and answer.text != first
        assert answer.getheader("Set-Cookie").startswith("django-host=")


# Static files with domains of their own

STATIC = {"static1": "127.0.0.4"}


@pytest.fixture
def with_static(minion_opts, tmp_path, monkeypatch):
    """A pool of whose project the static files are on a host of their own."""
    domains = {"domains": ["static.shop.test", "static.shop.net"]}
    project = {"domains": ["shop.test", "*.shop.test"], "static": domains}
    with balancing(minion_opts, tmp_path, monkeypatch, apart=STATIC, **project) as found:
        found.wait(lambda: django_haproxy.servers().get("shop.static") == {"static1": "UP"})
        yield found


def test_static_domains_lead_to_the_static_hosts(with_static):
    """Though the site has all other names of the same domain."""
    pool = with_static
    for domain in ("static.shop.test", "static.shop.net"):
        assert pool.ask("/static/a.css", host=domain).text == "static1"
    assert pool.who() == {"web1", "web2"}
    assert pool.ask(host="www.shop.test").text in ("web1", "web2")
    assert pool.ask(host="other.shop.net").status == 421


def test_hosts_are_drained_among_those_of_their_own_kind(with_static):
    pool = with_static
    assert pool.call["django.drain"]("web1")["changes"] == {"web1": {"old": "UP", "new": "drained"}}
    for name, site in (
        ("static1", r"shop.static \(there is no other\)"),
        ("web2", r"shop \(web1 is drained\)"),
    ):
        with pytest.raises(
            CommandExecutionError, match=f"Without {name} no host would serve {site}"
        ):
            pool.call["django.drain"](name)
    assert pool.call["django.undrain"]("web1")["changes"] == {
        "web1": {"old": "drained", "new": "ready"}
    }
    status = pool.call["django.status"]()["shop"]
    assert (set(status["pool"]), set(status["static pool"])) == ({"web1", "web2"}, {"static1"})
