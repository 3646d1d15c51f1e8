"""
A balancer of somebody else before real front doors: it is believed by its range of addresses, and
may ask for health by a host's address, which no project is known by.
"""

import json
import time

import pytest
import test_apache
import test_nginx
from front import certificate

BALANCER, OTHER = "127.0.0.3", "127.0.0.1"
FROM = "127.0.0.2/31"
PROJECT = {
    "source": {"path": "/srv/src"},
    "domains": ["shop.test"],
    "health": {"path": "/up/"},
}
BY_ADDRESS = {"path": "/-/health/shop", "host": "10.0.0.11"}


def serving(request, minion_opts, root, web, **more):
    """The site, in the server that is asked for, behind a balancer in a range of addresses."""
    project = {**PROJECT, "web": {**web, "server": request.param}}
    external = {"balancer": {"external": {"from": [FROM]}}}
    module = {"nginx": test_nginx, "apache": test_apache}[request.param]
    return module.running(minion_opts, root, project, **external, **more)


@pytest.fixture(scope="module", params=["nginx", "apache"])
def site(request, minion_opts):
    with test_apache.folder() as root, serving(request, minion_opts, root, {}) as site:
        yield site


@pytest.fixture(params=["nginx", "apache"])
def secure(request, minion_opts):
    with test_apache.folder() as root:
        web = {"tls": certificate(root)}
        with serving(request, minion_opts, root, web) as site:
            yield site


@pytest.fixture(params=["nginx"])
def beside_a_catch_all(request, minion_opts):
    with test_apache.folder() as root:
        others = {"blog": {"source": {"path": "/srv/src"}}}
        with serving(request, minion_opts, root, {}, beside=others) as site:
            yield site


def test_whoever_is_in_the_range_is_believed(site):
    said = {"X_Forwarded_For": "192.0.2.7", "X_Forwarded_Proto": "https"}
    headers = site.passed_on(source=BALANCER, **said)
    assert (headers["X-Real-IP"], headers["X-Forwarded-Proto"]) == ("192.0.2.7", "https")
    headers = site.passed_on(source=OTHER, **said)
    assert (headers["X-Real-IP"], headers["X-Forwarded-Proto"]) == (OTHER, "http")


def test_health_is_told_to_the_balancer_by_address(site):
    answer = site.ask(source=BALANCER, Cookie="sessionid=1", **BY_ADDRESS)
    assert answer.status == 200
    said = json.loads(answer.text)
    assert said["path"] == "/up/" and said["headers"]["Host"] == "shop.test"
    assert "Cookie" not in said["headers"]


@pytest.mark.parametrize(
    "asked",
    [
        {"source": OTHER},
        {"path": "/-/health/shop/"},
        {"path": "/-/health/blog"},
        {"path": "/"},
        {"path": "/up/"},
    ],
    ids=str,
)
def test_nobody_else_and_nothing_else_is_told_by_address(site, asked):
    assert site.ask(**{"source": BALANCER, **BY_ADDRESS, **asked}).status == 421


def test_a_site_that_is_away_is_not_healthy(site):
    link = site.root / "srv/shop/web.sock"
    old = link.readlink()
    link.unlink()
    try:
        deadline = time.monotonic() + 30
        while (status := site.ask(source=BALANCER, **BY_ADDRESS).status) == 200:
            assert time.monotonic() < deadline
            time.sleep(1.5)  # a connection that was kept serves until nobody wants it for a second
        assert status in (502, 503)
    finally:
        link.symlink_to(old)


def test_a_site_with_a_certificate_is_asked_by_https(secure):
    answer = secure.ask(source=BALANCER, **BY_ADDRESS)
    assert answer.status == 200, answer.text
    said = json.loads(answer.text)
    assert said["headers"]["X-Forwarded-Proto"] == "https" and said["path"] == "/up/"
    assert secure.ask(source=OTHER, **BY_ADDRESS).status == 421


def test_a_project_that_answers_to_addresses_is_in_nobodys_way(beside_a_catch_all):
    answer = beside_a_catch_all.ask(source=BALANCER, **BY_ADDRESS)
    assert answer.status == 200 and json.loads(answer.text)["path"] == "/up/"
    assert beside_a_catch_all.ask(source=OTHER, **BY_ADDRESS).status == 421
