"""A Salt that is on the server already is used, the oldest that is claimed too."""

import json
import re

import pytest

from test.hosts import boot

from .machines import ensure
from .server import Server, put_checkout

pytestmark = [
    pytest.mark.proves(
        "Salt", "Salt that is there already", "used as it is, 3006.29 too", on=["Debian 12"]
    ),
    pytest.mark.proves(
        "several servers",
        "a server without a master gets one",
        "by `bootstrap --minion`; then nothing is left to do, and what serves goes on",
        on=["Debian 12"],
    ),
]

OLDEST = "3006.29"
UV = "/opt/django-formula/uv/bin/uv"


@pytest.fixture(scope="module")
def server():
    """A server whose administrator has installed the oldest Salt in an environment of its own."""
    with boot("int-salts", image=ensure("bookworm-ready")) as host:
        put_checkout(host)
        host.write("/root/override.txt", 'timelib ; sys_platform == "never"\n')
        index = host.run("sed -n 's/^index-url *= *//p' /etc/pip.conf").stdout.strip()
        options = f"--default-index {index}" if index else ""
        host.run(
            f"rm -rf /opt/django-formula/salt && {UV} venv -q /opt/salt && "
            f"{UV} pip install -q --system-certs {options} --python /opt/salt/bin/python "
            f"--override /root/override.txt 'salt=={OLDEST}' 'setuptools<80' && "
            "ln -s /opt/salt/bin/salt-call /usr/local/bin/",
            timeout=300,
        )
        yield Server(host)


def test_salt_that_is_there_is_used(server):
    done = server.bootstrap()
    assert f"Salt {OLDEST} of this server is used" in done.stdout
    assert "answers 200" in done.stdout, done.stdout
    assert not server.host.exists("/opt/django-formula/salt")
    assert "Traceback" not in done.stdout + done.stderr
    server.assert_settled()
    again = server.bootstrap()
    assert "No changes" in again.stdout, again.stdout


def test_a_server_that_serves_gets_a_master(server):
    """The master is on the server itself, and has its pillar."""
    live, master = server.live(), server.bootstrap("--master").stdout
    assert f"Salt {OLDEST} of this server is used" in master
    words = re.search(r"sudo ./bootstrap (--minion .*) --id NAME\n", master)[1]
    joined = server.bootstrap(*words.split(), "--id", "solo").stdout
    assert "minion.d/django-formula.conf is removed: this server had no master" in joined
    accept = re.search(r"sudo (salt-run django.accept solo .*)\n", joined)[1]
    assert server.run(accept).stdout.strip() == "solo is accepted and at this master's orders"
    argv = ["salt", "--timeout=300", "--out=json", "--static", "solo", "state.apply"]
    results = json.loads(server.run(argv).stdout)["solo"].values()
    assert [result["__id__"] for result in results if result["changes"]] == []
    assert server.live() == live and server.host.get("/").status == 200
