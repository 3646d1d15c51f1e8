"""
Carries out release tasks of a Django project, several in one process, and answers with data.

The request and files of this folder are joined, this one last, and run by a project's own Python in
its folder and environment, from standard input:

    (echo REQUEST="'"'{"tasks": [{"do": "inspect"}]}'"'"; cat project.py … main.py) | python -

A task is a function of its name that takes its request (dict) and returns JSON. The answer is one
line of JSON on the original standard output; what the project prints goes to standard error. Exit
status 1 and ``{"error", "where", "passing"}`` when a task fails; ``passing`` tells whether the
cause may pass by itself.
"""

import errno
import json
import os
import sys
import traceback

WITHOUT_APPLICATIONS = ("applied",)


def _may_pass(error):
    """Whether the cause lies outside of the project: a database, the network, the disk."""
    while error is not None:
        if type(error).__name__ in ("OperationalError", "InterfaceError"):
            return True
        if isinstance(error, (ConnectionError, TimeoutError, MemoryError)):
            return True
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            return True
        error = error.__cause__ or error.__context__
    return False


def main():
    """Carry out the request and answer."""
    answer_to = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path.insert(0, os.getcwd())
    request = json.loads(REQUEST)
    answer, status = {}, 0
    try:
        if any(task["do"] not in WITHOUT_APPLICATIONS for task in request["tasks"]):
            import django

            django.setup()
        for task in request["tasks"]:
            answer[task["do"]] = globals()[task["do"]](task)
    except BaseException as error:  # a project may raise or exit in any way
        frames = traceback.extract_tb(error.__traceback__)
        place = frames[-1] if frames else None
        answer["error"] = f"{type(error).__name__}: {error}"
        answer["where"] = f"{place.filename}:{place.lineno}" if place else ""
        answer["passing"] = _may_pass(error)
        traceback.print_exc()
        status = 1
    answer_to.write(json.dumps(answer) + "\n")
    answer_to.close()
    sys.exit(status)


main()
