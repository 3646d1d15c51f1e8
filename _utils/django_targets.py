"""
Target groups of Amazon's load balancers: each host with the role web registers itself, and those
that are left deregister who is no backend any more. What was never a backend is nobody's of ours.
"""

import os
import pathlib

import django_aws
import django_layout

PATH = "/etc/django-formula/targets.json"
MODE = 0o600
OUT = ("draining", "unavailable.draining")  # on its way out, so not registered any more
WELL = ("healthy", "unused")  # not in use: by no listener yet
REASONS = {
    "TargetGroupNotFound": "target_groups: there is no such target group",
    "InvalidTarget": "target_groups: the address or the instance is not in its network",
    "NoCredentials": "access_key: there is none, and this host has no role or file with one",
    "InvalidClientTokenId": "access_key: it is not known",
    "SignatureDoesNotMatch": "secret_key: it does not fit the access key",
    "NoAnswer": "endpoint: it does not answer",
}
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
ACTIONS = (
    "elasticloadbalancing:DescribeTargetGroups, DescribeTargetHealth, RegisterTargets and"
    " DeregisterTargets, and ec2:DescribeInstances where the group has instances"
)


class TargetError(Exception):
    """The targets are not as they should be; the message says why."""


class Group:
    """
    A target group as it is, and what is to become of it.

    arn, answer
        Its ARN, and what it says of itself: :data:`~django_aws.PROGRAM` has it.
    members
        Addresses of the hosts with the role web, by name.
    ports
        Those of the front door, that of HTTP first.
    remembered
        Targets that were of the map once (list of pairs).
    """

    def __init__(self, arn, answer, members, ports, remembered=()):
        self.name, self.answer = title(arn), answer
        self.port = answer["port"] if answer["port"] in ports else ports[0]
        self.remembered = {tuple(each) for each in remembered}
        self._ids = {name: answer["ids"].get(address) for name, address in members.items()}
        self._hosts = {found: name for name, found in self._ids.items()}
        self._unknown = sorted(name for name, found in self._ids.items() if not found)
        self.listed = {
            (each["id"], each["port"]): each["state"]
            for each in answer["targets"]
            if each["state"] not in OUT
        }

    def target(self, host):
        """A host's target: its id and port."""
        if not self._ids[host]:
            raise TargetError(
                f"django:hosts:{host}:address: no instance in the network of {self.name} has it as"
                " its private address"
            )
        return self._ids[host], self.port

    def words(self, target):
        """A target in words (str): its host where it is one of the map."""
        name = self._hosts.get(target[0])
        return name if name and target[1] == self.port else f"{target[0]}:{target[1]}"

    def backends(self):
        """Targets (set) of the map's hosts."""
        return {(each, self.port) for each in self._ids.values() if each}

    def plan(self, host, drained, exclusive):
        """
        Targets to register and to deregister (two sorted lists).

        A host that is still of the map looks after all of its targets itself, as when its front
        door moves to another port. Of the others none is deregistered while the group would be
        left without a healthy target, as where the pillar has lost its hosts: a later run does it.

        drained
            Whether this host is to be none.
        exclusive
            Whether those go that never were of the map.
        """
        own, wanted = self.target(host), self.backends()
        if exclusive and self._unknown:
            raise TargetError(
                f"django:balancer:external:aws:exclusive: {self.name} does not know which instances"
                f" {', '.join(self._unknown)} are, so that they could be taken for others"
            )
        gone = {
            target
            for target in self.listed
            if target not in wanted and (exclusive or target in self.remembered)
        }
        others = {found for name, found in self._ids.items() if name != host}
        gone = {target for target in gone if target[0] not in others}
        well = {target for target, state in self.listed.items() if state in WELL}
        if not well - gone:
            gone = {target for target in gone if target[0] == own[0]}
        if drained:
            return [], sorted(gone | ({own} & set(self.listed)))
        return [own] if own not in self.listed else [], sorted(gone)

    def ours(self, *more):
        """Targets (sorted list) that are of the map, or were and stay, and ``more``: to be kept."""
        kept = (self.backends() | self.remembered) & set(self.listed)
        return [list(each) for each in sorted({*kept, *more})]

    def serves_without(self, host):
        """Whether another target is well."""
        own = self.target(host)
        return any(state in WELL for target, state in self.listed.items() if target != own)

    def states(self):
        """What the group says of each target, in words (dict)."""
        return {
            self.words((each["id"], each["port"])): " ".join(
                [each["state"], *([f"({each['reason']})"] if each["reason"] else [])]
            )
            for each in self.answer["targets"]
        }


def title(arn):
    """The name (str) of a target group."""
    return arn.split("/")[1]


