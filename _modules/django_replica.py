"""
Replicas of the PostgreSQL database: who may follow, who follows, and who takes the primary's place.

One module with ``django.py`` to Salt.
"""

import pathlib
import time

import django_access
import django_layout
import django_psql
import django_replica
import django_service
import django_standby
from django_run import CommandError
from salt.exceptions import CommandExecutionError

__virtualname__ = "django"

HEARD_SECONDS = 5  # within which a primary that sent something is taken to be there
TURN_SECONDS = 10  # that a standby may take to turn to another primary
POSTGRES = "postgres"
SETTINGS = "conf.d/20-django-reload.conf"
TEMPLATE = f"salt://django/database/files/etc/postgresql/{SETTINGS}.j2"


def __virtual__():
    return __virtualname__


def _access():
    return django_access.Access(__salt__, __pillar__, __grains__, __context__)


def _server(role=None):
    """The configuration of this host's PostgreSQL (dict), which has replicas or is one."""
    server = _access().valid()["postgresql"]
    replication = server.get("replication") or {}
    if not replication or role not in (None, replication["role"]):
        wanted = {None: "database or replica", "primary": "database", "standby": "replica"}[role]
        raise CommandExecutionError(
            f"The pillar gives this host no role {wanted} of a database with replicas"
        )
    return server


def _ask(server, peer, query=django_replica.WHO):
    """What another server answers (dict or None), and why it does not (str)."""
    try:
        return django_psql.ask_peer(server, peer, query), ""
    except CommandError as error:
        words = django_psql.told(error)
        return None, "" if django_psql.is_silent(error) else words


def _primary(server):
    """The answer (dict) of the map's primary; CommandExecutionError where none is there."""
    peer = server["replication"]["primary"]
    answer, refusal = _ask(server, peer)
    if answer is None:
        words = f"does not let this host in: {refusal}" if refusal else "does not answer"
        raise CommandExecutionError(
            f"PostgreSQL of {peer['name']} ({peer['address']}) {words}. Apply there first, then"
            " here"
        )
    if answer["standby"]:
        raise CommandExecutionError(
            f"{peer['name']} is to be followed and is a standby itself: promote it first"
        )
    if str(answer["version"]) != server["version"]:
        raise CommandExecutionError(
            f"{peer['name']} has PostgreSQL {answer['version']}, and a replica needs the same: say"
            f" django:postgresql:version: '{answer['version']}', which this host has"
            f" {server['version']} for"
        )
    return answer


# States


def keep_replication_login(test=False):
    """
    Write the password by which the database's servers come in at each other to a file that only
    PostgreSQL's user can read.

    CLI Example:

    .. code-block:: bash

        salt-call django.keep_replication_login
    """
    replication = _server()["replication"]
    path, text = replication["passfile"], django_replica.passfile(replication["password"])
    uid, gid = django_layout.owner(POSTGRES, POSTGRES)
    differing = django_layout.file_differences(path, text, 0o600, uid, gid)
    if not differing:
        return {"changes": {}, "comment": f"{path} is as wanted."}
    if not test:
        if None in (uid, gid):
            raise CommandExecutionError(f"{path}: there is no user {POSTGRES}")
        django_layout.write_atomic(path, text, 0o600, uid, gid)
    words = "would be written" if test else "was written"
    return {"changes": {path: differing}, "comment": f"{path} {words}."}


