"""What the states of this formula share."""

import logging

from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)


def apply(name, function, test, arguments):
    """
    The result (dict) of a state: its function compares, stops there in test mode, acts, and says
    what changed. Warnings are logged as well, since of a state that changes nothing Salt shows only
    their number.

    name
        The state's name.
    function
        An execution function that returns ``{"changes", "comment"}``, and ``"warnings"`` (list of
        str) where there is something to know.
    test
        Whether only to say what would change.
    arguments
        The function's other arguments (dict).
    """
    try:
        done = function(test=test, **arguments)
    except CommandExecutionError as error:
        return {"name": name, "result": False, "changes": {}, "comment": str(error)}
    return warned(
        {
            "name": name,
            "result": None if test and done["changes"] else True,
            "changes": done["changes"],
            "comment": done["comment"],
        },
        done.get("warnings"),
    )


def warned(result, warnings):
    """The result (dict) of a state with warnings (list of str), which are logged, too."""
    for warning in warnings or ():
        log.warning("%s: %s", result["name"], warning)
    return {**result, "warnings": list(warnings)} if warnings else result
