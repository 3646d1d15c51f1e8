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
import importlib
import json
import os
import sys
import traceback

WITHOUT_APPLICATIONS = ("applied",)
# What a database says of rights that somebody has to grant: PostgreSQL's and MySQL's codes.
LACKS_RIGHTS = ("42501", 1044, 1142)


def _may_pass(error):
    """Whether the cause lies outside of the project: a database, the network, the disk."""
    while error is not None:
        if _code(error) in LACKS_RIGHTS:
            return True
        if type(error).__name__ in ("OperationalError", "InterfaceError"):
            return True
        if isinstance(error, (ConnectionError, TimeoutError, MemoryError)):
            return True
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            return True
        error = error.__cause__ or error.__context__
    return False


def _code(error):
    """The code of a database's error as its driver has it, or None."""
    first = error.args[0] if error.args and isinstance(error.args[0], int) else None
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or first


def _is_answer(task, error):
    """Whether an error is meant for people: of a command, or the database's to a question."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    wanted = {"CommandError", "ConnectionDoesNotExist"}
    return bool(kinds & wanted) or (task == "rows" and "DatabaseError" in kinds)


def _useful(frames):
    """The frames in the project's folder and the last one, without those of import itself."""
    plumbing = ("<stdin>", importlib.__file__)
    frames = [
        frame
        for frame in frames
        if frame.filename not in plumbing and not frame.filename.startswith("<frozen ")
    ]
    own = [frame for frame in frames if _is_own(frame.filename)]
    return own + [frame for frame in frames[-1:] if frame not in own]


def _is_own(filename):
    return filename.startswith(os.getcwd() + os.sep)


def _shorten(trace):
    """Leave the useful frames of an error and of those that led to it."""
    while trace is not None:
        trace.stack = traceback.StackSummary.from_list(_useful(trace.stack))
        trace = trace.__cause__ or trace.__context__


def _place(error, frames):
    """``FILE:LINE`` of the project that an error comes from, as far as there is one."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [frame for frame in frames if _is_own(frame.filename)] or frames
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def main():
    """Carry out the request and answer."""
    answer_to = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path.insert(0, os.getcwd())
    request = json.loads(REQUEST)
    answer, status, doing = {}, 0, None
    try:
        if any(task["do"] not in WITHOUT_APPLICATIONS for task in request["tasks"]):
            import django

            django.setup()
        for task in request["tasks"]:
            doing = task["do"]
            answer[doing] = globals()[doing](task)
    except BaseException as error:  # a project may raise or exit in any way
        trace = traceback.TracebackException.from_exception(error)
        _shorten(trace)
        about = [getattr(error, "about", ""), type(error).__name__, str(error)]
        answer["error"] = ": ".join(word for word in about if word)
        answer["where"] = "" if _is_answer(doing, error) else _place(error, trace.stack)
        answer["passing"] = _may_pass(error)
        # What lies outside is told by its message.
        if not answer["passing"] and not _is_answer(doing, error):
            print("".join(trace.format()), file=sys.stderr)
        status = 1
    answer_to.write(json.dumps(answer) + "\n")
    answer_to.close()
    sys.exit(status)


main()