def admit_replicas(test=False):
    """
    Let the map's replicas follow this host's PostgreSQL: their role, and a slot for each, so that
    the log is kept until they have it. With ``synchronous`` commits wait for those that stream.

    CLI Example:

    .. code-block:: bash

        salt-call django.admit_replicas test=True
    """
    server = _server("primary")
    try:
        found = django_psql.ask_here(server, django_replica.PRIMARY)
    except CommandError as error:
        if not test:
            raise CommandExecutionError(f"PostgreSQL: {error}") from None
        if pathlib.Path(server["config_dir"], "postgresql.conf").exists():
            # It does not run; a run starts it before it asks.
            return {"changes": {}, "comment": "PostgreSQL does not run."}
        found = {}
    if found.get("standby"):
        raise CommandExecutionError(
            "This host's PostgreSQL is a standby: promote it (salt-call django.promote)"
        )
    steps, names, before = _steps(server, found)
    changes = {"replicas": [step[0] for step in steps]} if steps else {}
    if names != before:
        changes["commits wait for one of"] = {"old": before, "new": names}
    if changes and not test:
        found = _admit(server, steps, names, before)
    warnings = django_replica.absent(server["replication"], found)
    if server["replication"]["synchronous"] and not names:
        warnings.append(
            "no commit waits for a replica before one streams and this is applied again"
        )
    words = "would be let in" if test else "are let in"
    comment = f"Replicas {words}." if changes else "Replicas may follow."
    return {"changes": changes, "comment": comment, "warnings": warnings}


def _steps(server, found):
    """What the primary lacks (list of pairs), whom commits are to wait for and whom they do."""
    replication = server["replication"]
    path = pathlib.Path(server["config_dir"], "conf.d", django_replica.SYNCHRONOUS)
    before = django_replica.awaited(path.read_text(encoding="utf-8")) if path.exists() else []
    names = django_replica.joined(replication, found, before)
    steps = django_replica.differences(replication, found)
    note = django_replica.noting(found, names)
    return steps + ([note] if note else []), names, before


def _admit(server, steps, names, before):
    """Carry out :func:`_steps`; the server's answer after it (dict)."""
    try:
        if names != before:
            _await(server, names)
        for _, statement in steps:
            django_psql.run_here(server, "postgres", statement + ";")
        found = django_psql.ask_here(server, django_replica.PRIMARY)
    except (CommandError, django_service.ServiceError, OSError) as error:
        raise CommandExecutionError(_redacted(server, error)) from None
    left = _steps(server, found)[0]
    if left:
        words = "; ".join(step[0] for step in left)
        raise CommandExecutionError(f"After the change PostgreSQL still lacks: {words}")
    return found


def _await(server, names):
    """Let commits wait for one of these, or for nobody."""
    path = pathlib.Path(server["config_dir"], "conf.d", django_replica.SYNCHRONOUS)
    django_layout.write_atomic(path, django_replica.awaiting(names))
    django_service.act(server["replication"]["unit"], "reload")


def _redacted(server, error):
    words = django_psql.told(error) if isinstance(error, CommandError) else error
    return f"PostgreSQL: {words}".replace(server["replication"]["password"], "**********")


def keep_standby(test=False):
    """
    Let this host's PostgreSQL be a hot standby of the map's primary. A cluster in which nobody has
    made anything yet is replaced by a copy of the primary; one with data never is.

    CLI Example:

    .. code-block:: bash

        salt-call django.keep_standby test=True
    """
    server = _server("standby")
    replication = server["replication"]
    name, primary = replication["name"], replication["primary"]
    kind = django_standby.kind(replication["data"])
    try:
        if kind == "standby":
            return {"changes": {}, **_following(server, test)}
        if kind == "data":
            return _left_alone(server)
        changes = {name: f"standby of {primary['name']}"}
        if test:
            return {"changes": changes, "comment": f"{name} would follow {primary['name']}."}
        answer = _primary(server)
        if replication["slot"] not in (answer["slots"] or {}):
            raise CommandExecutionError(
                f"{primary['name']} keeps no log for this host: apply there first, then here"
            )
        django_standby.copy(server)
        _start(server)
    except (CommandError, django_service.ServiceError, OSError) as error:
        raise CommandExecutionError(_redacted(server, error)) from None
    return {"changes": changes, "comment": f"{name} follows {primary['name']} now."}


def _start(server):
    """Start a standby; CommandExecutionError where it does not stream then."""
    primary = server["replication"]["primary"]["name"]
    django_standby.start(server)
    if not django_standby.streams(server):
        text = f"It was started as a standby of {primary}, and does not stream from it"
        raise CommandExecutionError(f"{text}: see /var/log/postgresql")


