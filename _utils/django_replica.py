"""
A PostgreSQL primary and its replicas: what the map of hosts comes to, which questions tell how a
server stands to the others, and what the answers mean. Pure; :mod:`django_standby` acts.

Each server of the map, the database and its replicas, has the same role and password for the
others: to stream, to be copied, and to be asked who it is.
"""

import re
import secrets

from django_postgresql import SLOTS, quote_name, quote_text, scram_verifier, verifies

USER = "django_replica"
LONGEST = 63  # characters of a name in PostgreSQL
SERVERS = ("database", "replica")  # the roles
SYNCHRONOUS = "30-django-synchronous.conf"
UNITS = "/etc/systemd/system"
WATCH = "django-primary"  # a service that ends a primary which was replaced, and its timer
PASSFILE = "django-replication.pgpass"
SPARE_SENDERS = 5  # for copies, and a replica that comes back before its old connection is gone
LEAST_SENDERS = 10
MIB = 2**20
# What pg_rewind reads by, as PostgreSQL's manual has it for a role that is no superuser.
FUNCTIONS = (
    "pg_catalog.pg_ls_dir(text, boolean, boolean)",
    "pg_catalog.pg_stat_file(text, boolean)",
    "pg_catalog.pg_read_binary_file(text)",
    "pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)",
)
# A timeline is a life as a primary; each promotion begins another, with a higher number.
WHO = """
SELECT json_build_object(
  'standby', pg_is_in_recovery(),
  'system', system_identifier::text,
  'version', current_setting('server_version_num')::int / 10000,
  'timeline', CASE WHEN pg_is_in_recovery() THEN NULL ELSE
    ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END,
  'position', CASE WHEN pg_is_in_recovery() THEN
    greatest(coalesce(pg_last_wal_receive_lsn(), '0/0'), coalesce(pg_last_wal_replay_lsn(), '0/0'))
    ELSE pg_current_wal_lsn() END - '0/0'::pg_lsn,
  'slots', (SELECT json_object_agg(slot_name, wal_status) FROM pg_replication_slots))
FROM pg_control_system()
"""
STANDBY = f"""
SELECT json_build_object(
  'standby', pg_is_in_recovery(),
  'system', (SELECT system_identifier::text FROM pg_control_system()),
  'receiver', (SELECT json_build_object('status', status, 'host', sender_host, 'slot', slot_name,
                 'heard', extract(epoch FROM clock_timestamp() - last_msg_receipt_time))
               FROM pg_stat_wal_receiver),
  'position', greatest(coalesce(pg_last_wal_receive_lsn(), '0/0'),
                       coalesce(pg_last_wal_replay_lsn(), '0/0')) - '0/0'::pg_lsn,
  'waiting', greatest(pg_last_wal_receive_lsn() - pg_last_wal_replay_lsn(), 0),
  'behind', CASE WHEN pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn() THEN 0 ELSE
            extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END,
  'last', to_char(pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'),
  'awaited', (SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = '{USER}'))
"""  # noqa: S608 (a name of ours)
PRIMARY = f"""
SELECT json_build_object(
  'standby', pg_is_in_recovery(),
  'role', (SELECT json_build_object('login', rolcanlogin, 'replication', rolreplication,
             'verifier', rolpassword, 'comment', shobj_description(oid, 'pg_authid'))
           FROM pg_authid WHERE rolname = '{USER}'),
  'functions', (SELECT array_agg(name) FROM unnest(ARRAY[{", ".join(map(quote_text, FUNCTIONS))}])
                AS name, pg_roles WHERE rolname = '{USER}'
                AND has_function_privilege(oid, name, 'EXECUTE')),
  'slots', (SELECT json_object_agg(slot_name, json_build_object('status', wal_status,
              'kept', pg_current_wal_lsn() - restart_lsn)) FROM pg_replication_slots
            WHERE slot_type = 'physical' AND starts_with(slot_name, '{SLOTS}')),
  'senders', (SELECT json_object_agg(application_name, json_build_object('state', state,
                'sync', sync_state, 'waiting', pg_current_wal_lsn() - replay_lsn,
                'behind', coalesce(extract(epoch FROM replay_lag), 0)))
              FROM pg_stat_replication WHERE usename = '{USER}'))
"""  # noqa: S608 (names of ours)