class Groups:
    """
    The target groups of this host.

    config
        The configuration, with its secrets.
    read_file
        Function from a ``salt://`` URL to the file's text.
    """

    def __init__(self, config, read_file):
        external = config["external"]
        self._host, self._members = config["host"]["name"], external["members"]
        self._given, self._ports = external["targets"], external["ports"]
        self._read_file = read_file

    def settle(self, drained, test=False):
        """
        Let this host be a target of each group, or of none where it is ``drained``, and those that
        are no backends any more no targets. Returns what changed (dict) and what the groups say of
        this host (dict by group).
        """
        kept = django_layout.read_json(PATH)
        if test and not os.path.exists(django_aws.PYTHON):
            names = [] if drained else map(title, self._given["target_groups"])
            return {name: {"registered": [self._host]} for name in names}, {}
        changes, states = {}, {}
        for arn in self._given["target_groups"]:
            group = self._look(arn, kept.get(arn, []))
            register, deregister = group.plan(self._host, drained, self._given["exclusive"])
            lists = {"registered": register, "deregistered": deregister}
            lists = {key: [group.words(target) for target in lists[key]] for key in lists}
            if register or deregister:
                changes[group.name] = {key: found for key, found in lists.items() if found}
            if test:
                continue
            # Before anything is done, so that a run which is killed has not lost what is ours.
            _remember(kept, arn, group.ours(*register, *deregister))
            if register or deregister:
                group = self._change(arn, group, register, deregister)
                _remember(kept, arn, group.ours())
            states[group.name] = group.states().get(self._host, "no target")
        return changes, states

    def _change(self, arn, group, register, deregister):
        """The group after targets were registered and deregistered."""
        answer = self._ask("change_targets", arn, register=register, deregister=deregister)
        group = self._group(arn, {**group.answer, **answer}, group.remembered)
        left = sorted({*register} - {*group.listed}) + sorted({*deregister} & {*group.listed})
        if left:
            words = ", ".join(group.words(target) for target in left)
            raise TargetError(f"{group.name} did what it was told, but not with {words}")
        return group

    def look(self):
        """What each group says of its targets (dict of dict)."""
        found = (self._look(arn) for arn in self._given["target_groups"])
        return {group.name: group.states() for group in found}

    def refuse_the_last(self):
        """A TargetError where nobody else would serve."""
        for arn in self._given["target_groups"]:
            group = self._look(arn)
            if not group.serves_without(self._host):
                states = group.states()
                others = {name: states[name] for name in states if name != self._host}
                told = ", ".join(f"{name} is {state}" for name, state in others.items())
                raise TargetError(
                    f"Without {self._host} nobody would serve in {group.name}"
                    f" ({told or 'there is no other'}). Nothing was changed."
                )

    def wait(self, states, seconds):
        """
        What the groups say of this host (dict), once that is one of ``states`` (``gone``: it is no
        target) or the time is over.
        """
        found = {}
        for arn in self._given["target_groups"]:
            group = self._look(arn)
            answer = self._ask(
                "await_target",
                arn,
                target=list(group.target(self._host)),
                states=list(states),
                patience=seconds,
            )
            found[group.name] = answer["state"]
        return found

    def _look(self, arn, remembered=()):
        addresses = sorted(self._members.values())
        answer = self._ask("look_at_targets", arn, addresses=addresses)
        if answer["type"] not in ("ip", "instance"):
            raise TargetError(
                f"django:balancer:external:aws:target_groups: {title(arn)} takes no hosts, as its"
                f" targets are of the type {answer['type']}"
            )
        return self._group(arn, answer, remembered)

    def _group(self, arn, answer, remembered=()):
        return Group(arn, answer, self._members, self._ports, remembered)

    def _ask(self, do, arn, **more):
        where = {"endpoint": self._given["endpoint"], "region": arn.split(":")[3]}
        keys = (self._given["access_key"], self._given["secret_key"])
        wanted = django_aws.request(do, where, keys, group=arn, **more)
        try:
            return django_aws.ask(wanted, self._read_file(django_aws.PROGRAM))
        except django_aws.AwsError as error:
            raise TargetError(self._told(title(arn), error)) from None

    def _told(self, name, error):
        key = REASONS.get(error.code, f"target_groups: {name} cannot be used")
        if error.code in DENIED:
            key = f"access_key: these credentials may not do all of {ACTIONS}"
        text = f"django:balancer:external:aws:{key} ({name}: {error.code}: {error})"
        secret = self._given["secret_key"]
        return text.replace(secret, "***") if secret else text


def _remember(kept, arn, targets):
    """Note which targets of a group are ours, if that differs from what is ``kept``."""
    if kept.get(arn) != targets:
        kept[arn] = targets
        pathlib.Path(PATH).parent.mkdir(exist_ok=True)
        django_layout.write_json(PATH, kept, MODE)