def _following(server, test):
    """Whether a standby streams: ``{"comment": str}``, and ``"warnings"`` where it does not."""
    replication, primary = server["replication"], server["replication"]["primary"]
    try:
        found = django_psql.ask_here(server, django_replica.STANDBY)
    except CommandError as error:
        text = (
            f"This host is a standby, and its PostgreSQL does not answer: {django_psql.told(error)}"
        )
        return {"comment": text, "warnings": [text]}
    if django_standby.is_streaming(server, found):
        return {"comment": f"This host follows {primary['name']}."}
    answer, refusal = _ask(server, primary)
    if answer is None:
        why = f"lets nobody in: {refusal}" if refusal else "does not answer"
        text = f"It does not stream: {primary['name']} {why}"
    elif answer["system"] != found["system"]:
        raise CommandExecutionError(
            f"This host is a standby of another database than that of {primary['name']}. Nothing"
            " was changed"
        )
    elif (answer["slots"] or {}).get(replication["slot"]) == "lost":
        raise CommandExecutionError(
            f"This host has been away for too long: {primary['name']} has no longer the log that it"
            " misses. salt-call django.rejoin copies it anew"
        )
    elif not test and django_standby.streams(server, TURN_SECONDS):
        return {"comment": f"This host follows {primary['name']}."}
    else:
        text = f"It does not stream from {primary['name']}: see /var/log/postgresql"
    return {"comment": f"This host is a standby. {text}.", "warnings": [text]}


def _left_alone(server):
    """What to say of a cluster with data that is no standby; it is never changed."""
    replication, primary = server["replication"], server["replication"]["primary"]["name"]
    if pathlib.Path(replication["data"] + django_standby.REWINDING).exists():
        text = "It was on its way to be a standby when that was broken off"
        raise CommandExecutionError(f"{text}: salt-call django.rejoin")
    own = _own(server)
    answer, _ = _ask(server, replication["primary"])
    standing = django_replica.standing(own, answer)
    if standing == django_replica.PROMOTED:
        text = (
            f"This host is a primary, and the pillar calls it a replica: give it the role database,"
            f" and {primary} the role replica. It was left as it is"
        )
        return {"changes": {}, "comment": f"{text}.", "warnings": [text]}
    if standing == django_replica.LEFT:
        raise CommandExecutionError(
            f"This host was the primary before {primary} took its place. What it has is not changed"
            " by a run: salt-call django.rejoin lets it follow"
        )
    if standing == django_replica.STRANGE:
        raise CommandExecutionError(django_standby.strange(server))
    raise CommandExecutionError(
        f"This host's PostgreSQL has data and is no standby, and {primary} does not answer what it"
        " is to it. Nothing was changed"
    )


def _own(server):
    """System and timeline (dict) of this host's cluster, whether it runs or not."""
    try:
        found = django_psql.ask_here(server, django_replica.WHO)
    except CommandError:
        found = {}
    return found if found.get("timeline") else django_standby.control(server)


# What operators do


def promote(force=False, test=False):
    """
    Let this host, a standby, take the place of the primary. Refused while the primary answers: it
    is to be stopped first, in order where that is possible, as it then sends its standbys all it
    has.

    force : False
        Go ahead, too, where it cannot be known that nothing is missing. What that may be is told.

    Returns ``{"changes": dict, "comment": str}``, the comment saying what to do next.

    CLI Example:

    .. code-block:: bash

        salt-call django.promote test=True
        salt-call django.promote
    """
    server = _server()
    name = server["replication"]["name"]
    try:
        own = django_psql.ask_here(server, django_replica.STANDBY)
        if own["standby"]:
            told = _may_be_promoted(server, own, force)
            if test:
                return {
                    "changes": {name: "primary"},
                    "comment": f"{name} would be promoted. {told}",
                }
            django_psql.run_here(server, "postgres", "SELECT pg_promote(true, 60);\nCHECKPOINT;")
        else:
            told = _was_promoted(server)
        who = django_psql.ask_here(server, django_replica.WHO)
        if who["standby"]:
            raise CommandExecutionError(
                "It is not promoted within a minute: see /var/log/postgresql"
            )
        if not test:
            _take_over(server)
    except (CommandError, django_service.ServiceError, OSError) as error:
        raise CommandExecutionError(_redacted(server, error)) from None
    changes = {name: {"old": "standby", "new": "primary"}} if own["standby"] else {}
    return {"changes": changes, "comment": f"{_next_steps(server, who)} {told}"}


