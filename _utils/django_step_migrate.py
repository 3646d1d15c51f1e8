"""The step that applies the migrations of the wanted release."""

import django_database
from django_deployment import Outcome, StepError, unless_held


@unless_held
def migrate(deployment):
    """Every migration of the wanted release is applied."""
    rules = deployment.project["migrate"]
    if not rules["enabled"]:
        return Outcome({}, "Migrations are left to the operator (migrate:enabled is false).")
    if not deployment.ready():
        return Outcome({"migrations": "of the new release"}, "Migrations would be applied.")
    instance = deployment.instance
    try:
        pending = django_database.pending(deployment)
    except StepError as error:
        if deployment.test:  # a run may start the database before it asks
            return Outcome({}, str(error))
        raise
    stamped = deployment.layout.instance_record(instance).get("migrated")
    if stamped and not pending:
        return Outcome({}, "Every migration is applied.")
    changes = {"migrations": django_database.as_names(pending) or {"none pending for": instance}}
    if deployment.test:
        return Outcome(changes, "Migrations would be applied." if pending else "None pending.")
    if pending:
        task = {
            "do": "migrate",
            "databases": rules["databases"],
            "wait": rules["timeout"],
            "lock_timeout": rules["lock_timeout"],
            "statement_timeout": rules["statement_timeout"],
        }
        answer = deployment.django(
            [task], rules["timeout"], "The migration failed; the old release serves on"
        )
        deployment.database = None
        changes = {"migrations": django_database.as_names(answer["migrate"])}
    # Django may never apply some that are on disk, such as those of a router's other database.
    unused = django_database.pending(deployment) if pending else {}
    deployment.layout.save_instance_record(instance, migrated=True, unused=unused)
    count = sum(len(names) for names in pending.values())
    return Outcome(changes, f"{count} migrations applied." if count else "None was pending.")
