"""
What an operator asks of a server over SSH, as a state: the pillar goes there with states alone.

One with ``django.py`` to Salt.
"""

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
    try:
        answer = __salt__[f"django.{name}"](*arguments, **(keywords or {}))
    except (SaltException, TypeError) as error:
        return {"name": name, "result": False, "changes": {}, "comment": str(error)}
    good = not __context__.get("retcode")
    return {"name": name, "result": good, "changes": {"answer": answer}, "comment": ""}
