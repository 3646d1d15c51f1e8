"""A server behind a balancer of somebody else: who tells it, and what it may ask."""

import json

import pytest

from test.hosts import boot, network

from . import depot
from .machines import SITE, ensure
from .server import Browser, Server, put_checkout

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.proves(
        "several servers",
        "balancer of somebody else (hook; AWS target groups by moto)",
        "told of its backends, again after a failure; asks for health by address; a host leaves "
        "its target group and comes back",
        on=["Debian 12"],
    ),
]
HOOK = "/usr/local/sbin/tell-balancer"
HEARD = "/root/heard"
SCRIPT = f"""\
#!/bin/sh
cat > {HEARD}.new
[ ! -e /root/broken ] || {{ echo 'the balancer is being rebooted' >&2; exit 7; }}
cat {HEARD}.new >> {HEARD}
"""
PILLAR = f"""\
django:
  firewall: {{}}
  balancer:
    external:
      from: [{network.GATEWAY}]
      %(hook)s
      aws:
        target_groups: ['%(group)s']
        endpoint: {depot.API}
        access_key: {depot.ACCESS_KEY}
        secret_key: "{depot.SECRET_KEY}"
  projects:
    depot:
      source: {{path: {depot.SOURCE}}}
      settings: depot.settings
      domains: [depot.test%(more)s]
      database: {{engine: sqlite}}
      cache: {{engine: locmem}}
      app: {{workers: 1}}
      web: {{https: true}}
"""
TOLD = "the balancer in front knows its backends"
TARGET = "this host is a target of the balancer in front"
OTHER = "10.77.255.9"


def pillar(server, more="", hook=f"hook: [{HOOK}]"):
    server.pillar(PILLAR % {"group": server.group, "more": more, "hook": hook})


@pytest.fixture(scope="module")
def server():
    """
    The depot behind a balancer with another target; `server.first` is the first run, and
    `server.predicted` what a test said before.
    """
    with boot("int-ext", image=ensure(SITE)) as host:
        put_checkout(host)
        server = Server(host)
        depot.put_source(server)
        depot.install_emulator(server, f"moto=={depot.MOTO_VERSION} flask flask-cors")
        depot.start_emulator(server)
        server.group = depot.at_emulator(
            server,
            f"""
network = client("ec2").create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
elb = client("elbv2")
made = elb.create_target_group(Name="depot", Protocol="HTTP", Port=80, VpcId=network,
                               TargetType="ip")
answer = made["TargetGroups"][0]["TargetGroupArn"]
elb.register_targets(TargetGroupArn=answer, Targets=[{{"Id": {OTHER!r}, "Port": 80}}])
""",
        )
        host.write(HOOK, SCRIPT, mode=0o755)
        pillar(server)
        server.name = server.call("grains.get", "id")
        server.predicted = server.predict()
        server.first = server.apply()
        yield server


def heard(server):
    """The lists that the hook got, the oldest first."""
    text, found = server.host.read(HEARD), []
    while text:
        value, end = json.JSONDecoder().raw_decode(text)
        found.append(value)
        text = text[end:].lstrip()
    return found


def targets(server):
    """Addresses of the targets that the balancer has."""
    return depot.at_emulator(
        server,
        f"""
said = client("elbv2").describe_target_health(TargetGroupArn={server.group!r})
answer = sorted(each["Target"]["Id"] for each in said["TargetHealthDescriptions"])
""",
    )


def test_the_first_run_tells_once_and_registers_once(server):
    for state_id in (TARGET, TOLD):
        assert state_id in server.predicted.changed and state_id in server.first.changed
    (backends,) = heard(server)
    expected = {"name": server.name, "address": server.host.address, "port": 80, "scheme": "http"}
    assert backends["depot"]["servers"] == [{**expected, "drained": False}]
    assert backends == server.call("django.backends")
    assert targets(server) == sorted([OTHER, server.host.address])
    server.assert_settled()
    assert len(heard(server)) == 1


def test_health_is_told_by_address_to_the_balancer_alone(server):
    asked = heard(server)[0]["depot"]["health"]["by_address"]
    assert asked == {"port": 80, "path": "/-/health/depot"}
    assert Browser(server.host).get(asked["path"]).status_code == 200
    assert Browser(server.host).get("/").status_code == 421
    program = f"""\
from http.client import HTTPConnection
asking = HTTPConnection("127.0.0.1")
asking.request("GET", {asked["path"]!r})
print(asking.getresponse().status)
"""
    assert server.run(["python3", "-"], input=program).stdout.strip() == "421"


def test_a_change_that_was_not_told_is_told_by_the_next_run(server):
    server.run(["touch", "/root/broken"])
    pillar(server, ", www.depot.test")
    outcome = server.apply(check=False)
    assert outcome.failed == [TOLD], outcome.told()
    assert "the balancer is being rebooted" in outcome.comment(TOLD)
    assert Browser(server.host, "www.depot.test").get("/").status_code == 200
    server.run(["rm", "/root/broken"])
    server.assert_mended(TOLD)
    assert heard(server)[1]["depot"]["domains"] == ["depot.test", "www.depot.test"]


def test_the_last_one_is_not_drained(server):
    """For all that the hook's list tells; the target group has another."""
    refused = server.run(["salt-call", "django.drain", server.name], check=False)
    assert refused.returncode == 1 and "no host would serve" in refused.stdout + refused.stderr
    assert server.call("django.drained") == []


def test_a_host_leaves_its_target_group_and_comes_back(server):
    pillar(server, hook="")
    said = server.call("django.drain", server.name)
    assert said["left"] == 0 and targets(server) == [OTHER]
    outcome = server.apply()
    assert TARGET not in outcome.changed and "is drained since" in outcome.comment(TARGET)
    assert targets(server) == [OTHER], "it stays out"
    said = server.call("django.undrain", server.name)
    assert "depot says of it: healthy" in said["comment"]
    assert targets(server) == sorted([OTHER, server.host.address])
    assert server.apply().changed == []


def test_the_secret_is_seen_nowhere(server):
    for name in ("/etc/nginx", "/var/log", "/var/cache/salt", "/srv/django", HEARD):
        found = server.run(["grep", "-rlF", depot.SECRET_KEY, name], check=False)
        assert found.stdout == "", name
