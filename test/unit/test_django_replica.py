"""A primary and its replicas: what the map comes to, what answers of servers mean."""

import copy

import django_config
import django_postgresql
import django_replica
import pytest
from pillars import SOURCE

PASSWORD = "they:come\\in-with-it"
FLEET = {
    "hosts": {
        "db1": {"address": "10.0.0.21", "roles": ["database"]},
        "DB-2": {"address": "10.0.0.22", "roles": ["replica"]},
        "db3": {"address": "10.0.0.23", "roles": ["replica", "cache"]},
        "web1": {"address": "10.0.0.11", "roles": ["app"]},
    },
    "firewall": {},
    "postgresql": {"replication": {"password": PASSWORD}},
    "projects": {
        "shop": {
            "source": SOURCE,
            "secrets": {"SECRET_KEY": "x" * 50},
            "database": {"password": "x" * 12},
            "cache": {"password": "y" * 12},
        }
    },
}


@pytest.fixture
def on(resolve):
    """Function from a host's name (and what differs in the fleet) to its PostgreSQL."""

    def call(name, **keys):
        config = resolve({**FLEET, **keys}, id=name)
        assert config["errors"] == []
        return config["postgresql"]

    return call


def test_primary_and_replicas_let_each_other_in(on):
    lines = {
        (line["database"], line["address"])
        for line in on("db1")["hba"]
        if line["user"] == "django_replica"
    }
    addresses = ("10.0.0.22/32", "10.0.0.23/32")
    assert lines == {(name, each) for name in ("replication", "postgres") for each in addresses}
    peers = [line["address"] for line in on("DB-2")["hba"] if line["database"] == "replication"]
    assert peers == ["10.0.0.21/32", "10.0.0.23/32"]


def test_firewall_lets_the_servers_of_a_database_in(resolve):
    rules = {name: resolve(FLEET, id=name)["firewall"]["rules"] for name in ("db1", "DB-2")}
    for name, others in (("db1", ("22", "23")), ("DB-2", ("21", "23"))):
        rule = next(rule for rule in rules[name] if rule["for"] == "PostgreSQL")
        assert rule["from"] == ["10.0.0.11", *(f"10.0.0.{other}" for other in others)]


def test_replica_is_ready_to_serve_and_has_no_databases_of_its_own(on):
    primary, standby = on("db1"), on("DB-2")
    projects = [line for line in standby["hba"] if line["database"] == "shop"]
    assert "10.0.0.11/32" in {line["address"] for line in projects}
    assert standby["databases"] == [] and len(primary["databases"]) == 1
    assert standby["settings"]["max_connections"] == primary["settings"]["max_connections"]
    assert standby["settings"]["listen_addresses"] == "localhost,10.0.0.22"
    assert standby["settings"]["primary_slot_name"] == "django_db_2"
    assert standby["settings"]["primary_conninfo"] == (
        "host=10.0.0.21 port=5432 user=django_replica application_name=django_db_2"
        " passfile=/etc/postgresql/15/main/django-replication.pgpass connect_timeout=10"
    )
    assert "primary_conninfo" not in primary["settings"]
    assert primary["settings"]["max_slot_wal_keep_size"] == "4096MB"


def test_password_is_shown_nowhere(resolve):
    for name in FLEET["hosts"]:
        assert PASSWORD not in repr(django_config.public(resolve(FLEET, id=name)))


def test_replica_knows_the_passwords_that_it_needs_when_it_is_promoted(resolve):
    specs = resolve(FLEET, id="DB-2")["projects"]["shop"]["secret_specs"]
    assert set(specs) == {"database.default.password"}


def test_without_replicas_nothing_is_said(on):
    hosts = {name: FLEET["hosts"][name] for name in ("db1", "web1")}
    hosts["db1"] = {**hosts["db1"], "roles": ["database", "cache"]}
    server = on("db1", hosts=hosts)
    assert server["replication"] == {}
    assert "max_slot_wal_keep_size" not in server["settings"]


def given(**keys):
    fleet = copy.deepcopy(FLEET)
    fleet.update(keys)
    return fleet


def roles(**changed):
    hosts = copy.deepcopy(FLEET["hosts"])
    for name, words in changed.items():
        hosts.setdefault(name, {"address": f"10.0.1.{len(hosts)}"})["roles"] = words
    return given(hosts=hosts)


