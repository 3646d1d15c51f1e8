"""
Tasks that a project's own Python carries out and answers as data: the files of
``salt/django/app/files/tasks``, joined with the request and handed over through standard input, so
that neither is seen in a list of processes.
"""

import json

from django_run import CommandError, brief, run, tail

FOLDER = "salt://django/app/files/tasks"
LAST_LINES = 8


class TaskError(Exception):
    """
    A task failed.

    blames_project
        Whether the project itself is the cause, as far as can be told: the same tasks would fail
        again. False for what may pass by itself, and for a process that was killed.
    answers
        What the tasks before it have answered (dict by task name).
    """

    def __init__(self, message, blames_project=False, answers=None):
        super().__init__(message)
        self.blames_project = blames_project
        self.answers = answers or {}


def program(tasks, texts):
    """The program (str) that carries out ``tasks`` (list of dict), from the files' ``texts``."""
    request = json.dumps({"tasks": tasks})
    return "\n\n".join([f"REQUEST = {request!r}", *texts])


def carry_out(python, tasks, texts, **how):
    """
    The answers (dict) by task name.

    python
        Path of the project's Python.
    tasks
        ``[{"do": name, …}]``.
    texts
        Texts of the task files, ``main`` last.
    how
        Arguments of :func:`django_run.run`: user, group, env, cwd, timeout, umask, heard.
    """
    try:
        done = run([python, "-"], stdin=program(tasks, texts), check=False, **how)
    except CommandError as error:
        raise TaskError(str(error)) from None
    try:
        answer = json.loads(done.stdout or "{}")
    except ValueError:
        answer = {}
    if done.returncode == 0 and "error" not in answer and answer:
        return answer
    reason = brief(answer.get("error") or f"exit status {done.returncode}")
    where = f" ({answer['where']})" if answer.get("where") else ""
    lines = tail(done.stderr, LAST_LINES).splitlines()
    if lines and lines[-1] == reason:
        lines.pop()  # what was raised ends with it
    blames = "error" in answer and not answer.get("passing")
    answers = {task["do"]: answer[task["do"]] for task in tasks if task["do"] in answer}
    raise TaskError("\n".join([f"{reason}{where}", *lines]).rstrip(), blames, answers)
