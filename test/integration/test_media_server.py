"""
The server of a fleet's uploads: hosts of the map write and read there as the project's user, and
nobody else does. Real are the server, the protocol, sites, states, fstab and systemd's mounts. The
kernel of these hosts knows no NFS, so mount.nfs4 is one of the tests' own (mount_nfs4.py: FUSE and
libnfs); what the kernel's client does is seen in user-mode Linux.
"""

import io
import re
import time

import pytest

from test.hosts import boot

from .fleet import hosts
from .guestbook import ROOT, SOURCE
from .kernel import booted
from .machines import NFS, ensure
from .server import CHANGED, CHECKOUT, Browser, Server, picture, put_checkout, wait_for

SERVER, CLIENT, OTHER = "int-nas", "int-nas-web", "int-nas-web2"
ROLES = {
    SERVER: "[media]",
    CLIENT: "[app, web, worker, database, cache]",
    OTHER: "[app, web]",
}
PORT = 2049
FOLDER = "/srv/media/guestbook"
PILLAR = """\
django:
  hosts: {%s}
  firewall: {}
  projects:
    guestbook:
      source: {path: %s}
      uid: 900
      media: {private: {}}
      database: {password: the-database-s-password}
      cache: {password: the-cache-s-password}
      secrets: {SECRET_KEY: all-hosts-sign-with-this-one-0123456789-abcdefghijklmnopqrstuvwxyz}
"""
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.proves(
        "several servers",
        "media server (NFS by nfs-ganesha)",
        "two sites mount it by their first run, with a client of the tests' own (FUSE, libnfs): an "
        "upload by HTTP to one is read from the other, private ones too; mounted again before the "
        "site serves after a boot, and by a run when it was unmounted; while the server is away "
        "pages are served, uploads fail and none is written to the host. The kernel's client "
        "(user-mode Linux) mounts it by the same line of fstab and reads what another wrote. Root "
        "is nobody; a host that is not in the map, and a program that is not root's, are refused",
        on=["Debian 12"],
    ),
]


# A letter that the application alone hands out.
LETTER = """
import os
from django.core.files.storage import FileSystemStorage
from django.http import HttpResponse
from django.views.decorators.csrf import csrf_exempt


@csrf_exempt
def letter(request):
    if request.method == "POST":
        store = FileSystemStorage(location=os.environ["PRIVATE_MEDIA_ROOT"])
        store.save("letter.txt", request.FILES["file"])
    url = os.environ["PRIVATE_MEDIA_URL"] + "letter.txt"
    return HttpResponse(headers={"X-Accel-Redirect": url})


urlpatterns += [path("letter/", letter)]
"""


@pytest.fixture(scope="module")
def fleet():
    """The server and two sites, each as ./bootstrap leaves it; ``made`` has what that changed."""
    image = ensure(NFS)
    found = {name: Server(boot(name, image=image, bind=["/dev/fuse"])) for name in ROLES}
    try:
        # The host's own file system is one that no server can give out.
        found[SERVER].run("mkdir /srv/media && mount -t tmpfs -o mode=711 tmpfs /srv/media")
        for server in found.values():
            put_checkout(server.host)
            server.run(f"mkdir -p /srv/src && cp -r {CHECKOUT}/examples/guestbook {SOURCE}")
            server.run(["tee", "-a", f"{SOURCE}/config/urls.py"], input=LETTER)
        found["made"] = {
            name: found[name].bootstrap_as_predicted(pillar(found)) for name in (SERVER, CLIENT)
        }
        found["made"][OTHER] = CHANGED.findall(found[OTHER].bootstrap(pillar=pillar(found)).stdout)
        found[CLIENT].run("apt-get install -qy --no-install-recommends libnfs-utils")
        yield found
    finally:
        for name in ROLES:
            found[name].run("pkill -KILL -f /sbin/mount.nfs4", check=False)
            found[name].host.destroy()


def pillar(fleet, without=()):
    """The pillar with the hosts but those ``without``, in whose place another has their roles."""
    known = {name: fleet[name] for name in ROLES if name not in without}
    text = hosts(known, ROLES)
    for name in without:
        text += f", other: {{address: 10.77.0.254, roles: {ROLES[name]}}}"
    return PILLAR % (text, SOURCE)


def speak(fleet, program, *paths, uid=900, user=None, content=None, seconds=60):
    """What a program of libnfs-utils says (CompletedProcess); a path ``@x`` is on the server."""
    address = fleet[SERVER].host.address
    urls = [
        f"nfs://{address}/guestbook/{path[1:]}?version=4&uid={uid}&gid={uid}"
        if path.startswith("@")
        else path
        for path in paths
    ]
    if content is not None:
        fleet[CLIENT].host.write(paths[0], content)
    return fleet[CLIENT].run(["timeout", str(seconds), program, *urls], check=False, user=user)


