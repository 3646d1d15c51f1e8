"""Hosts in target groups of Amazon's load balancers, which an emulator stands in for."""

import json
import pathlib
import stat

import django_aws
import django_drained
import django_outside
import django_run
import django_targets
import emulator
import pytest
from front import free_port

ROOT = pathlib.Path(__file__).resolve().parents[2]
ADDRESSES = {"web1": "10.0.1.11", "web2": "10.0.1.12"}
STRANGER = "10.0.1.99"
MAKE = """\
ec2, elb = client("ec2"), client("elbv2")
network = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
subnet = ec2.create_subnet(VpcId=network, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
instances = {}
for address in addresses if kind == "instance" else []:
    made = ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1, SubnetId=subnet,
                             PrivateIpAddress=address)
    instances[address] = made["Instances"][0]["InstanceId"]
made = elb.create_target_group(Name=name, TargetType=kind, **(
    {} if kind == "lambda" else {"Protocol": "HTTP", "Port": port, "VpcId": network}))
answer = [made["TargetGroups"][0]["TargetGroupArn"], instances]
"""
LISTED = """\
said = client("elbv2").describe_target_health(TargetGroupArn=group)
answer = sorted((each["Target"]["Id"], each["Target"]["Port"])
                for each in said["TargetHealthDescriptions"])
"""
REGISTER = """\
answer = client("elbv2").register_targets(TargetGroupArn=group,
    Targets=[{"Id": name, "Port": 80} for name in names])["ResponseMetadata"]["HTTPStatusCode"]
"""


@pytest.fixture(scope="module")
def aws():
    with emulator.running() as running:
        yield running


@pytest.fixture
def fleet(aws, tmp_path, monkeypatch, request):
    monkeypatch.setattr(django_aws, "PYTHON", emulator.PYTHON)
    monkeypatch.setattr(django_aws, "run", aws.run)
    return Fleet(aws, tmp_path, monkeypatch, f"group-{abs(hash(request.node.name)) % 10**9}")


class Fleet:
    """Hosts whose target group is at the emulator."""

    def __init__(self, aws, folder, monkeypatch, name):
        self._aws, self._folder, self._monkeypatch, self._name = aws, folder, monkeypatch, name
        self.endpoint, self.members, self.exclusive = aws.url, dict(ADDRESSES), False
        self.ports = [80]

    def make(self, kind="ip", port=80):
        """A target group, and instances where it has such."""
        values = {"kind": kind, "port": port, "name": self._name}
        self.group, self.instances = self._aws.ask(MAKE, addresses=[*ADDRESSES.values()], **values)
        return self

    def on(self, host):
        """What a host knows of the groups; it has its own notes."""
        for module in (django_targets, django_drained):
            path = self._folder / host / f"{module.__name__}.json"
            self._monkeypatch.setattr(module, "PATH", str(path))
        targets = {"target_groups": [self.group], "exclusive": self.exclusive}
        keys = dict(zip(("access_key", "secret_key"), emulator.KEYS, strict=True))
        external = {"members": self.members, "ports": self.ports, "hook": {}}
        external["targets"] = {**targets, "endpoint": self.endpoint, **keys}
        return {"host": {"name": host}, "external": external, "backends": {}}

    def groups(self, host):
        return django_targets.Groups(self.on(host), read_file)

    def keeper(self, host):
        return django_outside.Keeper(self.on(host), read_file)

    def settle(self, host, drained=False):
        """What a run changes, which its test mode said before, and a second one does not."""
        before = self.listed()
        predicted, _ = self.groups(host).settle(drained, test=True)
        assert self.listed() == before, "a test changes nothing"
        changes, states = self.groups(host).settle(drained)
        assert predicted == changes
        assert self.groups(host).settle(drained)[0] == {}
        self.states = states
        return changes.get(self._name, {})

    def listed(self):
        return [tuple(each) for each in self._aws.ask(LISTED, group=self.group)]

    def register(self, *names):
        """What somebody else does."""
        self._aws.ask(REGISTER, group=self.group, names=names)


def read_file(url):
    return (ROOT / "salt" / url.removeprefix("salt://")).read_text()


