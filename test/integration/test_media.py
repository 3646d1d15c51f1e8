"""Uploads: on the host, handed out to their owner alone, in a bucket."""

import pytest

from test.hosts import boot

from . import depot
from .machines import SITE, ensure
from .server import Browser, Server, picture, put_checkout

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.proves(
        "static files and uploads",
        "uploads on the host",
        "nothing of them runs, limits are told; private ones by X-Accel-Redirect, for their owner",
        on=["Debian 12"],
    ),
    pytest.mark.proves(
        "static files and uploads",
        "uploads on a shared drive (GlusterFS)",
        "mounted by the formula; nothing is released or written while it is away",
        on=["Debian 12"],
    ),
    pytest.mark.proves(
        "static files and uploads",
        "uploads in a bucket (django-storages, S3 by moto)",
        "tried before a release goes live, nothing on the host",
        on=["Debian 12"],
    ),
]
PILLAR = """\
django:
  projects:
    depot:
      source: {path: %(source)s}
      settings: depot.settings
      uid: 900
      database: {engine: sqlite}
      cache: {engine: locmem}
      app: {workers: 1}
      python: {packages: ['django-storages[s3]==1.14.6']}
      web: {max_body_size: 1M}
      media:
%(media)s
"""
PRIVATE = "        private: {}\n"
BUCKET = """\
        s3:
          bucket: depot-uploads
          prefix: media
          endpoint: %s
          addressing: path
          access_key: %s
          secret_key: "%s"
"""
MOUNTED = "depot: shared drive is mounted"
SHARE = "/srv/django/depot/share"
TRIED = "depot: uploads have their bucket"
MEDIA = "/srv/django/depot/shared/media"
SCRIPT = "<script>document.title = 'mine'</script>"


def pillar(server, media):
    server.pillar(PILLAR % {"source": depot.SOURCE, "media": media})


@pytest.fixture(scope="module")
def server():
    """The depot, its uploads on the host, and two who have an account."""
    with boot("int-media", image=ensure(SITE), bind=["/dev/fuse"]) as host:
        put_checkout(host)
        server = Server(host)
        depot.put_source(server)
        pillar(server, PRIVATE)
        server.apply()
        script = "from django.contrib.auth.models import User as U; " + "; ".join(
            f"U.objects.create_user({name!r}, password='password of {name}')"
            for name in ("ada", "bob")
        )
        server.run(["django-manage", "depot", "shell", "-c", script])
        yield server
        # A host with a drive of its own waits for it when it is switched off.
        server.run("umount --lazy --types fuse.glusterfs --all; pkill -KILL gluster; true")


def send(browser, path, name, content):
    """Send a file; the answer."""
    return browser._send("POST", path, files={"file": (name, content)})


def enter(server, name):
    """A visitor who has logged in."""
    browser = Browser(server.host)
    fields = {"name": name, "password": f"password of {name}"}
    assert browser._send("POST", "/enter/", data=fields).text == "welcome"
    return browser


def test_uploads_cannot_run_as_the_site(server):
    browser = Browser(server.host)
    for name in ("page.html", "drawing.svg"):
        answer = browser.get(send(browser, "/upload/", name, SCRIPT).json()["url"])
        assert (answer.status_code, answer.text) == (200, SCRIPT)
        assert answer.headers["Content-Disposition"] == "attachment"
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    shown = browser.get(send(browser, "/upload/", "dot.png", picture()).json()["url"])
    assert (shown.content, shown.headers["Content-Type"]) == (picture(), "image/png")
    assert "Content-Disposition" not in shown.headers
    server.host.write(f"{MEDIA}/.hidden", "hidden")
    assert browser.get("/media/.hidden").status_code == 404


def test_what_is_too_large_is_told_with_its_limit(server):
    answer = send(Browser(server.host), "/upload/", "large.bin", b"x" * (1 << 20))
    assert answer.status_code == 413
    assert "up to 1 MiB" in answer.text
    assert send(Browser(server.host), "/upload/", "fits.bin", b"x" * (1 << 19)).status_code == 200