MISTAKES = [
    (
        given(postgresql={}),
        "django:postgresql:replication:password: expected a password, since DB-2 and db3 come in",
    ),
    (roles(db1=["database", "replica"]), "django:hosts:db1:roles: expected replica on another"),
    (roles(db_2=["replica"]), "django:hosts:db_2: expected a name that differs from DB-2 in"),
    (
        given(
            projects={
                "shop": {**FLEET["projects"]["shop"], "database": {"engine": "mysql"}},
            }
        ),
        "django:hosts:DB-2:roles: expected a database of engine postgresql for a replica to",
    ),
    (
        given(
            projects={
                "shop": {
                    **FLEET["projects"]["shop"],
                    "database": {"user": "django_replica", "password": "x" * 12},
                },
            }
        ),
        "django:projects:shop:database:user: expected another name, django_replica is that of the",
    ),
]


@pytest.mark.parametrize(("fleet", "message"), MISTAKES)
def test_what_is_in_the_way_of_a_replica_is_told(resolve, fleet, message):
    errors = resolve(fleet, id="db1")["errors"]
    assert any(error.startswith(message) for error in errors), errors


def test_database_of_one_host_needs_a_password_in_the_pillar(resolve):
    """Generated on the primary, it would not be on the host that takes its place."""
    fleet = roles(db1=["database", "app"], web1=["worker"])
    fleet["projects"]["shop"]["database"] = {}
    errors = resolve(fleet, id="db1")["errors"]
    assert any("shop:database:password: expected a value" in error for error in errors), errors


def test_host_without_systemd_is_refused(resolve):
    errors = resolve(FLEET, id="db1", init="unknown")["errors"]
    assert any(text.startswith("django:hosts:db1: expected a host with systemd") for text in errors)
    assert resolve(FLEET, id="web1", init="unknown")["errors"] == []


def test_password_file_is_escaped():
    assert django_replica.passfile(PASSWORD) == "*:*:*:django_replica:they\\:come\\\\in-with-it\n"


def as_wanted(replication):
    """What a primary answers that has all its replicas need (dict)."""
    verifier = django_postgresql.scram_verifier(PASSWORD, b"salt")
    return {
        "standby": False,
        "role": {"login": True, "replication": True, "verifier": verifier, "comment": None},
        "functions": list(django_replica.FUNCTIONS),
        "slots": {peer["slot"]: {"status": "reserved"} for peer in replication["peers"]},
        "senders": None,
    }


def test_a_new_primary_gets_all_that_its_replicas_need(on):
    replication = on("db1")["replication"]
    words = [step[0] for step in django_replica.differences(replication, {})]
    assert words[:2] == ["role django_replica created", "password of role django_replica set"]
    assert words[-2:] == ["slot of DB-2 created", "slot of db3 created"]
    statements = " ".join(step[1] for step in django_replica.differences(replication, {}))
    assert PASSWORD not in statements and "SCRAM-SHA-256$" in statements


def test_what_is_as_wanted_stays(on):
    replication = on("db1")["replication"]
    assert django_replica.differences(replication, as_wanted(replication)) == []


def test_slot_of_a_replica_that_left_goes_since_it_would_keep_the_log(on):
    replication = on("db1")["replication"]
    found = as_wanted(replication)
    found["slots"]["django_gone"] = {"status": "reserved"}
    ((words, statement),) = django_replica.differences(replication, found)
    assert words == "slot django_gone of a replica that left dropped"
    assert "pg_drop_replication_slot('django_gone')" in statement


def test_commits_wait_for_who_streamed_once(on):
    replication = on("db1", postgresql={"replication": {"password": PASSWORD, "synchronous": True}})
    replication = replication["replication"]
    senders = {"django_db3": {"state": "streaming"}, "django_db_2": {"state": "catchup"}}
    joined = django_replica.joined
    assert joined(replication, {"senders": None}, []) == []
    assert joined(replication, {"senders": senders}, []) == ["django_db3"]
    assert joined(replication, {}, ["django_db3"]) == ["django_db3"], "a commit waits for it"
    assert joined(replication, {}, ["django_gone"]) == []
    assert joined({**replication, "synchronous": False}, {"senders": senders}, []) == []
    names = ["django_db3", "django_db_2"]
    assert django_replica.awaited(django_replica.awaiting(names)) == names
    assert django_replica.noted(django_replica.comment(names)) == names
    assert django_replica.awaited(django_replica.awaiting([])) == []
    assert django_replica.awaited("") == django_replica.noted(None) == []


