"""What a project's database says, asked through the settings of one of its instances."""

TIMEOUT = 300


def asked(deployment, instance):
    """What the database says now, through the settings of ``instance`` (dict)."""
    facts = deployment.layout.instance_record(instance)["facts"]
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


def pending(deployment):
    """Migrations that are not applied: ``{alias: [[app, name], …]}``."""
    if deployment.database is None:
        deployment.database = asked(deployment, deployment.instance)
    record = deployment.layout.instance_record(deployment.instance)
    unused = record.get("unused") or {}
    pending = {}
    for alias, applied in deployment.database["migrations"].items():
        left = [
            key
            for key in record["facts"]["migrations"]
            if key not in applied and key not in unused.get(alias, [])
        ]
        if left:
            pending[alias] = left
    return pending


def has_superuser(deployment, name):
    instance = deployment.instance if deployment.ready() else deployment.layout.live_instance()
    if instance is None or not deployment.layout.instance_record(instance).get("facts"):
        return False
    if deployment.database is None:
        deployment.database = asked(deployment, instance)
    return deployment.database["users"].get(name, False)


def as_names(migrations):
    """Migrations by database as Django writes them: ``{alias: ["app.0001_name", …]}``."""
    return {alias: [".".join(key) for key in keys] for alias, keys in migrations.items() if keys}