def slot(name):
    """The name (str) of a host's replication slot, which is that of its connection, too."""
    return SLOTS + re.sub(r"[^a-z0-9_]", "_", name.lower())[: LONGEST - len(SLOTS)]


def configuration(fleet, host, hosts, version, config_dir):
    """How this host's PostgreSQL stands to the others of the map (dict); empty without replicas."""
    members = {
        name: item["address"] for name, item in hosts.items() if set(SERVERS) & set(item["roles"])
    }
    replicas = [name for name in members if "replica" in hosts[name]["roles"]]
    if not replicas:
        return {}
    given = fleet["postgresql"]["replication"]
    primary = fleet["database_host"]
    return {
        "role": "primary" if primary["name"] == host["name"] else "standby",
        "user": USER,
        "password": given["password"],
        "synchronous": given["synchronous"],
        "slot_limit": given["slot_limit"],
        "name": host["name"],
        "slot": slot(host["name"]),
        "primary": dict(primary),
        "peers": [
            {"name": name, "address": address, "slot": slot(name)}
            for name, address in members.items()
            if name != host["name"]
        ],
        "data": f"/var/lib/postgresql/{version}/main",
        "passfile": f"{config_dir}/{PASSFILE}",
        "unit": f"postgresql@{version}-main",
    }


def settings(replication, port):
    """PostgreSQL's settings (dict) for streaming, on a primary as on its replicas."""
    if not replication:
        return {}
    senders = max(LEAST_SENDERS, 2 * len(replication["peers"]) + SPARE_SENDERS)
    wanted = {
        "wal_level": "replica",
        "wal_log_hints": "on",  # pg_rewind needs it where a cluster has no checksums
        "max_wal_senders": senders,
        "max_replication_slots": senders,
        "max_slot_wal_keep_size": f"{replication['slot_limit'] // MIB}MB",
    }
    if replication["role"] == "standby":
        wanted["primary_conninfo"] = conninfo(replication, replication["primary"], port)
        wanted["primary_slot_name"] = replication["slot"]
    return wanted


def conninfo(replication, peer, port):
    """How to connect to a peer (str); the password is in a file."""
    words = {
        "host": peer["address"],
        "port": port,
        "user": replication["user"],
        "application_name": replication["slot"],
        "passfile": replication["passfile"],
        "connect_timeout": 10,
    }
    return " ".join(f"{word}={value}" for word, value in words.items())


def files(server):
    """What is on a host for replicas besides the settings (list of paths)."""
    folder = server["config_dir"]
    return [
        f"{folder}/conf.d/{SYNCHRONOUS}",
        f"{folder}/{PASSFILE}",
        f"{UNITS}/postgresql@{server['version']}-main.service.d/django.conf",
        *(f"{UNITS}/{WATCH}.{kind}" for kind in ("service", "timer")),
    ]


def hba(replication):
    """Databases and addresses (list of pairs) that the other servers' role is let in for."""
    return [
        (database, peer["address"])
        for peer in replication.get("peers", [])
        for database in ("replication", "postgres")
    ]


def passfile(password):
    """The text of a password file (str) for any server."""
    escaped = re.sub(r"([:\\])", r"\\\1", password)
    return f"*:*:*:{USER}:{escaped}\n"


# The primary


