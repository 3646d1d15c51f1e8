"""What the states of this formula share."""

from salt.exceptions import CommandExecutionError


def apply(name, function, test, arguments):
    """
    The result (dict) of a state: its function compares, stops there in test mode, acts, and says
    what changed.

    name
        The state's name.
    function
        An execution function that returns ``{"changes", "comment"}``.
    test
        Whether only to say what would change.
    arguments
        The function's other arguments (dict).
    """
    try:
        done = function(test=test, **arguments)
    except CommandExecutionError as error:
        return {"name": name, "result": False, "changes": {}, "comment": str(error)}
    return {
        "name": name,
        "result": None if test and done["changes"] else True,
        "changes": done["changes"],
        "comment": done["comment"],
    }
