"""The site in Apache, by a real Apache: what is asked of Nginx is asked of it too."""

import contextlib
import json
import os
import pathlib
import pwd
import re
import shutil
import subprocess
import tempfile

import django_deployment
import django_embedded
import pytest
from front import (
    MEAN,
    PROJECT,
    Application,
    UwsgiApplication,
    certificate,
    fill,
    free_port,
    serving,
    write_below,
)
from rendering import Rendering, grains
from test_nginx import (  # noqa: F401 - the tests are asked of Apache, by its own fixtures
    test_a_trusted_proxy_cannot_invent_a_scheme,
    test_a_trusted_proxy_is_believed,
    test_fonts_may_be_used_by_other_sites,
    test_hidden_files_are_refused,
    test_hosts_of_the_project,
    test_links_to_files_of_others_are_refused,
    test_locations_of_the_pillar,
    test_missing_static_files_are_not_to_be_kept,
    test_no_path_leads_out_of_a_folder,
    test_requests_are_logged,
    test_requests_without_a_host_are_refused,
    test_static_files_may_be_kept_for_a_while,
    test_static_files_with_a_hash_may_be_kept_for_ever,
    test_the_compressed_variant_is_served,
    test_the_edge_overwrites_what_a_client_claims,
    test_the_socket_is_followed_at_each_connection,
    test_unknown_hosts_are_refused,
    test_uploads_cannot_run_as_the_site,
    test_uwsgi_gets_requests,
    test_uwsgi_is_not_told_what_a_client_claims,
    test_uwsgi_is_told_what_a_trusted_proxy_says,
    test_well_known_paths_reach_the_application,
    test_what_has_no_variant_is_compressed,
)

