"""
What an operator asks of a server over SSH, as a state: the pillar goes there with states alone.

One with ``django.py`` to Salt.
"""

import inspect

from salt.exceptions import SaltException

__virtualname__ = "django"


def __virtual__():
    return __virtualname__


def answered(name, arguments=(), keywords=None):
    """
    The function of this name has been called; what it answers is in the changes. Sent by
    ``salt-ssh``, not meant for an SLS.

    arguments, keywords
        Its arguments by place (list) and by name (dict).

    .. code-block:: yaml

        status:
          django.answered:
            - arguments: [shop]
    """
    function, keywords = __salt__[f"django.{name}"], keywords or {}
    try:
        inspect.signature(function).bind(*arguments, **keywords)
    except TypeError as error:
        return _failed(name, f"django.{name}: {error}")
    try:
        answer = function(*arguments, **keywords)
    except SaltException as error:
        return _failed(name, error)
    good = not __context__.get("retcode")
    return {"name": name, "result": good, "changes": {"answer": answer}, "comment": ""}


def _failed(name, error):
    return {"name": name, "result": False, "changes": {}, "comment": str(error)}
