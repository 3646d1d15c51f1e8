"""
A balancer before two hosts that serve, the data on the first of them, and one for static files:
releases come to one host after the other while visitors ask, and a host that is lost is missed for
a moment only.
"""

import re
import socket
import ssl
import time

import pytest
import requests

from test.hosts import boot

from .crowd import Crowd
from .fleet import DOMAIN, asked_while, assert_missed_for_a_moment_only, at_once, pillar
from .guestbook import INDEX, SOURCE, change, develop
from .machines import ensure
from .server import Browser, Server, put_checkout, wait_for

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.proves(
        "several servers",
        "balancer (HAProxy)",
        "a release of two hosts one after the other drops no request, nor does a host that is "
        "drained; web hosts let in the balancer alone; "
        "HTTPS ends at the balancer, another certificate is a reload",
        on=["Debian 12"],
    ),
]

BALANCER, FIRST, SECOND, STATIC = "int-lb", "int-lb-web1", "int-lb-web2", "int-lb-static"
FILES = "static.shop.example.org"
STYLE = re.compile(rf'https?://{FILES}(/static/guestbook/guestbook\.[0-9a-f]{{12}}\.css)"')
STYLE_SOURCE = "guestbook/static/guestbook/guestbook.css"
REQUESTS = 3_000
DRAIN_REQUESTS = 500
OTHER_REQUESTS = 1_500
MORE = ("env: {DJANGO_TEST_ENDPOINTS: '1'}", f"static: {{domains: [{FILES}]}}")
TLS = "web: {tls: {certificate: /etc/ssl/shop.pem, key: /etc/ssl/private/shop.key, hsts: 30d}}"
CERTIFICATE = (
    "umask 077; openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=%s"
    " -keyout /etc/ssl/private/shop.key -out /etc/ssl/shop.pem"
)
LEISURE = 4
ROLES = {
    BALANCER: "[balancer]",
    FIRST: "[app, web, worker, database, cache]",
    SECOND: "[app, web, worker]",
    STATIC: "[static]",
}


@pytest.fixture(scope="module")
def fleet():
    """The hosts by name, after ./bootstrap: the one with the data first, then the others."""
    image = ensure("bookworm-ready")
    found = {}
    for name in ROLES:
        found[name] = Server(boot(name, image=image))
    try:
        text = pillar(found, ROLES, *MORE)
        for name, server in found.items():
            put_checkout(server.host)
            if name != BALANCER:
                develop(server)
        found[FIRST].bootstrap(pillar=text)
        at_once(
            lambda run: run(pillar=text),
            (
                found[SECOND].bootstrap,
                found[BALANCER].bootstrap_as_predicted,
                found[STATIC].bootstrap_as_predicted,
            ),
        )
        yield found
    finally:
        for server in found.values():
            server.host.destroy()


def ask(fleet, path="/whoami/", host=DOMAIN, **headers):
    """What the balancer answers."""
    address = fleet[BALANCER].host.address
    headers = {"Host": host, **headers}
    return requests.get(f"http://{address}{path}", headers=headers, timeout=30)


def told(fleet, column, backend="guestbook"):
    """What HAProxy's statistics say of the hosts behind it, by name."""
    program = (
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/haproxy/admin.sock');"
        " s.sendall(b'show stat\\n'); print(b''.join(iter(lambda: s.recv(65536), b'')).decode())"
    )
    lines = fleet[BALANCER].run(["python3", "-c", program]).stdout.splitlines()
    names = next(line for line in lines if line.startswith("# ")).removeprefix("# ").split(",")
    rows = [dict(zip(names, line.split(","))) for line in lines if line.startswith(f"{backend},")]
    return {row["svname"]: row[column] for row in rows if row["svname"] != "BACKEND"}


def members(fleet):
    """Whether the hosts behind the balancer are UP, by name."""
    return told(fleet, "status")