def test_each_host_registers_itself(fleet):
    fleet.make()
    assert fleet.settle("web1") == {"registered": ["web1"]}
    assert fleet.listed() == [("10.0.1.11", 80)] and list(fleet.states.values()) == ["healthy"]
    assert fleet.settle("web2") == {"registered": ["web2"]}
    assert fleet.listed() == [("10.0.1.11", 80), ("10.0.1.12", 80)]
    assert stat.S_IMODE(pathlib.Path(django_targets.PATH).stat().st_mode) == 0o600


def test_requests_go_to_a_python_that_ends_with_them(fleet, monkeypatch):
    """The others save the time of its start."""
    fleet.make()
    monkeypatch.setattr(django_aws, "run", django_run.run)
    assert [*fleet.groups("web1").settle(False)[1].values()] == ["healthy"]
    assert fleet.listed() == [("10.0.1.11", 80)]


def test_who_leaves_the_map_is_deregistered_by_those_that_stay(fleet):
    fleet.make()
    fleet.register(STRANGER)
    for host in ("web1", "web2", "web1"):
        fleet.settle(host)
    del fleet.members["web2"]
    assert fleet.settle("web1") == {"deregistered": ["10.0.1.12:80"]}
    assert fleet.listed() == [("10.0.1.11", 80), (STRANGER, 80)], "which was never ours"
    fleet.register(ADDRESSES["web2"])
    assert fleet.settle("web1") == {}, "as somebody else's it may be there"


def test_the_last_healthy_target_is_not_deregistered_by_others(fleet, monkeypatch):
    fleet.make()
    for host in ("web1", "web2", "web1"):
        fleet.settle(host)
    del fleet.members["web2"]
    with monkeypatch.context() as context:
        context.setattr(django_targets, "WELL", ())
        assert fleet.settle("web1") == {}
    assert fleet.settle("web1") == {"deregistered": ["10.0.1.12:80"]}


def test_a_group_of_our_own_has_nobody_else(fleet):
    fleet.make().exclusive = True
    fleet.register(STRANGER, ADDRESSES["web2"])
    changes = {"registered": ["web1"], "deregistered": [f"{STRANGER}:80"]}
    assert fleet.settle("web1") == changes
    assert fleet.listed() == [("10.0.1.11", 80), ("10.0.1.12", 80)]


def test_what_a_killed_run_has_done_is_known_to_be_ours(fleet, monkeypatch):
    fleet.make()
    for host in ("web1", "web2", "web1"):
        fleet.settle(host)
    del fleet.members["web2"]

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(django_targets.Groups, "_change", killed)
        fleet.groups("web1").settle(False)
    assert fleet.settle("web1") == {"deregistered": ["10.0.1.12:80"]}


def test_hosts_are_known_as_instances(fleet):
    fleet.make("instance").exclusive = True
    assert fleet.settle("web1") == {"registered": ["web1"]}
    assert fleet.listed() == [(fleet.instances["10.0.1.11"], 80)]
    fleet.members["web3"] = "10.0.1.13"
    with pytest.raises(django_targets.TargetError, match="which instances web3 are"):
        fleet.groups("web1").settle(False)
    fleet.exclusive = False
    assert fleet.settle("web1") == {}
    with pytest.raises(django_targets.TargetError, match="django:hosts:web3:address: no instance"):
        fleet.groups("web3").settle(False)


def test_a_group_for_https_gets_that_port(fleet):
    fleet.make(port=443).ports = [80, 443]
    fleet.settle("web1")
    assert fleet.listed() == [("10.0.1.11", 443)]


def test_a_front_door_that_moved_is_another_target():
    """
    Each host moves its own, the others serve at the old port until they have. Not asked of the
    emulator, which takes all ports of a host for one.
    """
    hosts = {"web1": "10.0.1.11", "web2": "10.0.1.12"}
    old = [[address, 443] for address in hosts.values()]
    listed = [{"id": id_, "port": port, "state": "healthy", "reason": ""} for id_, port in old]
    answer = {"port": 80, "ids": {each: each for each in hosts.values()}, "targets": listed}
    group = django_targets.Group("a:targetgroup/shop/1", answer, hosts, [8080], old)
    found = group.plan("web1", drained=False, exclusive=False)
    assert found == ([("10.0.1.11", 8080)], [("10.0.1.11", 443)])