APACHE = shutil.which("apache2", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
LOCATIONS = {
    path: location
    for path, location in PROJECT["web"]["locations"].items()
    if not location.get("internal")
}
WEB = {**PROJECT["web"], "server": "apache", "locations": LOCATIONS}
SHOP = {**PROJECT, "media": {}, "web": WEB}


def write_tree(root, files):
    """The rendered files of Apache, with their paths moved below ``root``."""
    moves = (
        ("/etc/apache2", f"{root}/etc/apache2"),
        ("/var/log/apache2/", f"{root}/log/"),
        ("/var/run/apache2", f"{root}/run"),
        ("/srv/django/", f"{root}/srv/"),
        ("/etc/mime.types", f"{root}/mime.types"),
    )
    write_below(root, "/etc/apache2/", files, moves)
    (root / "mime.types").write_text(
        "text/html html\ntext/css css\nimage/svg+xml svg\nfont/woff2 woff2\ntext/plain txt\n"
        "application/pdf pdf\napplication/javascript js\napplication/gzip gz\n"
    )
    for folder in ("log", "run", "srv"):
        (root / folder).mkdir(exist_ok=True)
    return root / "etc/apache2/apache2.conf"


@contextlib.contextmanager
def folder():
    """A folder that Apache can enter, which serves under an account of its own."""
    with tempfile.TemporaryDirectory(prefix="apache-") as name:
        os.chmod(name, 0o755)
        yield pathlib.Path(name)


def tried(root, files):
    """What Apache says of the rendered files."""
    assert APACHE, "these tests need Apache (apt-get install apache2-bin)"
    config = write_tree(root, files)
    done = subprocess.run([APACHE, "-t", "-f", config], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def render(minion_opts, projects, more=(), **settings):
    """
    The rendered files of a host with these projects, and its two ports; ``more`` are keys of the
    pillar, settings those of Apache.
    """
    port, tls_port = free_port(), free_port()
    apache = {"port": port, "tls_port": tls_port, "probe_port": free_port()}
    apache.update(max_request_workers=64, **settings)
    pillar = {"django": {"apache": apache, "projects": projects, **dict(more)}}
    rendering = Rendering(minion_opts, grains(), pillar)
    assert rendering.modules["django.config"]()["errors"] == []
    return rendering.files(), port, tls_port


@contextlib.contextmanager
def running(minion_opts, root, project, application=Application, **more):
    assert APACHE, "these tests need Apache (apt-get install apache2-bin)"
    files, port, tls_port = render(minion_opts, {"shop": project}, more)
    config = write_tree(root, files)
    argv = [APACHE, "-DFOREGROUND", "-f", config]
    with serving(argv, root, (port, tls_port), application) as site:
        yield site


@pytest.fixture(scope="module")
def site(minion_opts):
    with folder() as root, running(minion_opts, root, SHOP) as site:
        fill(site.root / "srv/shop")
        yield site


@pytest.fixture(scope="module")
def uwsgi(minion_opts):
    """Where Nginx was in front until now, and the process of that time still serves."""
    project = {**SHOP, "app": {"server": "uwsgi"}}
    with folder() as root, contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as before:
            before.setattr(django_deployment.Deployment, "spoken", "uwsgi")
            site = stack.enter_context(running(minion_opts, root, project, UwsgiApplication))
        yield site


def test_requests_reach_the_application(site):
    answer = site.ask("/cart?item=1")
    assert answer.status == 200
    assert json.loads(answer.text)["path"] == "/cart?item=1"
    assert answer.getheader("X-Note") == "it's a value"
    assert answer.getheader("Server") == "Apache", "its version is nobody's business"


@pytest.mark.parametrize("path", ["/a%2Fb/%C3%A9?q=%20%2F", "/a//b", "/a%3Fb"])
def test_paths_reach_the_application_as_they_are(site, path):
    assert json.loads(site.ask(path).text)["path"] == path


def test_methods_that_tell_too_much_are_refused(site):
    assert site.ask(method="TRACE").status == 405


def test_a_failing_application_gets_a_short_page(site):
    answer = site.ask("/broken")
    assert answer.status == 502
    assert answer.getheader("Retry-After") == "10"
    assert b"not available at the moment" in answer.text
    assert b"Apache" not in answer.text


def test_an_application_that_was_away_is_asked_again_at_once(site):
    link = site.root / "srv/shop/web.sock"
    old = os.readlink(link)
    link.unlink()
    assert site.ask().status == 503
    link.symlink_to(old)
    assert site.ask().status == 200


def test_bodies_are_limited(site):
    assert site.ask("/", method="POST", body=b"x" * 900).status == 200
    assert site.ask("/", method="POST", body=b"x" * 2000).status == 413
    assert site.ask("/big/", method="POST", body=b"x" * 2000).status == 200
    assert site.ask("/big/", method="POST", body=b"x" * 2_000_000).status == 413


def test_bodies_of_unknown_length_are_refused(site):
    head = b"POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert site.say(head + b"1\r\nx\r\n0\r\n\r\n").split()[1] == "411"


def test_folders_are_not_listed(site):
    assert site.ask("/static/").status in (403, 404)
    assert site.ask("/media/").status in (403, 404)


def test_nothing_of_the_server_itself_is_served(site):
    for path in ("/server-status", "/icons/", "/cgi-bin/x", "/static/css"):
        answer = site.ask(path)
        is_application = answer.status == 200 and json.loads(answer.text)["path"] == path
        assert is_application or answer.status in (403, 404)


def test_packed_files_stay_packed(site):
    """A file that is an archive by itself is not said to be another one that was compressed."""
    (site.root / "srv/shop/static/data.gz").write_bytes(b"\x1f\x8b")
    answer = site.ask("/static/data.gz", Accept_Encoding="gzip")
    assert answer.getheader("Content-Encoding") is None
    assert answer.getheader("Content-Type") == "application/gzip"


def test_http_is_sent_to_https(minion_opts, tmp_path):
    web = {"server": "apache", "tls": {**certificate(tmp_path), "hsts": "365d"}}
    project = {"source": {"path": "/srv/src"}, "domains": ["shop.test"], "web": web}
    with folder() as root, running(minion_opts, root, project) as site:
        answer = site.ask("/cart/%C3%A9?item=1", method="POST")
        assert answer.status == 308
        wanted = f"https://shop.test:{site.tls_port}/cart/%C3%A9?item=1"
        assert answer.getheader("Location") == wanted
        assert site.ask(host="evil.test").status == 421
        said = site.ask_securely("shop.test", "shop.test")
        assert b" 200 " in said
        assert b"max-age=31536000" in said and b'"X-Forwarded-Proto": "https"' in said
        # Another host over the project's connection, and another host from the start.
        assert b" 421 " in site.ask_securely("shop.test", "evil.test")
        assert b" 421 " in site.ask_securely("evil.test", "evil.test")


def as_apache_has_it(project):
    """A project of the tests of Nginx, for Apache."""
    return {**project, "web": {**project.get("web", {}), "server": "apache"}}


INSIDE = {
    "plain": {},
    "behind a proxy": {"web": {"https": True, "trusted_proxies": ["10.0.0.5"]}},
    "tls": {"web": {"tls": True}},
    "embedded": {"app": {"mode": "embedded"}, "web": {"https": True}},
    "limits": {
        "app": {"options": ["eviction-timeout=10"], "max_requests": 1000, "timeout": "0s"},
        "web": {"locations": {"/big/": {"application": True, "max_body_size": "1G"}}},
    },
}


def test_a_private_apache_accepts_its_configuration(tmp_path):
    """The modules of the system, and directives that this mod_wsgi has."""
    project = {
        "name": "shop",
        "user": "www-data",
        "group": "www-data",
        "health": {"host": "shop.test", "scheme": "https"},
    }
    text = django_embedded.private_configuration(
        project, tmp_path, tmp_path / "python", free_port()
    )
    text = text.replace("/var/log/apache2", str(tmp_path)).replace("/etc/apache2", str(tmp_path))
    (tmp_path / "apache2.conf").write_text(text)
    done = subprocess.run(
        [APACHE, "-t", "-f", tmp_path / "apache2.conf"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("case", INSIDE)
def test_apache_accepts_a_site_inside_of_it(minion_opts, tmp_path, case):
    project = {"source": {"path": "/srv/src"}, "settings": "shop.settings", **INSIDE[case]}
    project["app"] = {"server": "mod_wsgi", **project.get("app", {})}
    if project.get("web", {}).get("tls"):
        project["web"] = {"tls": {**certificate(tmp_path), "redirect": False}}
    files, *_ = render(minion_opts, {"shop-2": project})
    site = files["/etc/apache2/django.d/shop-2.conf"]
    if case == "embedded":
        files["/etc/apache2/embedded.conf"] = django_embedded.configuration("shop-2", tmp_path)
        assert "WSGIDaemonProcess" not in site
    else:
        assert site.count("WSGIDaemonProcess shop-2.a ") == site.count("WSGIDaemonProcess") - 1 == 1
    # The project's user is there on a host; here it is whoever runs the tests.
    own = pwd.getpwuid(os.geteuid()).pw_name if os.geteuid() else "www-data"
    site = site.replace("user=shop-2 group=shop-2", f"user={own} group={own}")
    code, said = tried(tmp_path, {**files, "/etc/apache2/django.d/shop-2.conf": site})
    assert code == 0, said


@pytest.mark.parametrize("case", MEAN)
def test_apache_accepts_the_site(minion_opts, tmp_path, case):
    files, *_ = render(minion_opts, {"shop-2": as_apache_has_it(MEAN[case])})
    code, said = tried(tmp_path, files)
    assert code == 0, said
    assert re.search(r"warn|AH\d", said) is None, said


def test_many_projects_share_one_apache(minion_opts, tmp_path):
    common = as_apache_has_it({"source": {"path": "/srv/src"}, "cache": {"engine": "none"}})
    projects = {f"site{nr}": {**common, "domains": [f"site{nr}.test"]} for nr in range(60)}
    projects["rest"] = common
    files, *_ = render(minion_opts, projects)
    assert tried(tmp_path, files)[0] == 0


def test_settings_of_the_pillar_win(minion_opts):
    files, *_ = render(
        minion_opts,
        {"shop": as_apache_has_it({"source": {"path": "/srv/src"}})},
        settings={"KeepAliveTimeout": 5, "EnableSendfile": False, "ServerLimit": 40},
    )
    main = files["/etc/apache2/apache2.conf"].splitlines()
    assert {"KeepAliveTimeout 5", "EnableSendfile Off", "MaxRequestWorkers 64"} <= set(main)
    assert "ServerLimit 40" in files["/etc/apache2/restart.conf"].splitlines()
    assert not any(line.startswith("ServerLimit") for line in main)