def assert_both_serve(fleet):
    """Both hosts are UP within a minute, as after a boot the site takes its time."""
    deadline = time.monotonic() + 60
    while members(fleet) != {FIRST: "UP", SECOND: "UP"} and time.monotonic() < deadline:
        time.sleep(0.5)
    assert members(fleet) == {FIRST: "UP", SECOND: "UP"}


def test_both_hosts_serve(fleet):
    assert_both_serve(fleet)
    before = told(fleet, "stot")
    for _ in range(20):
        assert ask(fleet).status_code == 200
    assert all(int(count) > int(before[name]) for name, count in told(fleet, "stot").items())


def test_unknown_hosts_are_refused(fleet):
    assert ask(fleet, host="other.example.org").status_code == 421


def test_sites_know_who_asks_and_how(fleet):
    """What the balancer says is believed, what a visitor says is not."""
    claims = {"X-Forwarded-For": "198.51.100.7", "X-Forwarded-Proto": "https"}
    seen = ask(fleet, **claims).json()
    assert seen["forwarded_for"] not in ("", claims["X-Forwarded-For"])
    assert fleet[BALANCER].host.address not in str(seen)
    assert (seen["scheme"], seen["is_secure"], seen["host"]) == ("http", False, DOMAIN)


def test_nothing_is_left_to_do(fleet):
    at_once(lambda server: server.assert_settled(), fleet.values())


def test_web_hosts_let_in_the_balancer_alone(fleet):
    for name in (FIRST, SECOND, STATIC):
        with pytest.raises(requests.ConnectTimeout):
            requests.get(f"http://{fleet[name].host.address}/", timeout=2)


def style(fleet):
    """The path of the style that the site's page wants from the domain of static files."""
    return STYLE.search(ask(fleet, "/").text)[1]


@pytest.mark.proves(
    "several servers",
    "hosts for static files alone",
    "pages refer to their domain, which leads to them; they have the files of old and new releases "
    "and no program of the project; the first run does what was predicted",
    on=["Debian 12"],
)
def test_static_files_are_those_of_a_host_of_their_own(fleet):
    path, before = style(fleet), told(fleet, "stot", "guestbook.static")
    answer = ask(fleet, path, FILES)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    after = told(fleet, "stot", "guestbook.static")
    assert list(after) == [STATIC] and int(after[STATIC]) > int(before[STATIC])
    assert ask(fleet, "/", FILES).status_code == 404


def test_nothing_of_the_project_runs_where_its_static_files_are(fleet):
    server = fleet[STATIC]
    assert server.run("ps -o pid= -u guestbook", check=False).stdout == ""
    listening = server.run("ss -Hltn | awk '{print $4}'").stdout.split()
    assert {item.rpartition(":")[2] for item in listening} == {"80"}
    for package in ("postgresql", "redis-server", "supervisor", "haproxy"):
        assert server.run(["dpkg", "-s", package], check=False).returncode != 0
    search = "grep -rlE 'the-(database|cache)-s-password' /srv/django /etc/django"
    assert server.run(search, check=False).stdout == ""
    assert fleet[FIRST].run(search).stdout, "there is something to find"
    assert server.call("django.status", "guestbook")["guestbook"]["healthy"]


def has_the_other_style(fleet):
    """Whether the style without a hash in its name is that of the new release."""
    answer = ask(fleet, "/static/guestbook/guestbook.css", FILES)
    assert answer.status_code == 200
    return answer.text.rstrip().endswith("/* another */")


def test_static_files_of_both_releases_are_there_while_hosts_change(fleet):
    """They come first; a way back of the host that has them loses none, and brings those of old."""
    static, old = fleet[STATIC], style(fleet)
    before = static.live()[0]

    def renewed(name):
        fleet[name].run(f"echo '/* another */' >>{SOURCE}/{STYLE_SOURCE}")
        fleet[name].apply()

    renewed(STATIC)
    assert style(fleet) == old and ask(fleet, old, FILES).status_code == 200
    at_once(renewed, (FIRST, SECOND))
    new = style(fleet)
    assert new != old and static.live()[0] == fleet[FIRST].live()[0] != before
    assert has_the_other_style(fleet)
    assert static.call("django.rollback", "guestbook")["changes"]["release"]["new"] == before
    assert static.live()[0] == before
    wait_for(lambda: not has_the_other_style(fleet))  # Nginx looks at an open file now and then
    assert {ask(fleet, path, FILES).status_code for path in (old, new)} == {200}
    static.run("salt-call django.release_allow guestbook")
    static.assert_mended("guestbook: release is live")
    wait_for(lambda: has_the_other_style(fleet))