def _when_silent(server):
    """
    What this standby says of itself (dict) when the primary has sent nothing for a while, for which
    this waits; CommandExecutionError where it goes on to send.
    """
    deadline = time.monotonic() + 2 * HEARD_SECONDS
    while True:
        own = django_psql.ask_here(server, django_replica.STANDBY)
        receiver = own["receiver"] or {}
        heard = receiver.get("heard") if receiver.get("status") == "streaming" else None
        if heard is None or heard >= HEARD_SECONDS:
            return own
        if time.monotonic() > deadline:
            raise CommandExecutionError(
                f"The primary has sent something {heard:.0f} seconds ago, though it does not"
                " answer: nothing was changed. Make sure that it is down, and call again"
            )
        time.sleep(0.5)


def _was_promoted(server):
    """What to say (str) of a primary that was a standby, which a run that was killed may leave."""
    replication = server["replication"]
    answer, _ = _ask(server, replication["primary"])
    standing = django_replica.standing(_own(server), answer)
    if replication["role"] == "primary" or standing != django_replica.PROMOTED:
        raise CommandExecutionError("This host is a primary already. Nothing was changed")
    return "It had been promoted before."


def _may_be_promoted(server, own, force):
    """What is to be known of a promotion (str); CommandExecutionError where it must not be."""
    replication = server["replication"]
    answers = {}
    for peer in replication["peers"]:
        answers[peer["name"]], refusal = _ask(server, peer)
        found = answers[peer["name"]]
        if refusal or (found and not found["standby"] and found["system"] == own["system"]):
            why = f"runs, and says: {refusal}" if refusal else "answers as the primary"
            raise CommandExecutionError(
                f"{peer['name']} ({peer['address']}) {why}. Two primaries would part the data, so"
                f" nothing was changed. Stop it there: systemctl stop {replication['unit']} (it"
                " then sends all it has to its standbys, so that nothing is lost), and call again"
            )
    own = _when_silent(server)
    more = django_replica.ahead(replication, own, answers)
    if more and not force:
        raise CommandExecutionError(
            f"{more[0]} has more of the log than this host: promote it there"
        )
    if django_standby.was_stopped(server, own):
        return (
            "The last that came is that the primary was stopped in order: nothing is missing,"
            " unless it has run since."
        )
    risk = django_replica.risk(replication, own, answers)
    if risk is None:
        return "Commits waited for this host: nothing that was committed is missing."
    if not force:
        raise CommandExecutionError(
            f"The primary does not answer and was not stopped in order; {risk}. What was committed"
            " after what this host has got would be gone, so nothing was changed. If the primary"
            " cannot be brought back: salt-call django.promote force=True"
        )
    return f"Forced: {risk}."


def _take_over(server):
    """Let a server that was promoted serve: nobody is waited for, and replicas may come."""
    if pathlib.Path(server["config_dir"], "conf.d", django_replica.SYNCHRONOUS).exists():
        _await(server, [])
    found = django_psql.ask_here(server, django_replica.PRIMARY)
    steps = django_replica.differences(server["replication"], found, reserve=True)
    note = django_replica.noting(found, [])
    for _, statement in [*steps, *([note] if note else [])]:
        django_psql.run_here(server, "postgres", statement + ";")


def _next_steps(server, who):
    replication = server["replication"]
    name, primary = replication["name"], replication["primary"]["name"]
    told = f"{name} is the primary (timeline {who['timeline']})."
    if replication["role"] == "primary":
        return f"{told} Apply here, and on the hosts that run projects."
    return (
        f"{told} Now change the pillar, in django:hosts: {name} gets the role database in place of"
        f" replica, and {primary} the role replica in place of database. Then apply here, and on"
        f" the hosts that run projects. {primary} does not start as a second primary; when it is"
        " back, and has the new pillar, call there: salt-call django.rejoin."
    )