def differences(replication, found, reserve=False):
    """
    What the primary's server lacks for its replicas: a list of ``(words, statement)``.

    found
        The answer to :data:`PRIMARY`; empty where there is no server yet.
    reserve
        Whether a new slot keeps the log from now on, for one that comes back; else from the moment
        its replica is copied.
    """
    name, role, steps = quote_name(USER), found.get("role"), []
    if role is None:
        steps.append((f"role {USER} created", f"CREATE ROLE {name} LOGIN REPLICATION"))
    elif not (role["login"] and role["replication"]):
        steps.append((f"role {USER} may replicate", f"ALTER ROLE {name} LOGIN REPLICATION"))
    if role is None or not verifies(role["verifier"], replication["password"]):
        verifier = quote_text(scram_verifier(replication["password"], secrets.token_bytes(16)))
        steps.append((f"password of role {USER} set", f"ALTER ROLE {name} PASSWORD {verifier}"))
    steps += [
        (f"{function} granted", f"GRANT EXECUTE ON FUNCTION {function} TO {name}")
        for function in FUNCTIONS
        if function not in (found.get("functions") or [])
    ]
    wanted = {peer["slot"]: peer["name"] for peer in replication["peers"]}
    there = found.get("slots") or {}
    steps += [
        (f"slot of {host} created", f"SELECT {_creation(key, reserve)}")
        for key, host in wanted.items()
        if key not in there
    ]
    return steps + [drop(key) for key in there if key not in wanted]


def _creation(key, reserve):
    return f"pg_create_physical_replication_slot({quote_text(key)}, {str(reserve).lower()})"


def new_slot(key, is_there):
    """SQL (str) by which a replica gets a slot, in the place of one that was lost."""
    gone = f"pg_drop_replication_slot({quote_text(key)})" if is_there else "NULL"
    made = f"json_build_object('slot', slot_name) FROM {_creation(key, False)}"
    return f"SELECT {gone} \\g /dev/null\nSELECT {made}"


def history(timeline):
    """A query (str) for where a timeline of another server comes from, as ``{"history": text}``."""
    path = quote_text(f"pg_wal/{timeline:08X}.history")
    return f"SELECT json_build_object('history', convert_from(pg_read_binary_file({path}), 'UTF8'))"


def drop(key):
    """``(words, statement)`` by which the slot of a replica that left the map goes."""
    text = quote_text(key)
    ended = "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots"
    return (
        f"slot {key} of a replica that left dropped",
        f"{ended} WHERE slot_name = {text} AND active;\nSELECT pg_drop_replication_slot({text})",
    )


def joined(replication, found, before):
    """
    Slots (sorted list) of the replicas that a commit waits for: of those that stream, and those it
    waited for before. One that never streamed would hold up all.

    before
        What the file says now (list).
    """
    if not replication["synchronous"]:
        return []
    senders = found.get("senders") or {}
    streaming = {key for key, each in senders.items() if each["state"] == "streaming"}
    return sorted(
        peer["slot"]
        for peer in replication["peers"]
        if peer["slot"] in before or peer["slot"] in streaming
    )


def awaiting(names):
    """The file (str) that says for whom a commit waits: any one of these, or nobody."""
    if not names:
        return (
            "# Written by django-formula; the next run replaces changes.\n"
            "# A commit waits for no replica.\n"
        )
    return (
        "# Written by django-formula; the next run replaces changes.\n"
        "# A commit waits until one of these has it.\n"
        f"synchronous_standby_names = 'ANY 1 ({', '.join(names)})'\n"
    )


def awaited(text):
    """The slots (list) that a file of :func:`awaiting` names."""
    inside = re.search(r"ANY 1 \(([a-z0-9_, ]*)\)", text)
    return inside[1].split(", ") if inside else []


def comment(names):
    """
    The note (str) on the role by which replicas know, as it reaches them in the same log, that
    every commit after it waits for one of these; empty for none.
    """
    return f"commits wait for one of: {', '.join(names)}" if names else ""


def noting(found, names):
    """``(words, statement)`` by which the note on the role says so, or None where it does."""
    wanted = comment(names)
    if wanted == ((found.get("role") or {}).get("comment") or ""):
        return None
    text = quote_text(wanted) if wanted else "NULL"
    words = "replicas are told whether commits wait for them"
    return words, f"COMMENT ON ROLE {quote_name(USER)} IS {text}"