def test_note_for_replicas_follows_whom_commits_wait_for():
    noted = {"role": {"comment": django_replica.comment(["a"])}}
    assert django_replica.noting(noted, ["a"]) is None
    assert django_replica.noting({}, []) is None
    assert django_replica.noting(noted, [])[1] == 'COMMENT ON ROLE "django_replica" IS NULL'
    assert "wait for one of: a, b'" in django_replica.noting(noted, ["a", "b"])[1]


def test_replicas_that_do_not_stream_are_told(on):
    replication = on("db1")["replication"]
    found = {"senders": {"django_db3": {"state": "streaming"}}}
    absent = django_replica.absent
    assert absent(replication, found) == ["DB-2 does not follow this host yet: apply there"]
    found["slots"] = {"django_db_2": {"status": "extended", "kept": 3 * 2**20 + 5}}
    assert absent(replication, found) == ["DB-2 does not follow this host; 3 MiB of log are kept"]
    found["slots"] = {"django_db_2": {"status": "lost", "kept": None}}
    assert "django.rejoin" in absent(replication, found)[0]


OWN = {"system": "7", "timeline": 2}


@pytest.mark.parametrize(
    ("primary", "standing"),
    [
        ({"system": "8", "timeline": 1, "standby": False}, "strange"),
        ({"system": "7", "timeline": 3, "standby": False}, "left behind"),
        ({"system": "7", "timeline": 2, "standby": False}, "left behind"),
        ({"system": "7", "timeline": 1, "standby": False}, "promoted"),
        ({"system": "7", "timeline": None, "standby": True}, "promoted"),
        (None, "promoted"),
    ],
)
def test_what_a_server_with_data_is_to_the_primary(primary, standing):
    assert django_replica.standing(OWN, primary) == standing


def test_server_that_was_never_promoted_may_be_anything():
    assert django_replica.standing({"system": "7", "timeline": 1}, None) == "unknown"


def test_control_file_is_read():
    text = (
        "pg_control version number:            1300\n"
        "Database system identifier:           7577\n"
        "Database cluster state:               in production\n"
        "Latest checkpoint's TimeLineID:       3\n"
        "Latest checkpoint's PrevTimeLineID:   2\n"
        "Bytes per WAL segment:                16777216\n"
    )
    found = {"system": "7577", "timeline": 3, "state": "in production", "segment": 2**24}
    assert django_replica.control(text) == found


def test_where_servers_parted():
    text = "1\t0/3000060\tno recovery target specified\n\n2\t0/5000148\tno recovery\n"
    assert django_replica.fork(text, 2) == "0/5000148"
    assert django_replica.fork(text, 3) is None


@pytest.mark.parametrize(
    ("position", "name"),
    [
        (0x3000060, "0000000000000003"),
        (0x3000000, "0000000000000002"),
        (0x1_0500_0001, "0000000100000005"),
        (0, "0000000000000000"),
    ],
)
def test_file_of_the_log(position, name):
    assert django_replica.segment_of(position, 2**24) == name


def standby(**keys):
    note = django_replica.comment(["django_db3", "django_db_2"])
    return {"awaited": note, "position": 100, "last": "2026-01-02 03:04:05", **keys}


def test_nothing_is_missing_where_commits_waited_and_nobody_has_more(on):
    keys = {"postgresql": {"replication": {"password": PASSWORD, "synchronous": True}}}
    replication = on("DB-2", **keys)["replication"]
    others = {"db3": {"position": 100, "standby": True}, "db1": None}
    risk = django_replica.risk
    assert risk(replication, standby(), others) is None
    assert "db3 may have more" in risk(replication, standby(), {"db1": None, "db3": None})
    told = risk(replication, standby(awaited=None), others)
    assert told.startswith("commits did not wait") and "2026-01-02 03:04:05 UTC" in told
    alone = standby(awaited=django_replica.comment(["django_db3"]))
    assert risk(replication, alone, others), "they waited for another one"
    lifted = {**replication, "synchronous": False}
    assert risk(lifted, standby(), others), "the pillar may have let them go on"


def test_replica_that_has_more_is_named(on):
    replication = on("DB-2")["replication"]
    others = {"db3": {"position": 101, "standby": True}, "db1": None}
    assert django_replica.ahead(replication, standby(), others) == ["db3"]
    others["db3"]["position"] = 100
    assert django_replica.ahead(replication, standby(), others) == []


def test_lag_of_a_replica():
    assert django_replica.lag({"waiting": 2.0, "behind": 1.26}) == {
        "lag_bytes": 2,
        "lag_seconds": 1.3,
    }
    assert django_replica.lag({"waiting": None, "behind": None})["lag_seconds"] is None