def test_project_s_user_writes_and_reads(fleet):
    copied = speak(fleet, "nfs-cp", "/tmp/note.txt", "@media/note.txt", content="on the server")
    assert copied.returncode == 0, copied.stdout + copied.stderr
    assert fleet[SERVER].host.read(f"{FOLDER}/media/note.txt") == "on the server"
    owner = fleet[SERVER].run(["stat", "-c", "%u:%g", f"{FOLDER}/media/note.txt"]).stdout
    assert owner == "900:33\n", "the web server's group may read it"
    assert speak(fleet, "nfs-cat", "@media/note.txt").stdout == "on the server"
    assert "note.txt" in speak(fleet, "nfs-ls", "@media").stdout


def test_root_of_a_host_is_nobody(fleet):
    assert speak(fleet, "nfs-cat", "@media/note.txt", uid=0).returncode
    assert speak(fleet, "nfs-cp", "/tmp/note.txt", "@media/root.txt", uid=0).returncode
    assert speak(fleet, "nfs-cp", "/tmp/note.txt", "@top.txt").returncode, "nor does the project"
    assert fleet[SERVER].run(["ls", "-A", f"{FOLDER}", f"{FOLDER}/media"]).stdout.split() == [
        f"{FOLDER}:",
        "media",
        "private",
        f"{FOLDER}/media:",
        "note.txt",
    ]


SHARE = f"{ROOT}/share"
MOUNTED = "guestbook: shared drive is mounted"


def sign(server, name):
    """Somebody leaves an entry with a picture at this site (the answer)."""
    fields = {"name": name, "message": f"{name} was here."}
    files = {"picture": (f"{name}.png", picture(), "image/png")}
    return Browser(server.host).submit("/", fields, files=files, timeout=60)


def pictures(server):
    """Paths of the pictures on the first page of a site (list of str)."""
    return re.findall(r'<img class="avatar" src="([^"]+)"', Browser(server.host).get("/").text)


def serves(server):
    return server.host.get("/").status == 200


def below(server):
    """What is in the folder that the share hides (str)."""
    look = f"mkdir -p /tmp/below && mount --bind {ROOT} /tmp/below && ls -AR /tmp/below/share"
    return server.run(f"{look}; umount /tmp/below").stdout


def test_sites_mount_it_by_their_first_run(fleet):
    device = f"{fleet[SERVER].host.address}:/guestbook"
    for name in (CLIENT, OTHER):
        assert MOUNTED in fleet["made"][name]
        mounts = fleet[name].host.read("/proc/self/mountinfo").splitlines()
        (mount,) = [line for line in mounts if line.split()[4] == SHARE]
        assert mount.split(" - ")[1].split()[:2] == ["fuse.nfs4", device]
        assert {"nosuid", "nodev", "noexec"} <= set(mount.split()[5].split(","))
        assert fleet[name].run("dpkg-query -W -f '${db:Status-Status}' nfs-common").stdout == (
            "installed"
        )
        fleet[name].assert_settled()


def test_upload_by_one_site_is_read_from_the_other(fleet):
    first, second = fleet[CLIENT], fleet[OTHER]
    assert sign(first, "Ada").status_code == 302
    (path,) = pictures(second)
    for server in (first, second):
        assert Browser(server.host).get(path).content == picture()
    sent = {"file": ("a.txt", io.BytesIO(b"dear diary"))}
    assert Browser(second.host)._send("POST", "/letter/", files=sent).text == "dear diary"
    assert Browser(first.host).get("/letter/").text == "dear diary"
    assert first.host.get("/private-media/letter.txt").status == 404
    kept = fleet[SERVER].run(f"cd {FOLDER} && find . -name letter.txt -printf '%m %U:%G %p'").stdout
    assert kept == "644 900:33 ./private/letter.txt"
    assert below(first) == below(second) == "/tmp/below/share:\n"


def test_it_is_mounted_again_before_the_site_serves_after_a_boot(fleet):
    server = fleet[OTHER]
    server.host.reboot()
    moment = "systemctl show --value --property"
    unit = "$(systemd-escape --path --suffix=mount " + SHARE + ")"
    mounted = server.run(f"{moment} ActiveEnterTimestampMonotonic {unit}").stdout
    for service in ("supervisor", "nginx"):
        began = server.run(f"{moment} InactiveExitTimestampMonotonic {service}").stdout
        assert 0 < int(mounted) < int(began), service
    wait_for(lambda: serves(server))
    (path,) = pictures(server)
    assert Browser(server.host).get(path).content == picture()
    server.assert_settled()


def test_share_that_somebody_unmounts_is_mounted_again(fleet):
    server = fleet[OTHER]
    server.run(["umount", "--lazy", SHARE])
    assert sign(server, "Bob").status_code == 500
    server.assert_mended(MOUNTED)
    assert sign(server, "Bob").status_code == 302