def test_host_without_its_static_files_gets_no_visitors_until_it_has_them(fleet):
    def is_up():
        return told(fleet, "status", "guestbook.static") == {STATIC: "UP"}

    assert is_up()
    fleet[STATIC].run("rm -r /srv/django/guestbook/static")
    wait_for(lambda: not is_up())
    fleet[STATIC].assert_mended("guestbook: static files are published")
    wait_for(is_up)


def test_web_host_becomes_one_of_static_files_alone_and_comes_back(fleet):
    """What ran of the project there ends, and starts again."""
    second = fleet[SECOND]
    second.pillar(pillar(fleet, {**ROLES, SECOND: "[static]"}, *MORE))
    second.assert_mended("guestbook: release is live", "Nginx runs")
    assert second.run("ps -o pid= -u guestbook", check=False).stdout == ""
    assert ask(fleet).status_code == 200
    second.pillar(pillar(fleet, ROLES, *MORE))
    second.assert_mended("guestbook: release is live", "Nginx runs")
    assert_both_serve(fleet)


def test_releases_one_host_after_the_other_drop_nothing(fleet, tmp_path):
    """Nor does a reload of the balancer."""
    balancer, first, second = fleet[BALANCER], fleet[FIRST], fleet[SECOND]
    crowd = Crowd(first, tmp_path, REQUESTS, LEISURE, balancer.host, DOMAIN)
    before = first.live()[0]
    with crowd:
        for server in (first, second):
            change(server, INDEX, "It works.", "It works on.")
            server.apply()
        for _ in range(3):
            balancer.run("systemctl reload haproxy")
    assert first.live()[0] == second.live()[0] != before
    crowd.assert_all_served()
    assert set(crowd.report["releases"]) == {before, first.live()[0]}


def test_drained_host_drops_nothing(fleet, tmp_path):
    """What it has it answers, slow requests too; then it may be away, and nobody notices."""
    balancer, second = fleet[BALANCER], fleet[SECOND]
    crowd = Crowd(fleet[FIRST], tmp_path, DRAIN_REQUESTS, LEISURE, balancer.host, DOMAIN)
    with crowd:
        assert balancer.call("django.drain", SECOND)["left"] == 0
        assert members(fleet) == {FIRST: "UP", SECOND: "MAINT"}
        second.run("systemctl stop nginx")
        balancer.run("systemctl reload haproxy")
        outcome = balancer.apply()
        assert outcome.changed == [], outcome.told()
        assert f"{SECOND} is drained since" in outcome.output
        second.run("systemctl start nginx")
        assert balancer.call("django.undrain", SECOND)["changes"]
    crowd.assert_all_served()
    assert_both_serve(fleet)


def assert_lost_host_is_left_out(fleet):
    address = fleet[BALANCER].host.address
    assert_missed_for_a_moment_only(asked_while(address, fleet[SECOND].host.power_cut, 4)[0])


