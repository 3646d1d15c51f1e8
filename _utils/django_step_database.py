"""The step that sees whether databases of others answer, before anything is built for them."""

import django_external
from django_deployment import Outcome, StepError, unless_held


@unless_held
def reach(deployment):
    """The servers of all external databases of a project answer at their port."""
    told = []
    for key, database in django_external.external(deployment.project):
        problem = django_external.unreachable(database["host"], database["port"])
        if problem:
            told.append(f"django:projects:{deployment.name}:{key}:{problem}")
    if told:
        raise StepError("\n".join(told))
    return Outcome({}, "Every external database answers.")