def test_private_uploads_are_their_owner_s(server):
    ada, bob, nobody = enter(server, "ada"), enter(server, "bob"), Browser(server.host)
    assert send(ada, "/keep/", "my letter.txt", "dear diary").text == "ada/my letter.txt"
    assert send(ada, "/keep/", "page.html", SCRIPT).text == "ada/page.html"
    letter = ada.get("/kept/ada/my letter.txt")
    assert (letter.text, letter.headers["Content-Type"]) == ("dear diary", "text/plain")
    assert letter.headers["Cache-Control"] == "private, no-cache"
    page = ada.get("/kept/ada/page.html")
    assert page.headers["Content-Disposition"] == "attachment"
    assert "sandbox" in page.headers["Content-Security-Policy"]
    for visitor in (bob, nobody):
        for path in ("/kept/ada/", "/private-media/ada/", "/media/../private/ada/"):
            answer = visitor.get(f"{path}my letter.txt")
            assert (answer.status_code, "diary" in answer.text) == (404, False), path
    assert ada.get("/private-media/ada/my letter.txt").status_code == 404
    root = "/srv/django/depot/shared/private"
    assert server.mode(root) == "2750 depot:www-data"
    assert server.run(["cat", f"{root}/ada/page.html"], user="nobody", check=False).returncode


def test_nothing_is_left_to_do(server):
    server.assert_settled()


def test_a_share_that_is_not_there_keeps_the_old_release_serving(server):
    server.run("apt-get update -q && apt-get install -qy --no-install-recommends glusterfs-server")
    server.run("systemctl start glusterd && mkdir -p /srv/brick")
    before = server.live("depot")
    share(server)
    outcome = server.apply(check=False)
    assert outcome.failed[0] == MOUNTED, outcome.told()
    assert "cannot be mounted, so nothing is released" in outcome.comment(MOUNTED)
    assert server.live("depot") == before
    assert send(Browser(server.host), "/upload/", "old.txt", "as before").status_code == 200
    assert_closed(server)


def share(server):
    """Let the pillar have uploads on a share of the host's own GlusterFS."""
    mount = "        mount: {device: '%s:/uploads', type: glusterfs, options: '%s'}\n"
    pillar(
        server,
        PRIVATE
        + mount
        % (server.host.address, "rw,nosuid,nodev,_netdev,x-systemd.requires=glusterd.service"),
    )


def assert_closed(server):
    """Nobody but root can write where the share is not mounted, and nothing was written."""
    wrote = server.run(["touch", f"{SHARE}/x"], user="depot", check=False)
    assert "Permission denied" in wrote.stderr
    assert server.run(["ls", "-A", SHARE]).stdout == ""


def test_uploads_go_to_the_share(server):
    address = server.host.address
    server.run(
        f"gluster --mode=script volume create uploads {address}:/srv/brick/one force"
        " && gluster --mode=script volume start uploads"
    )
    assert MOUNTED in server.apply().changed
    url = send(Browser(server.host), "/upload/", "here.txt", "on the share").json()["url"]
    assert Browser(server.host).get(url).text == "on the share"
    assert server.host.read("/srv/brick/one/media/here.txt") == "on the share"
    ada = enter(server, "ada")
    send(ada, "/keep/", "letter.txt", "dear share")
    assert ada.get("/kept/ada/letter.txt").text == "dear share"
    assert server.host.read("/srv/brick/one/private/ada/letter.txt") == "dear share"
    for name in ("media", "private"):
        assert server.mode(f"{SHARE}/{name}") == "2750 depot:www-data"
        owner = server.run(["stat", "-c", "%u:%g", f"/srv/brick/one/{name}"]).stdout
        assert owner == "900:33\n"
    server.assert_settled()


