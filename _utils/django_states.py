"""What the states of this formula share."""

import difflib
import functools
import inspect
import logging

from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)


def of_words(state):
    """
    A state that tells a word of its SLS that it does not know. Salt would end the whole run there,
    with the manual of state.apply.
    """
    own = inspect.signature(state)
    words = list(own.parameters)

    @functools.wraps(state)
    def told(name, *arguments, **keywords):
        unknown = [word for word in keywords if word not in words and not word.startswith("__")]
        if unknown:
            close = difflib.get_close_matches(unknown[0], words, 1)
            hint = f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(words)}"
            comment = f"{', '.join(unknown)}: unknown{hint}"
            return {"name": name, "result": False, "changes": {}, "comment": comment}
        known = {word: value for word, value in keywords.items() if word in words}
        return state(name, *arguments, **known)

    rest = inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)
    del told.__wrapped__  # Salt would ask that one for its arguments
    told.__signature__ = own.replace(parameters=[*own.parameters.values(), rest])
    return told


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