def shown(host):
    """The certificate that a host shows for the site."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((host.address, 443), 10) as plain,
        context.wrap_socket(plain, server_hostname=DOMAIN) as stream,
    ):
        return stream.getpeercert(True)


def test_https_ends_at_the_balancer(fleet):
    balancer = fleet[BALANCER]
    for server in fleet.values():
        server.pillar(pillar(fleet, ROLES, *MORE, TLS))
    refused = balancer.apply(check=False)
    assert refused.failed[0] == "certificates of the balancer can be used"
    assert ask(fleet).status_code == 200
    balancer.run(CERTIFICATE % DOMAIN)
    at_once(lambda server: server.apply(), fleet.values())
    answer = Browser(balancer.host, DOMAIN, "https").get("/whoami/")
    assert answer.json()["is_secure"] and answer.json()["forwarded_for"] != balancer.host.address
    assert answer.headers["Strict-Transport-Security"] == "max-age=2592000"
    address = STYLE.search(Browser(balancer.host, DOMAIN, "https").get().text)
    assert address[0].startswith("https:")
    assert Browser(balancer.host, FILES, "https").get(address[1]).status_code == 200
    plain = requests.get(
        f"http://{balancer.host.address}/whoami/?a=1",
        headers={"Host": DOMAIN},
        allow_redirects=False,
        timeout=10,
    )
    assert (plain.status_code, plain.headers["Location"]) == (
        308,
        f"https://{DOMAIN}/whoami/?a=1",
    )
    before = shown(balancer.host)
    balancer.run(CERTIFICATE % DOMAIN)
    outcome = balancer.apply()
    assert outcome.changed == ["HAProxy runs"], outcome.told()
    assert "KEY" not in outcome.output
    wait_for(lambda: shown(balancer.host) != before)
    at_once(lambda server: server.assert_settled(), fleet.values())


# Other servers as the balancer, each in the place of the one before


def with_balancer(text, line):
    """A pillar (str) in which a key of the section balancer is set."""
    return text.replace("  firewall: {}\n", f"  firewall: {{}}\n  balancer: {{{line}}}\n")


@pytest.fixture(scope="module", params=["nginx", "varnish"])
def other(request, fleet):
    """The balancer with another server: what was predicted was made."""
    text = with_balancer(pillar(fleet, ROLES, *MORE), f"server: {request.param}")
    at_once(lambda name: fleet[name].bootstrap(pillar=text), (FIRST, SECOND, STATIC))
    made = fleet[BALANCER].bootstrap_as_predicted(text)
    assert any(title.startswith("other servers have left their ports to") for title in made), made
    return request.param


def hosts_that_answer(fleet):
    """Names of the hosts that answered a number of visitors, all of them well."""
    answers = [ask(fleet) for _ in range(10)]
    assert {answer.status_code for answer in answers} == {200}
    return {answer.json()["hostname"] for answer in answers}


@pytest.mark.proves(
    "several servers",
    "balancer (Nginx, Varnish)",
    "takes HAProxy's place on a running balancer; a release of two hosts drops no request; a lost "
    "host is missed for a moment only",
    on=["Debian 12"],
)
def test_other_server_balances(fleet, other):
    assert hosts_that_answer(fleet) == {FIRST, SECOND}
    test_unknown_hosts_are_refused(fleet)
    assert ask(fleet, style(fleet), FILES).status_code == 200
    assert ask(fleet, "/whoami/", FILES).status_code == 404
    test_sites_know_who_asks_and_how(fleet)
    fleet[BALANCER].assert_settled()


def test_other_server_drops_nothing(fleet, other, tmp_path):
    """While two hosts get a release one after the other, and it is reloaded itself."""
    balancer, first, second = fleet[BALANCER], fleet[FIRST], fleet[SECOND]
    service = {"nginx": "nginx", "varnish": "varnish@balancer"}[other]
    crowd = Crowd(first, tmp_path, OTHER_REQUESTS, LEISURE, balancer.host, DOMAIN)
    before = first.live()[0]
    with crowd:
        for server in (first, second):
            change(server, INDEX, "It works", "It works, too")
            server.apply()
        for _ in range(3):
            balancer.run(["systemctl", "reload", service])
    assert first.live()[0] == second.live()[0] != before
    crowd.assert_all_served()


def test_other_server_misses_a_lost_host_for_a_moment_only(fleet, other):
    assert_lost_host_is_left_out(fleet)
    assert hosts_that_answer(fleet) == {FIRST}
    fleet[SECOND].host.power_on()
    wait_for(lambda: hosts_that_answer(fleet) == {FIRST, SECOND}, 90)
