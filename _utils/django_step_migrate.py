"""
The steps that apply migrations: before the switch those that the old release can live with, after
it those that it cannot.
"""

import fnmatch

import django_database
import django_progress
from django_database import AFTER, BEFORE
from django_deployment import Outcome, StepError, unless_held

FAILED = {
    BEFORE: "The migration failed; the old release serves on",
    AFTER: "The migration failed; the new release serves",
}


@unless_held
def migrate(deployment):
    """Every migration of the wanted release that may run before the switch is applied."""
    return _migrate(deployment, BEFORE)


@unless_held
def migrate_after(deployment):
    """Every migration of the live release is applied, those too that had to wait for the switch."""
    return _migrate(deployment, AFTER)


def _migrate(deployment, when):
    rules = deployment.project["migrate"]
    if not rules["enabled"]:
        return Outcome({}, "Migrations are left to the operator (migrate:enabled is false).")
    if not deployment.ready():
        words = {
            BEFORE: "Migrations would be applied.",
            AFTER: "Migrations that wait for the switch would be looked for and applied.",
        }
        return Outcome({"migrations": "of the new release"}, words[when])
    instance = deployment.instance
    try:
        pending = django_database.pending(deployment, when)
    except StepError as error:
        if deployment.test:  # a run may start the database before it asks
            return Outcome({}, str(error))
        raise
    stamp = {BEFORE: "migrated", AFTER: "migrated_after"}[when]
    record = deployment.layout.instance_record(instance)
    if record.get(stamp) and not pending:
        return Outcome({}, "Every migration is applied.")
    changes = {"migrations": django_database.as_names(pending) or {"none pending for": instance}}
    if deployment.test:
        return Outcome(changes, "Migrations would be applied." if pending else "None pending.")
    if pending or django_database.pending(deployment, AFTER):
        _refuse_risky(deployment, instance)
    unused = record.get("unused") or {}
    if pending or record.get("begun") == when:
        _begin(deployment, instance, when, stamp)
        task = {
            "do": "migrate",
            "databases": rules["databases"],
            "deferred": django_database.deferred(deployment, instance) if when == BEFORE else {},
            **django_database.limits(deployment),
        }
        teller = django_progress.Teller(django_progress.migration)
        failed = _failed(deployment, when)
        answer = deployment.django([task], rules["timeout"], failed, heard=teller)
        deployment.database = None
        if pending:
            changes = {"migrations": django_database.as_names(answer["migrate"])}
        # Django may never apply some that are on disk, such as those of a router's other database.
        for alias, keys in django_database.pending(deployment, when).items():
            unused[alias] = [*unused.get(alias, []), *keys]
    deployment.layout.save_instance_record(instance, unused=unused, begun=None, **{stamp: True})
    count = sum(len(names) for names in pending.values())
    return Outcome(changes, f"{count} migrations applied." if count else "None was pending.")


def _failed(deployment, when):
    """What to tell of a migration that fails (str)."""
    engines = {database["engine"] for database in deployment.project["databases"].values()}
    kept = ", and what it had changed until then stays (MariaDB takes no change of a table back)"
    return FAILED[when] + (kept if "mysql" in engines else "")


def _begin(deployment, instance, when, stamp):
    """
    Note what a run that is cut off leaves behind: the last migration may be applied, and what
    Django does after it (permissions, content types) not done; a new database is not empty any
    more, and still no release uses it.
    """
    applied = deployment.database["migrations"]
    first_in = set(deployment.layout.instance_record(instance).get("first_in", []))
    first_in |= {alias for alias, keys in applied.items() if not keys}
    deployment.layout.save_instance_record(
        instance, begun=when, first_in=sorted(first_in), **{stamp: False}
    )


def _refuse_risky(deployment, instance):
    """Where the pillar asks for it, refuse what endangers a site that serves."""
    rules = deployment.project["migrate"]
    if rules["risky"] == "allow" or deployment.layout.live_instance() is None:
        return
    risky = []
    for steps in django_database.plan(deployment, instance).values():
        for step in steps:
            name = f"{step['app']}.{step['name']}"
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in rules["allowed"]):
                continue
            risky += [
                f"{name}: {operation['text']}: {risk['text']}"
                for operation in step["operations"]
                for risk in operation["risks"]
                if step["when"] == BEFORE or not risk["breaks_old"]
            ]
    if risky:
        raise StepError(
            "\n".join(
                [
                    "Risky migrations, and the pillar refuses these (migrate:risky):",
                    *dict.fromkeys(risky),
                    f"To allow one, name it in django:projects:{deployment.name}:migrate:allowed; "
                    "what the old release cannot live with may wait in migrate:after_switch.",
                ]
            ),
            blames_release=True,
        )