def test_a_share_that_went_away_loses_no_upload(server):
    browser = Browser(server.host)
    server.run(["umount", "--lazy", SHARE])  # as Nginx may have files of it open
    assert browser.get("/").status_code == 200
    assert send(browser, "/upload/", "lost.txt", "where to").status_code == 500
    assert_closed(server)
    server.assert_mended(MOUNTED)
    assert browser.get("/media/here.txt").text == "on the share"
    assert send(browser, "/upload/", "again.txt", "here").status_code == 200
    server.run(["pkill", "-KILL", "-x", "glusterfs"])  # the drive's program, not its server's
    assert send(browser, "/upload/", "lost.txt", "where to").status_code == 500
    assert MOUNTED in server.apply().changed
    assert server.host.read("/srv/brick/one/media/again.txt") == "here"
    assert browser.get("/media/again.txt").text == "here"
    server.host.reboot()
    assert browser.get("/media/here.txt").text == "on the share"


def test_a_bucket_that_is_not_there_keeps_the_old_release_serving(server):
    depot.install_emulator(server)
    depot.start_emulator(server)
    depot.name_emulator(server, "127.0.0.2")  # where nobody listens
    before = server.live("depot")
    pillar(server, PRIVATE + BUCKET % (depot.API, depot.ACCESS_KEY, depot.SECRET_KEY))
    cures = {
        "endpoint: http://aws.test:5000 does not answer": lambda: heal(server),
        "access_key: the store does not know it": lambda: depot.demand_keys(server, False),
        "bucket: the store has no bucket 'depot-uploads'": lambda: None,
    }
    for said, cure in cures.items():
        outcome = server.apply(check=False)
        assert outcome.failed[0] == TRIED, outcome.told()
        assert f"depot:media:s3:{said}" in outcome.comment(TRIED)
        assert depot.SECRET_KEY not in outcome.output
        assert server.live("depot") == before
        assert Browser(server.host).get("/").status_code == 200
        cure()


def heal(server):
    """Let the store answer, and ask for keys that it knows."""
    depot.name_emulator(server, "127.0.0.1")
    depot.demand_keys(server, True)


def test_uploads_go_to_the_bucket_and_are_not_on_the_host(server):
    depot.at_emulator(server, 'answer = client("s3").create_bucket(Bucket="depot-uploads")')
    server.run(f"mv {MEDIA} /srv/src/uploads-so-far")
    outcome = server.apply()
    assert TRIED in outcome.changed
    sent = send(Browser(server.host), "/upload/", "far away.txt", "over the hills").json()
    assert "/depot-uploads/media/" in sent["url"] and "Signature=" in sent["url"]
    fetched = server.run(
        [f"{depot.MOTO}/bin/python", "-"],
        input=f"""\
import urllib.request
answer = urllib.request.urlopen({sent["url"]!r})
print(answer.headers["Cache-Control"], answer.read().decode())
""",
    )
    assert fetched.stdout == "max-age=3600 over the hills\n"
    objects = depot.at_emulator(
        server,
        'listed = client("s3").list_objects_v2(Bucket="depot-uploads")\n'
        'answer = [item["Key"] for item in listed["Contents"]]',
    )
    assert objects == [f"media/{sent['name']}"], "what was tried with is gone"
    assert server.run(["test", "-e", MEDIA], check=False).returncode
    assert "location ^~ /media/" not in server.host.read("/etc/nginx/django.d/depot.conf")
    server.assert_settled()


def test_settings_that_would_keep_uploads_on_the_host_are_refused(server):
    before = server.live("depot")
    keys = BUCKET % (depot.API, depot.ACCESS_KEY, depot.SECRET_KEY)
    disk = '{"BACKEND": "django.core.files.storage.FileSystemStorage"}'
    pillar(server, f"{PRIVATE}{keys}      env: {{MEDIA_STORAGE: '{disk}'}}\n")
    outcome = server.apply(check=False)
    assert "keep uploads on this host" in outcome.comment("depot: release is checked")
    assert server.live("depot") == before
    assert Browser(server.host).get("/").status_code == 200


def test_the_bucket_s_secret_is_the_project_s_alone(server):
    for name in ("/etc/nginx", "/etc/supervisor", "/var/log", "/var/cache/salt"):
        found = server.run(["grep", "-rlF", depot.SECRET_KEY, name], check=False)
        assert found.stdout == "", name
    assert server.mode("/srv/django/depot/live/environment") == "400 depot:depot"
