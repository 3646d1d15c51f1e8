"""The site in Nginx, by a real Nginx over a real socket: what it passes on, serves and refuses."""

import contextlib
import gzip
import json
import os
import shutil
import ssl
import subprocess
import time

import pytest
from front import (
    LINKS,
    MEAN,
    PROJECT,
    Application,
    UwsgiApplication,
    answering,
    certificate,
    fill,
    free_port,
    serving,
    told,
    write_below,
)
from rendering import Rendering, grains

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def write_tree(root, files):
    """The rendered files of Nginx, with their paths moved below ``root``."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {root}/tmp/{kind};" for kind in kinds)
    moves = (
        ("/etc/nginx/", f"{root}/etc/nginx/"),
        ("/var/log/nginx/", f"{root}/log/"),
        ("/srv/django/", f"{root}/srv/"),
        ("/run/nginx.pid", f"{root}/nginx.pid"),
        ("user www-data;", "user root;" if os.geteuid() == 0 else ""),
        ("\nhttp {", "\nhttp {" + paths),
    )
    write_below(root, "/etc/nginx/", files, moves)
    (root / "etc/nginx/mime.types").write_text(
        "types { text/html html; text/css css; image/svg+xml svg; font/woff2 woff2;"
        " text/plain txt; application/pdf pdf; application/javascript js; }"
    )
    # As Debian's package has it.
    shutil.copy("/etc/nginx/uwsgi_params", root / "etc/nginx/uwsgi_params")
    for folder in ("log", "tmp", "srv"):
        (root / folder).mkdir(exist_ok=True)
    return root / "etc/nginx/nginx.conf"


def tried(root, files):
    """What Nginx says of the rendered files."""
    assert NGINX, "these tests need Nginx (apt-get install nginx)"
    config = write_tree(root, files)
    done = subprocess.run([NGINX, "-t", "-c", config, "-p", root], capture_output=True, text=True)
    return done.returncode, done.stderr


@contextlib.contextmanager
def running(minion_opts, root, project, application=Application, beside=(), **settings):
    """The project shop; ``beside`` it others that are not asked (dict), and keys of the pillar."""
    assert NGINX, "these tests need Nginx (apt-get install nginx)"
    port, tls_port = free_port(), free_port()
    pillar = {
        "nginx": {"port": port, "tls_port": tls_port, "worker_connections": 256},
        "projects": {"shop": project, **dict(beside)},
        **settings,
    }
    rendering = Rendering(minion_opts, grains(ipv6=[]), {"django": pillar})
    assert rendering.modules["django.config"]()["errors"] == []
    config = write_tree(root, rendering.files())
    argv = [NGINX, "-c", config, "-p", root, "-g", "daemon off;"]
    with serving(argv, root, (port, tls_port), application) as site:
        yield site


@pytest.fixture(scope="module")
def site(minion_opts, tmp_path_factory):
    root = tmp_path_factory.mktemp("nginx")
    root.chmod(0o755)
    with running(minion_opts, root, PROJECT) as site:
        shop = root / "srv/shop"
        fill(shop)
        yield site


# The application


def test_requests_reach_the_application(site):
    answer = site.ask("/cart?item=1")
    assert answer.status == 200
    assert json.loads(answer.text)["path"] == "/cart?item=1"
    assert answer.getheader("X-Note") == "it's a value"
    assert "nginx/" not in answer.getheader("Server")


def test_the_edge_overwrites_what_a_client_claims(site):
    lies = {
        "X_Forwarded_For": "6.6.6.6",
        "X_Real_IP": "6.6.6.6",
        "X_Forwarded_Proto": "https",
        "X_Forwarded_Host": "evil.test",
        "X_Forwarded_Port": "1",
        "Forwarded": "for=6.6.6.6",
        "Proxy": "http://evil.test/",
    }
    headers = site.passed_on(**lies)
    assert "6.6.6.6" not in json.dumps(headers) and "evil" not in json.dumps(headers)
    assert headers["X-Real-IP"] == headers["X-Forwarded-For"] == "127.0.0.1"
    assert headers["X-Forwarded-Proto"] == "http"
    assert headers["Host"] == "shop.test"
    assert "X-Forwarded-Host" not in headers


def test_a_trusted_proxy_is_believed(site):
    headers = site.passed_on(
        source="127.0.0.2", X_Forwarded_For="6.6.6.6, 192.0.2.7", X_Forwarded_Proto="https"
    )
    assert headers["X-Real-IP"] == "192.0.2.7"
    assert headers["X-Forwarded-Proto"] == "https"


def test_a_trusted_proxy_cannot_invent_a_scheme(site):
    headers = site.passed_on(source="127.0.0.2", X_Forwarded_Proto="javascript")
    assert headers["X-Forwarded-Proto"] == "http"


def test_connections_to_the_application_are_kept(site):
    assert "close" not in site.passed_on().get("Connection", "")


def test_the_socket_is_followed_at_each_connection(site):
    """A switch renames the link; requests go to the new socket with no reload of Nginx."""
    link = site.root / "srv/shop/web.sock"
    old = os.readlink(link)

    class Second(Application):
        def do_GET(self):
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

    fresh = link.with_name("new.sock")
    with answering(site.root / "second.sock", Second):
        try:
            fresh.symlink_to(site.root / "second.sock")
            fresh.replace(link)
            time.sleep(1.2)  # what Nginx keeps of the old one ends
            assert site.ask().status == 202
        finally:
            fresh.symlink_to(old)
            fresh.replace(link)
    time.sleep(1.2)
    assert site.ask().status == 200


@pytest.mark.parametrize("host", ["shop.test", "SHOP.test", "shop.test:8000", "a.wild.test"])
def test_hosts_of_the_project(site, host):
    assert site.ask(host=host).status == 200


@pytest.mark.parametrize("host", ["evil.test", "127.0.0.1", "localhost", "notshop.test", "_"])
def test_unknown_hosts_are_refused(site, host):
    assert site.ask(host=host).status == 421


def test_requests_without_a_host_are_refused(site):
    assert site.say(b"GET / HTTP/1.0\r\n\r\n").split()[1] == "421"
    assert site.say(b"GET / HTTP/1.1\r\n\r\n").split()[1] == "400"
    assert site.say(b"GET / HTTP/1.1\r\nHost: \r\n\r\n").split()[1] in ("400", "421")


def test_a_failing_application_gets_a_short_page(site):
    answer = site.ask("/broken")
    assert answer.status == 502
    assert answer.getheader("Content-Type") == "text/plain"
    assert answer.getheader("Retry-After") == "10"
    assert b"not available at the moment" in answer.text


def test_bodies_are_limited(site):
    assert site.ask("/", method="POST", body=b"x" * 900).status == 200
    assert site.ask("/big/", method="POST", body=b"x" * 2000).status == 200
    for path, size, limit in (("/", 2000, b"1 KiB"), ("/big/", 2_000_000, b"1 MiB")):
        refused = site.ask(path, method="POST", body=b"x" * size)
        assert (refused.status, refused.getheader("Content-Type")) == (413, "text/plain")
        assert limit in refused.text
        assert refused.getheader("X-Note") == "it's a value"


# Files


def test_static_files_may_be_kept_for_a_while(site):
    answer = site.ask("/static/css/site.css")
    assert (answer.status, answer.getheader("Content-Type")) == (200, "text/css")
    assert answer.getheader("Cache-Control") == "public, max-age=3600"
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert answer.getheader("X-Note") == "it's a value"


def test_static_files_with_a_hash_may_be_kept_for_ever(site):
    answer = site.ask("/static/css/site.0123456789ab.css")
    assert answer.getheader("Cache-Control") == "public, max-age=31536000, immutable"
    dated = site.ask("/static/photo.20240101.svg")
    assert "immutable" not in dated.getheader("Cache-Control")


def test_missing_static_files_are_not_to_be_kept(site):
    answer = site.ask("/static/css/gone.0123456789ab.css")
    assert answer.status == 404
    assert answer.getheader("Cache-Control") is None


def test_the_compressed_variant_is_served(site):
    answer = site.ask("/static/css/site.css", Accept_Encoding="gzip")
    packed = site.root / "srv/shop/static/css/site.css.gz"
    assert answer.getheader("Content-Encoding") == "gzip"
    assert answer.text == packed.read_bytes()


def test_what_has_no_variant_is_compressed(site):
    answer = site.ask("/static/css/site.0123456789ab.css", Accept_Encoding="gzip")
    assert answer.getheader("Content-Encoding") == "gzip"
    assert gzip.decompress(answer.text).startswith(b"body")


def test_fonts_may_be_used_by_other_sites(site):
    assert site.ask("/static/letter.woff2").getheader("Access-Control-Allow-Origin") == "*"
    assert site.ask("/static/css/site.css").getheader("Access-Control-Allow-Origin") is None


@pytest.mark.parametrize(
    "path",
    ["/static../secret.txt", "/static/../secret.txt", "/static/%2e%2e/secret.txt"]
    + ["/static/..%2fsecret.txt", "/media../secret.txt", "/old../secret.txt"],
)
def test_no_path_leads_out_of_a_folder(site, path):
    assert b"not for the web" not in site.ask(path).text


@pytest.mark.parametrize(
    "path",
    ["/.git/config", "/static/.hidden", "/a/.env", "/%2egit/config"] + ["/media/.hidden.txt"],
)
def test_hidden_files_are_refused(site, path):
    assert site.ask(path).status == 404


def test_well_known_paths_reach_the_application(site):
    assert site.ask("/.well-known/security.txt").status == 200


def test_folders_are_not_listed(site):
    assert site.ask("/static/").status == 403
    assert site.ask("/media/").status == 403


def test_uploads_cannot_run_as_the_site(site):
    for name in ("page.html", "picture.svg"):
        answer = site.ask(f"/media/{name}")
        assert answer.getheader("Content-Disposition") == "attachment"
        assert "sandbox" in answer.getheader("Content-Security-Policy")
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert site.ask("/media/note.txt").getheader("Content-Disposition") is None
    assert site.ask("/media/paper.pdf").getheader("Content-Security-Policy") is None


def test_a_missing_upload_is_no_download(site):
    answer = site.ask("/media/gone.html")
    assert (answer.status, answer.getheader("Content-Disposition")) == (404, None)


@pytest.mark.needs_root
def test_links_to_files_of_others_are_refused(site):
    """A project cannot show by a link what only the web server and another one may read."""
    for path in ("/media/", "/papers/", "/static/"):
        assert site.ask(f"{path}own.txt").status == 200
        assert site.ask(f"{path}other.txt").status == 403
    assert site.ask("/paper").status == 403
    for path in ("/media/", "/papers/"):
        assert site.ask(f"{path}others/note.txt").status == 403


@pytest.mark.needs_root
def test_links_among_private_uploads_are_no_way_out(site):
    assert site.ask("/guard/own.txt").status == 200
    for name in ("other.txt", "others/note.txt"):
        assert site.ask(f"/guard/{name}").status == 403


def test_private_uploads_are_the_application_s_to_hand_out(site):
    for path in ("/guarded/note.txt", "/guarded/", "/guarded/../guarded/note.txt"):
        assert site.ask(path).status == 404
    answer = site.ask("/guard/note.txt")
    assert answer.text == b"<script>2</script>"
    assert answer.getheader("Content-Type") == "text/plain"
    assert answer.getheader("Cache-Control") == "private, no-cache"
    assert "sandbox" in answer.getheader("Content-Security-Policy")
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert answer.getheader("X-Note") == "it's a value"
    assert site.ask("/guard/page.html").getheader("Content-Disposition") == "attachment"
    for name in ("gone.txt", "dot-hidden.txt"):
        assert site.ask(f"/guard/{name}").status == 404
    assert b"not for the web" not in site.ask("/guard/../../secret.txt").text


def test_the_application_has_a_say_in_how_private_uploads_are_shown(site):
    says = {"Say_Content_Disposition": 'inline; filename="a.html"', "Say_Cache_Control": "no-store"}
    answer = site.ask("/guard/page.html", **says)
    assert answer.headers.get_all("Content-Disposition") == ['inline; filename="a.html"']
    assert answer.headers.get_all("Cache-Control") == ["no-store"]
    assert "sandbox" in answer.getheader("Content-Security-Policy")


def test_locations_of_the_pillar(site):
    answer = site.ask("/favicon.ico")
    assert (answer.text, answer.getheader("Cache-Control")) == (b"icon", "max-age=86400")
    assert site.ask("/gone").status == 410
    moved = site.ask("/old/page")
    assert (moved.status, moved.getheader("Location")) == (301, "https://elsewhere.test/")


def test_internal_locations_are_for_the_application_only(site):
    assert site.ask("/private/note.txt").status == 404
    assert site.ask("/accel").text == b"<script>1</script>"


def test_requests_are_logged(site):
    site.ask("/logged?please=1")
    log = site.root / "log/shop.access.log"
    for _ in range(80):
        if "/logged?please=1" in log.read_text():
            break
        time.sleep(0.1)
    line = next(line for line in log.read_text().splitlines() if "/logged" in line)
    assert line.startswith("127.0.0.1 - - [") and ' shop.test "GET /logged' in line


# TLS


def test_http_is_sent_to_https(minion_opts, tmp_path):
    tmp_path.chmod(0o755)
    web = {"tls": {**certificate(tmp_path), "hsts": "365d"}}
    project = {"source": {"path": "/srv/src"}, "domains": ["shop.test"], "web": web}
    with running(minion_opts, tmp_path, project) as site:
        answer = site.ask("/cart?item=1", method="POST")
        assert answer.status == 308
        assert answer.getheader("Location") == f"https://shop.test:{site.tls_port}/cart?item=1"
        assert site.ask(host="evil.test").status == 421
        said = site.ask_securely("shop.test", "shop.test")
        assert b" 200 " in said
        assert b"max-age=31536000" in said and b'"X-Forwarded-Proto": "https"' in said
        # Another host over the project's connection, and another host from the start.
        assert b" 421 " in site.ask_securely("shop.test", "evil.test")
        with pytest.raises(ssl.SSLError):
            site.ask_securely("evil.test", "evil.test")


# uWSGI


@pytest.fixture(scope="module")
def uwsgi(minion_opts, tmp_path_factory):
    root = tmp_path_factory.mktemp("uwsgi")
    root.chmod(0o755)
    project = {**PROJECT, "app": {"server": "uwsgi"}}
    with running(minion_opts, root, project, UwsgiApplication) as site:
        yield site


def test_uwsgi_gets_requests(uwsgi):
    got = told(uwsgi, "/cart/%C3%A9?item=1", method="POST", body="a=1", Cookie="c=2")
    assert (got["REQUEST_METHOD"], got["QUERY_STRING"]) == ("POST", "item=1")
    assert (got["PATH_INFO"], got["REQUEST_URI"]) == ("/cart/é", "/cart/%C3%A9?item=1")
    assert (got["body"], got["HTTP_COOKIE"]) == ("a=1", "c=2")
    assert told(uwsgi, "/big/")["PATH_INFO"] == "/big/"


def test_uwsgi_is_not_told_what_a_client_claims(uwsgi):
    lies = {
        "X_Forwarded_For": "6.6.6.6",
        "X_Real_IP": "6.6.6.6",
        "X_Forwarded_Proto": "https",
        "X_Forwarded_Host": "evil.test",
        "X_Forwarded_Port": "6666",
        "Forwarded": "for=6.6.6.6",
        "Proxy": "http://evil.test/",
    }
    got = told(uwsgi, **lies)
    assert "6.6.6.6" not in json.dumps(got) and "evil" not in json.dumps(got)
    assert "6666" not in json.dumps(got)
    assert got["REMOTE_ADDR"] == "127.0.0.1"
    assert got["HTTP_X_REAL_IP"] == got["HTTP_X_FORWARDED_FOR"] == "127.0.0.1"
    assert got["HTTP_X_FORWARDED_PROTO"] == got["UWSGI_SCHEME"] == "http"
    assert got["HTTP_HOST"] == "shop.test"
    assert not {"HTTP_X_FORWARDED_HOST", "HTTP_FORWARDED", "HTTP_PROXY"} & set(got)


def test_uwsgi_is_told_what_a_trusted_proxy_says(uwsgi):
    got = told(
        uwsgi, source="127.0.0.2", X_Forwarded_For="6.6.6.6, 192.0.2.7", X_Forwarded_Proto="https"
    )
    assert got["REMOTE_ADDR"] == got["HTTP_X_REAL_IP"] == "192.0.2.7"
    assert got["HTTP_X_FORWARDED_PROTO"] == got["UWSGI_SCHEME"] == "https"


# Another protocol than Nginx was told of, as right after a switch


@contextlib.contextmanager
def switched(site, application, gone):
    """The link of another server in place of that named ``gone``."""
    shop = site.root / "srv/shop"
    old = os.readlink(shop / gone)
    with answering(site.root / "other.sock", application):
        (shop / LINKS[application]).symlink_to(site.root / "other.sock")
        (shop / gone).unlink()
        try:
            time.sleep(1.2)  # what Nginx keeps of the old one ends
            yield
        finally:
            (shop / gone).symlink_to(old)
            (shop / LINKS[application]).unlink()
            (site.root / "other.sock").unlink()


def test_a_switch_to_uwsgi_is_followed(site):
    with switched(site, UwsgiApplication, "web.sock"):
        got = told(site, "/cart/?item=1", method="POST", body="a=1", X_Real_IP="6.6.6.6")
        assert (got["REQUEST_METHOD"], got["body"]) == ("POST", "a=1")
        assert (got["REQUEST_URI"], got["REMOTE_ADDR"]) == ("/cart/?item=1", "127.0.0.1")
        assert got["HTTP_X_REAL_IP"] == "127.0.0.1"
        big = told(site, "/big/", method="POST", body="x" * 2000)
        assert (big["PATH_INFO"], big["body"]) == ("/big/", "x" * 2000)
        assert site.ask("/", method="POST", body=b"x" * 2000).status == 413
        assert site.ask("/gone").status == 410
    assert json.loads(site.ask("/cart").text)["path"] == "/cart"


def test_a_switch_from_uwsgi_is_followed(uwsgi):
    with switched(uwsgi, Application, "web.uwsgi"):
        headers = uwsgi.passed_on("/", X_Real_IP="6.6.6.6", X_Forwarded_Host="evil.test")
        assert headers["X-Real-IP"] == "127.0.0.1"
        assert "X-Forwarded-Host" not in headers
        assert uwsgi.ask("/broken").status == 502
    assert told(uwsgi)["HTTP_HOST"] == "shop.test"


def test_what_was_asked_once_is_not_asked_again(site):
    """A server that breaks off a request during a switch may have done what it was asked."""
    asked = []

    class Second(UwsgiApplication):
        def handle(self):
            asked.append(self)
            super().handle()

    link = site.root / "srv/shop/web.uwsgi"
    link.symlink_to(site.root / "again.sock")
    try:
        with answering(site.root / "again.sock", Second):
            answer = site.ask("/broken", method="POST", body=b"a=1")
        assert (answer.status, answer.getheader("Retry-After")) == (502, "10")
        assert asked == []
    finally:
        link.unlink()


def test_nobody_to_ask_gives_a_short_page(site):
    link = site.root / "srv/shop/web.sock"
    old = os.readlink(link)
    link.unlink()
    try:
        time.sleep(1.2)  # what Nginx keeps of the old one ends
        for path in ("/", "/big/"):
            answer = site.ask(path)
            assert (answer.status, answer.getheader("Retry-After")) == (502, "10")
            assert b"not available at the moment" in answer.text
    finally:
        link.symlink_to(old)


# What Nginx accepts


@pytest.mark.parametrize("ipv6", [[], ["::1", "2001:db8::7"]])
@pytest.mark.parametrize("system", ["Debian-12", "Debian-13", "Ubuntu-22.04", "Ubuntu-24.04"])
@pytest.mark.parametrize("case", MEAN)
def test_nginx_accepts_the_site(minion_opts, tmp_path, case, system, ipv6):
    pillar = {
        "nginx": {"port": free_port(), "tls_port": free_port()},
        "projects": {"shop-2": MEAN[case]},
    }
    rendering = Rendering(minion_opts, grains(system, ipv6=ipv6), {"django": pillar})
    assert rendering.modules["django.config"]()["errors"] == []
    code, said = tried(tmp_path, rendering.files())
    assert code == 0, said
    assert "[warn]" not in said or os.geteuid() != 0, said


def test_many_projects_share_one_nginx(minion_opts, tmp_path):
    common = {"source": {"path": "/srv/src"}, "cache": {"engine": "none"}}
    projects = {f"site{nr}": {**common, "domains": [f"site{nr}.test"]} for nr in range(60)}
    projects["rest"] = common
    pillar = {"nginx": {"port": free_port(), "tls_port": free_port()}, "projects": projects}
    rendering = Rendering(minion_opts, grains(), {"django": pillar})
    assert rendering.modules["django.config"]()["errors"] == []
    code, said = tried(tmp_path, rendering.files())
    assert (code, "[warn]" in said) == (0, False), said
