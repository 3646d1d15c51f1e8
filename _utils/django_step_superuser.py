"""The step that makes a project's first administrator."""

import django_database
from django_deployment import Outcome, StepError, unless_held

TIMEOUT = 300


@unless_held
def superuser(deployment):
    """The project's superuser is in the database; its password is set only when it is new."""
    wanted = deployment.project["superuser"]
    if not wanted:
        return Outcome({}, "The pillar names no superuser.")
    try:
        there = django_database.has_superuser(deployment, wanted["username"])
    except (StepError, OSError) as error:  # the source may be on its way, or the database
        if deployment.test:
            return Outcome({}, str(error))
        raise
    if there:
        return Outcome({}, f"Superuser {wanted['username']} is there.")
    changes = {"superuser": wanted["username"]}
    if deployment.test or not deployment.ready():
        return Outcome(changes, f"Superuser {wanted['username']} would be created.")
    task = {
        "do": "superuser",
        "username": wanted["username"],
        "email": wanted["email"],
        "fields": wanted["fields"],
    }
    extra = {"DJANGO_SUPERUSER_PASSWORD": deployment.secrets["superuser.password"]}
    answer = deployment.django([task], TIMEOUT, "The superuser cannot be created", extra)
    done = answer["superuser"]
    if not done["created"] and not done["granted"]:
        return Outcome({}, f"Superuser {wanted['username']} is there, from another host.")
    made = "created" if done["created"] else "made a superuser again"
    return Outcome(changes, f"{wanted['username']} is {made}.")
