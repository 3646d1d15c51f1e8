"""Where a pillar file is not YAML, and why: Salt's fast parser tells no line."""

import yaml

TEMPLATE = ("{{", "{%", "{#")
# What a character at the place of a mistake means, by characters.
ADVICE = (
    ("\t", "indent with spaces, not with tabs"),
    ("@`%*&!|>", "a value that begins with {} has to be in quotes"),
    (":", "a value with a colon and a space in it has to be in quotes"),
)


def place(text):
    """
    Where a text is not YAML (str): ``line 3, column 7 (indent with spaces, not with tabs)``, with
    nothing of it but one character. None where it is YAML, or only becomes it when it is rendered.
    """
    if text.startswith("#!") and not text.startswith("#!yaml"):
        return None
    if any(mark in text for mark in TEMPLATE):
        return None
    try:
        for _ in yaml.parse(text, Loader=yaml.SafeLoader):
            pass
    except yaml.MarkedYAMLError as error:
        name = str(error.context).startswith(
            ("while scanning an alias", "while scanning an anchor")
        )
        mark = error.context_mark if name or not error.problem_mark else error.problem_mark
        line = text.splitlines()[mark.line : mark.line + 1] or [""]
        character = line[0][mark.column : mark.column + 1]
        hints = [
            said.format(character) for known, said in ADVICE if character and character in known
        ]
        hint = f" ({hints[0]})" if hints else ""
        return f"line {mark.line + 1}, column {mark.column + 1}{hint}"
    except yaml.YAMLError:
        return None
    return None