def test_server_that_is_away_holds_up_no_page_and_loses_no_upload(fleet):
    first, second = fleet[CLIENT], fleet[OTHER]
    path = pictures(second)[0]
    fleet[SERVER].host.cut()
    try:
        began = time.monotonic()
        assert sign(first, "Cy").status_code == 500
        assert Browser(first.host).get(path).status_code == 500
        assert Browser(first.host).get("/").status_code == 200
        assert time.monotonic() - began < 20
        second.host.power_cut()
        second.host.power_on()
        wait_for(lambda: serves(second))
        assert sign(second, "Cy").status_code == 500
    finally:
        fleet[SERVER].host.heal()
    assert Browser(first.host).get(path).content == picture()
    assert sign(first, "Di").status_code == 302
    assert below(first) == below(second) == "/tmp/below/share:\n"
    second.assert_mended(MOUNTED)
    assert Browser(second.host).get(pictures(second)[0]).content == picture()


def test_program_that_is_not_root_s_cannot_claim_to_be_the_project(fleet):
    assert speak(fleet, "nfs-cat", "@media/note.txt", user="nobody").returncode


MOUNT = "/opt/django-formula/salt/bin/salt-call django.mount_share guestbook"
STORAGE = """
import os, sys
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
os.setgroups([]), os.setgid(int(sys.argv[2])), os.setuid(int(sys.argv[1]))
settings.configure()
storage = FileSystemStorage(sys.argv[3])
%s
"""
UPLOAD = STORAGE % 'storage.save("pictures/2026/ada.txt", ContentFile("from the first"))'
LOOK = STORAGE % 'print(storage.open("pictures/2026/ada.txt").read().decode())'


def test_kernel_reads_on_one_host_what_another_wrote(fleet):
    """Each mounts the export where the site looks for uploads, and Django's storage works there."""
    first, second = fleet[CLIENT].host, fleet[OTHER].host
    for host in (first, second):
        host.run(["systemctl", "stop", "supervisor", "nginx"])
        host.run(["umount", SHARE])
    python = first.run("ls /srv/django/guestbook/venvs/*/bin/python").stdout.strip()
    media = f"{SHARE}/media"
    project, web_server = ("900", "33", media), ("33", "33", media)
    with booted(first, PORT) as one, booted(second, PORT) as two:
        for kernel in (one, two):
            kernel.run("mount --bind /sbin/mount.nfs /sbin/mount.nfs4")  # nfs-common's
        one.run(MOUNT)
        two.run(["mount", SHARE])
        one.run([python, "-c", UPLOAD, *project])
        for who in (project, web_server):
            assert two.run([python, "-c", LOOK, *who]).strip() == "from the first"
        assert one.run(f"ls -A {media}", check=False).endswith("Permission denied\n"), "as root"
        assert second.run(["ls", "-A", SHARE]).stdout == "", "nothing is on the host"
    made = fleet[SERVER].run(f"cd {FOLDER} && find media -name ada.txt -printf '%m %U:%G %p'")
    assert made.stdout == "644 900:33 media/pictures/2026/ada.txt"


def test_nothing_is_left_to_do(fleet):
    fleet[SERVER].assert_settled()
    for path in ("media", "private"):
        assert fleet[SERVER].run(["stat", "-c", "%a %u:%g", f"{FOLDER}/{path}"]).stdout == (
            "2750 900:33\n"
        )


def test_host_that_leaves_the_map_is_refused(fleet):
    """By the server itself, and by the firewall before it; the others' files stay open."""
    server = fleet[SERVER]
    process = server.host.pids("ganesha.nfsd")
    server.pillar(pillar(fleet, without=[CLIENT]))
    server.assert_mended("NFS server knows its exports", "NFS server follows the map of hosts")
    assert speak(fleet, "nfs-cat", "@media/note.txt", seconds=3).returncode
    server.run("nft delete table inet django_formula")
    refused = speak(fleet, "nfs-cat", "@media/note.txt")
    assert refused.returncode and "on the server" not in refused.stdout
    server.pillar(pillar(fleet))
    server.apply()
    assert speak(fleet, "nfs-cat", "@media/note.txt").stdout == "on the server"
    assert server.host.pids("ganesha.nfsd") == process, "it was not restarted"


def test_folder_that_cannot_be_given_out_is_told(fleet):
    server = fleet[SERVER]
    server.run("systemctl stop nfs-ganesha && umount /srv/media")
    outcome = server.apply(check=False)
    assert outcome.failed == ["uploads are given out"], outcome.told()
    told = outcome.comment("uploads are given out")
    assert f"does not give out {FOLDER}: they have to be on a file system" in told