def test_a_drained_host_is_none_until_it_comes_back(fleet, monkeypatch):
    fleet.make()
    with pytest.raises(django_targets.TargetError, match="Without web1 nobody would serve"):
        fleet.settle("web1")
        fleet.keeper("web1").drain("web1", 5)
    assert fleet.listed() == [("10.0.1.11", 80)] and django_drained.load() == {}
    fleet.settle("web2")
    keeper = fleet.keeper("web1")
    predicted, _ = keeper.drain("web1", 5, test=True)
    changes, states = keeper.drain("web1", 5)
    assert predicted == changes and list(states.values()) == ["gone"]
    assert fleet.listed() == [("10.0.1.12", 80)] and keeper.drained() == ["web1"]
    assert fleet.settle("web1", drained=True) == {}
    changes, states = keeper.undrain("web1", 5)
    assert changes["web1"] == {"old": "drained", "new": "ready"}
    assert list(states.values()) == ["healthy"] and keeper.drained() == []
    assert fleet.listed() == [("10.0.1.11", 80), ("10.0.1.12", 80)]


def test_an_unhealthy_host_does_not_come_back(fleet):
    keeper = django_outside.Keeper({**fleet.make().on("web1"), "backends": shop()}, read_file)
    django_drained.pathlib.Path(django_drained.PATH).parent.mkdir()
    django_drained.save({"web1": "since then"})
    with pytest.raises(django_outside.OutsideError, match="web1 stays drained.*no answer"):
        keeper.undrain("web1", 0)
    assert fleet.listed() == [] and keeper.drained() == ["web1"]


def shop():
    """Backends whose front door is closed."""
    server = {"name": "web1", "address": "10.0.1.11", "port": free_port(), "scheme": "http"}
    health = {"host": "shop.test", "path": "/up/", "status": [200]}
    return {"shop": {"servers": [server], "health": health}}


def test_all_targets_are_told_by_their_hosts(fleet):
    fleet.make()
    fleet.register(STRANGER)
    fleet.settle("web1")
    assert [*fleet.groups("web2").look().values()] == [
        {"web1": "healthy", f"{STRANGER}:80": "healthy"}
    ]


def test_a_test_before_boto3_is_there_says_what_it_can(fleet, monkeypatch):
    fleet.make()
    monkeypatch.setattr(django_aws, "PYTHON", "/nowhere/python")
    name = django_targets.title(fleet.group)
    assert fleet.groups("web1").settle(False, test=True) == ({name: {"registered": ["web1"]}}, {})
    assert fleet.groups("web1").settle(True, test=True) == ({}, {})


def test_a_group_that_is_not_there_is_told(fleet):
    fleet.make()
    fleet.group = fleet.group[:-4] + "0000"
    with pytest.raises(django_targets.TargetError, match="aws:target_groups: there is no such"):
        fleet.groups("web1").settle(False)


def test_a_group_that_takes_no_hosts_is_told(fleet):
    fleet.make("lambda")
    with pytest.raises(django_targets.TargetError, match="takes no hosts.*type lambda"):
        fleet.groups("web1").settle(False)


def test_a_service_that_is_away_is_told(fleet):
    fleet.make().endpoint = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(django_targets.TargetError, match="aws:endpoint: it does not answer"):
        fleet.groups("web1").settle(False)


def test_keys_that_are_refused_are_told_and_not_shown(fleet, aws):
    fleet.make()
    aws.demand_keys(True)
    try:
        with pytest.raises(django_targets.TargetError, match="aws:access_key: it is not known"):
            fleet.groups("web1").settle(False)
    finally:
        aws.demand_keys(False)
    told = []
    fleet_targets = fleet.groups("web1")
    error = django_aws.AwsError(f"the key {emulator.KEYS[1]} is wrong", "Odd")
    told.append(fleet_targets._told("shop", error))
    assert emulator.KEYS[1] not in json.dumps(told) and "cannot be used (shop: Odd" in told[0]
