"""
The server of a fleet's uploads: a host of the map writes and reads there as the project's user, by
a program that speaks NFS itself since the kernel does not, and nobody else does.
"""

import pytest

from test.hosts import boot

from .fleet import hosts
from .guestbook import SOURCE
from .machines import ensure
from .server import Server, put_checkout

SERVER, CLIENT = "int-nas", "int-nas-web"
ROLES = {SERVER: "[media]", CLIENT: "[app, web, worker, database, cache]"}
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
"""
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.proves(
        "several servers",
        "media server (NFS by nfs-ganesha)",
        "a host of the map writes and reads as the project's user, root as nobody; a host that is "
        "not in it, and a program that is not root's, are refused",
        on=["Debian 12"],
    ),
]


@pytest.fixture(scope="module")
def fleet():
    """The server by ./bootstrap, and a host with nothing but a client that speaks NFS."""
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
