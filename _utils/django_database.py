"""What a project's database says, asked through the settings of one of its instances."""

from django_deployment import StepError

TIMEOUT = 300
PLAN_TIMEOUT = 900


def asked(deployment, instance):
    """What the database says now, through the settings of ``instance`` (dict)."""
    facts = deployment.layout.instance_record(instance).get("facts")
    if not facts:
        raise StepError(f"the record of instance {instance} is lost")
    answer = deployment.django(
        [question(deployment, facts["user"])],
        TIMEOUT,
        "The database cannot be asked",
        instance=instance,
    )
    return answer["applied"]


def question(deployment, user_columns=None):
    """The task that asks for applied migrations and for the superuser."""
    task = {"do": "applied", "databases": deployment.project["migrate"]["databases"]}
    if deployment.project["superuser"]:
        task["user"] = {**(user_columns or {}), "name": deployment.project["superuser"]["username"]}
    return task


BEFORE, AFTER = "before", "after"  # the switch


def pending(deployment, when):
    """Migrations of one kind that are not applied: ``{alias: [[app, name], …]}``."""
    instance = deployment.instance
    late = deferred(deployment, instance)
    record = deployment.layout.instance_record(instance)
    unused = record.get("unused") or {}
    found = {}
    for alias, applied in deployment.database["migrations"].items():
        left = [
            key
            for key in record["facts"]["migrations"]
            if key not in applied
            and (key in late[alias]) == (when == AFTER)
            and key not in unused.get(alias, [])
        ]
        if left:
            found[alias] = left
    return found


def deferred(deployment, instance):
    """
    Migrations of an instance that wait for the switch: ``{alias: [[app, name], …]}``. One that has
    been applied holds back nothing any more, and nothing waits for the first release of a database.
    """
    if deployment.database is None:
        deployment.database = asked(deployment, instance)
    record = deployment.layout.instance_record(instance)
    return {
        alias: []
        if not applied or alias in record.get("first_in", [])
        else [
            key
            for group in record["facts"]["after_switch"]
            if group[0] not in applied
            for key in group
        ]
        for alias, applied in deployment.database["migrations"].items()
    }


def limits(deployment):
    """What a task needs to know of locks and times (dict, seconds)."""
    rules = deployment.project["migrate"]
    return {
        "wait": rules["timeout"],
        "lock_timeout": rules["lock_timeout"],
        "statement_timeout": rules["statement_timeout"],
    }


def plan(deployment, instance):
    """What is pending for an instance, its SQL and its risks: ``{alias: [migration, …]}``."""
    task = {
        "do": "plan",
        "databases": deployment.project["migrate"]["databases"],
        "after": deferred(deployment, instance),
    }
    failure = "The migrations cannot be looked at"
    return deployment.django([task], PLAN_TIMEOUT, failure, instance=instance)["plan"]


def has_superuser(deployment, name):
    """Whether a superuser (str) is in the database, as the newest instance sees it."""
    instance = deployment.instance if deployment.ready() else deployment.layout.live_instance()
    if instance is None or not deployment.layout.instance_record(instance).get("facts"):
        return False
    if deployment.database is None:
        deployment.database = asked(deployment, instance)
    return deployment.database["users"].get(name, False)


def as_names(migrations):
    """Migrations by database as Django writes them: ``{alias: ["app.0001_name", …]}``."""
    return {alias: [".".join(key) for key in keys] for alias, keys in migrations.items() if keys}
