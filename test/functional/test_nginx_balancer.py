"""A real Nginx as the balancer, with the rendered files, before two web hosts."""

import contextlib
import json
import subprocess
import threading
import time

import pytest
from front import Application, Site, certificate, free_port
from pool import WEB, Host
from rendering import Rendering, grains
from test_nginx import NGINX, write_tree


class Page(Application):
    """What a web host answers: what it was asked, and by which name it is known."""

    def do_GET(self):
        self.server.asked.append(self.command)
        if self.server.broken:
            self.close_connection = True
            return
        if self.server.status != 200:
            self.send_response(self.server.status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = json.dumps({"host": self.server.name, "headers": dict(self.headers.items())})
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    do_POST = do_GET


@contextlib.contextmanager
def balancing(opts, root, static=(), **web):
    """
    The balancer (a Site) with its hosts (``hosts`` by name): two for the web, and those whose
    addresses are ``static``, for the domain static.wild.test. web: keys of the project.
    """
    assert NGINX, "these tests need Nginx (apt-get install nginx)"
    inside, port, tls_port = free_port(), free_port(), free_port()
    secret = {"password": "x" * 20}
    project = {"source": {"path": "/srv/src"}, "domains": ["shop.test", "*.wild.test"]}
    project |= {"database": secret, "cache": secret, "secrets": {"SECRET_KEY": "y" * 50}}
    pillar = {
        "balancer": {"server": "nginx"},
        "haproxy": {"port": port, "tls_port": tls_port, "connections": 256},
        "nginx": {"port": inside},
        "hosts": {
            "lb1": {"address": "127.0.0.5", "roles": ["balancer", "database", "cache"]},
            **{name: {"address": each, "roles": ["app", "web"]} for name, each in WEB.items()},
            **{name: {"address": each, "roles": ["static"]} for name, each in dict(static).items()},
        },
        "projects": {"shop": {**project, "web": web}},
    }
    if static:
        pillar["projects"]["shop"]["static"] = {"domains": ["static.wild.test"]}
    rendering = Rendering(opts, grains(id="lb1", ipv6=[]), {"django": pillar})
    assert rendering.modules["django.config"]()["errors"] == []
    config = write_tree(root, rendering.files())
    hosts = {name: Host(name, address, inside) for name, address in {**WEB, **dict(static)}.items()}
    for host in hosts.values():
        host.RequestHandlerClass, host.broken = Page, False
        threading.Thread(target=host.serve_forever, daemon=True).start()
    process = subprocess.Popen([NGINX, "-c", config, "-p", root, "-g", "daemon off;"])
    site = Site(root, port, tls_port)
    site.hosts = hosts
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                site.ask()
                break
            time.sleep(0.05)
        yield site
    finally:
        process.terminate()
        process.wait()
        for host in hosts.values():
            host.shutdown()
            host.server_close()


def answered(site, **arguments):
    """What the web host that answered was asked (dict), and its name."""
    answer = site.ask(**arguments)
    assert answer.status == 200, answer.text
    return json.loads(answer.text)


@pytest.fixture
def site(minion_opts, tmp_path):
    with balancing(minion_opts, tmp_path, trusted_proxies=["127.0.0.9"]) as found:
        yield found


def test_both_hosts_are_asked_and_strangers_are_not_served(site):
    assert {answered(site)["host"] for _ in range(8)} == set(WEB)
    assert answered(site, host="a.wild.test")["host"] in WEB
    assert site.ask(host="other.test").status == 421


def test_what_a_client_claims_is_not_believed_but_of_those_who_are_trusted(site):
    claims = {"X_Forwarded_For": "6.6.6.6", "X_Forwarded_Proto": "https", "Proxy": "http://x/"}
    seen = answered(site, **claims)["headers"]
    assert (seen["X-Forwarded-For"], seen["X-Forwarded-Proto"]) == ("127.0.0.1", "http")
    assert "Proxy" not in seen
    seen = answered(site, source="127.0.0.9", **claims)["headers"]
    assert (seen["X-Forwarded-For"], seen["X-Forwarded-Proto"]) == ("6.6.6.6", "https")


def test_a_request_that_changes_nothing_is_asked_elsewhere(site):
    site.hosts["web1"].broken = True
    site.hosts["web2"].asked.clear()
    assert {answered(site)["host"] for _ in range(6)} == {"web2"}


def test_a_host_that_cannot_serve_is_passed_over(site):
    site.hosts["web2"].status = 503
    assert {answered(site)["host"] for _ in range(6)} == {"web1"}


def test_what_a_host_has_taken_is_not_asked_twice(site):
    for host in site.hosts.values():
        host.broken = True
    assert site.ask(method="POST", body="paid=1").status == 503
    assert [each for host in site.hosts.values() for each in host.asked].count("POST") == 1


def test_tls_ends_at_the_balancer(minion_opts, tmp_path):
    files = certificate(tmp_path)
    with balancing(minion_opts, tmp_path, tls={**files, "hsts": 3600}) as site:
        answer = site.ask("/cart?item=1")
        assert answer.status == 308
        expected = f"https://shop.test:{site.tls_port}/cart?item=1"
        assert answer.getheader("Location") == expected
        head, _, body = site.ask_securely("shop.test", "shop.test").partition(b"\r\n\r\n")
        assert b"Strict-Transport-Security: max-age=3600" in head
        assert json.loads(body)["headers"]["X-Forwarded-Proto"] == "https"
        with pytest.raises(OSError):
            site.ask_securely("other.test", "other.test")


def test_static_domains_lead_to_the_static_hosts(minion_opts, tmp_path):
    """Though the site has all other names of the same domain."""
    with balancing(minion_opts, tmp_path, static={"static1": "127.0.0.4"}) as site:
        assert answered(site, path="/static/a.css", host="static.wild.test")["host"] == "static1"
        for host in ("shop.test", "www.wild.test"):
            assert answered(site, host=host)["host"] in WEB
