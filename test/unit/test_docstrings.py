"""Every function that Salt offers says what it does, and shows it."""

import ast

import pytest
from pillars import ROOT

CALLED = ("_modules", "_runners", "_roster", "_wrapper", "_master")


def public(folder):
    """Docstrings (list) of what users call in a folder's modules; requisites call mod_watch."""
    found = []
    for path in sorted((ROOT / folder).glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith(("_", "mod_watch")):
                text = ast.get_docstring(node) or ""
                found.append(pytest.param(text, id=f"{path.stem}.{node.name}"))
    return found


@pytest.mark.parametrize("text", [text for folder in CALLED for text in public(folder)])
def test_execution_function_has_an_example(text):
    assert "CLI Example:" in text
    assert "salt" in text.partition("CLI Example:")[2]


@pytest.mark.parametrize("text", public("_states"))
def test_state_has_an_example(text):
    assert "code-block:: yaml" in text
