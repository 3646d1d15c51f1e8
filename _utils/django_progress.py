"""
What a long step is at, for those who watch: ``./bootstrap`` shows it, and ``salt-call -l info``.
"""

import logging
import re

LOGGER = "django_formula.progress"
_MIGRATION = re.compile(r"^ *(?:App|Unapp)lying (\S+?)\.\.\.", re.MULTILINE)
_WAITS = "tries again: "  # as salt/django/app/files/tasks/migrations.py says it


def tell(text):
    """Tell in a few words (str) what is being done now."""
    logging.getLogger(LOGGER).info(text)


def migration(printed):
    """
    The migration that Django is at (str), or None.

    printed
        The end of what its command ``migrate`` has printed (str).
    """
    *_, name, rest = ["", *_MIGRATION.split(printed)]
    return f"{name}, which waits for a lock" if _WAITS in rest else name or None


class Teller:
    """
    Tells what a command is at whenever that is something else.

    what
        Function from the end of what it has printed to words, or None.
    """

    def __init__(self, what):
        self._what, self._told = what, None

    def __call__(self, printed):
        text = self._what(printed)
        if text and text != self._told:
            self._told = text
            tell(text)