def noted(text):
    """The slots (list) that a :func:`comment` names."""
    return (text or "").partition(": ")[2].split(", ") if text else []


def absent(replication, found):
    """Warnings (list of str) of replicas that do not stream from this primary."""
    told = []
    senders, slots = found.get("senders") or {}, found.get("slots") or {}
    for peer in replication["peers"]:
        state = (senders.get(peer["slot"]) or {}).get("state")
        kept = slots.get(peer["slot"]) or {}
        if state == "streaming":
            continue
        if kept.get("status") == "lost":
            words = "has been away for too long: its part of the log is gone; there: salt-call"
            told.append(f"{peer['name']} {words} django.rejoin")
        elif kept.get("kept") is None:
            told.append(f"{peer['name']} does not follow this host yet: apply there")
        else:
            size = int(kept["kept"]) // MIB
            told.append(f"{peer['name']} does not follow this host; {size} MiB of log are kept")
    return told


def lag(found):
    """What waits to be carried out on a replica (dict), of an answer about it."""
    seconds = found["behind"]
    return {
        "lag_bytes": int(found["waiting"] or 0),
        "lag_seconds": None if seconds is None else round(float(seconds), 1),
    }


# What a server is to another one

STRANGE, LEFT, PROMOTED, UNKNOWN = "strange", "left behind", "promoted", "unknown"


def standing(own, primary):
    """
    What a server that has data and is no standby is to the primary of the map: ``strange`` (data of
    somebody else), ``left behind`` (the primary before that one), ``promoted`` (the primary after
    it) or ``unknown``.

    own
        ``{"system": str, "timeline": int}``.
    primary
        Its answer to :data:`WHO`, or None where there is none.
    """
    if primary is None:
        return PROMOTED if own["timeline"] > 1 else UNKNOWN
    if own["system"] != primary["system"]:
        return STRANGE
    if primary["standby"] or own["timeline"] > primary["timeline"]:
        return PROMOTED
    return LEFT


def control(text):
    """``{"system": str, "timeline": int, "state": str}`` out of what pg_controldata prints."""
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    found = {key.strip(): value.strip() for key, value in lines.items()}
    return {
        "system": found["Database system identifier"],
        "timeline": int(found["Latest checkpoint's TimeLineID"]),
        "state": found["Database cluster state"],
        "segment": int(found["Bytes per WAL segment"]),
    }


def fork(history, timeline):
    """
    Where (str, such as ``0/5000148``) the servers parted, by the history of the newer timeline;
    None where it does not come from this one.
    """
    for line in history.splitlines():
        words = line.split()
        if words and words[0] == str(timeline):
            return words[1]
    return None


def segment_of(position, size):
    """The last sixteen digits (str) of the file of the log that has the byte before a position."""
    number = max(position - 1, 0) // size
    per = 2**32 // size
    return f"{number // per:08X}{number % per:08X}"


def risk(replication, own, others):
    """
    What may be missing on a standby whose primary is gone, and was not stopped cleanly (str); None
    where nothing is.

    own
        Its answer to :data:`STANDBY`.
    others
        ``{name: answer to WHO or None}`` of the map's other replicas.
    """
    names = noted(own.get("awaited"))
    last = f"the last transaction here is of {own['last']} UTC" if own.get("last") else ""
    if not (replication["synchronous"] and replication["slot"] in names):
        return f"commits did not wait for this host, and {last or 'none is here'}"
    silent = [
        peer["name"]
        for peer in replication["peers"]
        if peer["slot"] in names and others.get(peer["name"]) is None
    ]
    if silent:
        return f"{', '.join(silent)} may have more of it and cannot be asked; {last}"
    return None


def ahead(replication, own, others):
    """Names (list) of other replicas that have more of the log than this one."""
    return [
        peer["name"]
        for peer in replication["peers"]
        if (found := others.get(peer["name"]))
        and found["standby"]
        and found["position"] > own["position"]
    ]
