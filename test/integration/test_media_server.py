"""
The server of a fleet's uploads: hosts of the map write and read there as the project's user, and
nobody else does. This machine's kernel cannot mount NFS: user-mode Linux does, and a program that
speaks NFS itself.
"""

import json
import shlex

import pytest

from test.hosts import boot

from .fleet import hosts
from .guestbook import ROOT, SOURCE
from .kernel import booted
from .machines import ensure
from .server import CHECKOUT, Server, put_checkout

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
        "kernels of two hosts (user-mode Linux) mount it by the line of fstab, one reads what "
        "Django's storage wrote on the other; root is nobody; a host that is not in the map, and a "
        "program that is not root's, are refused",
        on=["Debian 12"],
    ),
]


@pytest.fixture(scope="module")
def fleet():
    """The server by ./bootstrap, and hosts with nothing but clients that speak NFS."""
    found = {name: Server(boot(name, image=ensure("bookworm-ready"))) for name in ROLES}
    try:
        found[CLIENT].run("apt-get install -qy --no-install-recommends libnfs-utils")
        server = found[SERVER]
        # The host's own file system is one that no server can give out.
        server.run("mkdir /srv/media && mount -t tmpfs -o mode=711 tmpfs /srv/media")
        put_checkout(server.host)
        found["made"] = server.bootstrap_as_predicted(pillar(found))
        yield found
    finally:
        for name in ROLES:
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


def test_program_that_is_not_root_s_cannot_claim_to_be_the_project(fleet):
    assert speak(fleet, "nfs-cat", "@media/note.txt", user="nobody").returncode


# Salt without a master and without its service, which is all that a function needs.
MINION = {
    "id": CLIENT,
    "file_client": "local",
    "file_roots": {"base": [f"{CHECKOUT}/salt", CHECKOUT]},
    "pillar_roots": {"base": ["/root/pillar"]},
    **{f"{kind}_dirs": [f"{CHECKOUT}/_{kind}"] for kind in ("states", "utils")},
    "module_dirs": [f"{CHECKOUT}/_modules"],
}
MOUNT = (
    "/opt/django-formula/salt/bin/salt-call --config-dir /root/salt django.mount_share guestbook"
)
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


def test_upload_on_one_host_is_read_on_another(fleet):
    """Each mounts the export where the site looks for uploads, and Django's storage works there."""
    first, second = fleet[CLIENT].host, fleet[OTHER].host
    put_checkout(first)
    first.write("/root/salt/minion", json.dumps(MINION))
    first.write("/root/pillar/top.sls", "base: {'*': [site]}\n")
    first.write("/root/pillar/site.sls", pillar(fleet))
    for host in (first, second):
        host.run("apt-get install -qy --no-install-recommends python3-django")
        host.run("useradd --system --uid 900 --gid www-data guestbook")
        host.run(["mkdir", "-p", ROOT])
    media = f"{ROOT}/share/media"
    project, web_server = ("900", "33", media), ("33", "33", media)
    with booted(first, PORT) as one, booted(second, PORT) as two:
        one.run(MOUNT)
        line = next(line for line in first.read("/etc/fstab").splitlines() if "nfs4" in line)
        assert line.split()[:2] == [f"{fleet[SERVER].host.address}:/guestbook", f"{ROOT}/share"]
        two.run(f"mkdir -p {ROOT}/share && echo {shlex.quote(line)} >>/etc/fstab && mount -a")
        one.run(["python3", "-c", UPLOAD, *project])
        for who in (project, web_server):
            assert two.run(["python3", "-c", LOOK, *who]).strip() == "from the first"
        assert one.run(f"ls -A {media}", check=False).endswith("Permission denied\n"), "as root"
        assert second.run(["ls", "-A", f"{ROOT}/share"]).stdout == "", "nothing is on the host"
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