def rejoin(force=False, test=False):
    """
    Let this host follow the primary again: one that was the primary itself goes back to where the
    two parted (pg_rewind); where that cannot be done, and for a replica that was away for too long,
    the primary is copied anew. What an old primary has is kept aside then.

    force : False
        Also where transactions are committed on this host that the primary does not have: they go.

    Returns ``{"changes": dict, "comment": str}``.

    CLI Example:

    .. code-block:: bash

        salt-call django.rejoin test=True
        salt-call django.rejoin
    """
    server = _server("standby")
    replication = server["replication"]
    name, primary, data = replication["name"], replication["primary"], replication["data"]
    kind = django_standby.kind(data)
    if kind in ("missing", "fresh"):
        raise CommandExecutionError("This host has no data to come back with: apply its state")
    answer = _primary(server)
    try:
        own = django_standby.control(server)
        if own["system"] != answer["system"]:
            raise CommandExecutionError(django_standby.strange(server))
        if kind == "standby" and django_standby.is_streaming(server, _asked(server)):
            return {"changes": {}, "comment": f"{name} follows {primary['name']}."}
        if kind == "data" and django_replica.standing(own, answer) != django_replica.LEFT:
            raise CommandExecutionError(
                f"This host has been promoted after {primary['name']}: it is the pillar that is to"
                " be changed"
            )
        changes = {name: {"old": kind, "new": f"standby of {primary['name']}"}}
        if test:
            return {"changes": changes, "comment": f"{name} would follow {primary['name']} again."}
        _point_at_primary(server)
        told = _brought_back(server, kind, answer, force)
        _start(server)
    except django_standby.StandbyError as error:
        raise CommandExecutionError(str(error)) from None
    except (CommandError, django_service.ServiceError, OSError) as error:
        raise CommandExecutionError(_redacted(server, error)) from None
    return {"changes": changes, "comment": f"{name} follows {primary['name']} again.{told}"}


def _asked(server):
    try:
        return django_psql.ask_here(server, django_replica.STANDBY)
    except CommandError:
        return {}


def _point_at_primary(server):
    """Write the settings that say whom to follow, as a run would, which this must not wait for."""
    name = f"{server['config_dir']}/{SETTINGS}"
    done = __salt__["state.single"](
        "file.managed", name=name, source=TEMPLATE, template="jinja", mode="0644"
    )
    failed = [each["comment"] for each in done.values() if not each["result"]]
    if failed:
        raise CommandExecutionError(f"{name}: {failed[0]}")
    synchronous = pathlib.Path(server["config_dir"], "conf.d", django_replica.SYNCHRONOUS)
    synchronous.unlink(missing_ok=True)


def _brought_back(server, kind, answer, force):
    """Make this host's cluster a standby, which is not started yet; what was done (str)."""
    replication = server["replication"]
    django_standby.stop(server)
    why = "it missed too much"
    if kind == "data":
        query = django_replica.history(answer["timeline"])
        history = django_psql.ask_peer(server, replication["primary"], query)["history"]
        try:
            gone = django_standby.rewind(server, history, force)
        except CommandError as error:
            why = django_psql.told(error)
        else:
            return f" Gone is what only this host had, transactions: {gone}." if gone else ""
    slot = replication["slot"]
    is_kept = (answer["slots"] or {}).get(slot) not in (None, "lost")
    if kind == "standby" and is_kept:
        django_standby.start(server)
        if django_standby.streams(server):
            return ""
        django_standby.stop(server)
    if not is_kept:
        statement = django_replica.new_slot(slot, slot in (answer["slots"] or {}))
        django_psql.ask_peer(server, replication["primary"], statement)
    aside = django_standby.copy(server)
    kept = f" What it had is in {aside}: remove that when nobody misses anything." if aside else ""
    return f" It was copied anew ({why}).{kept}"
