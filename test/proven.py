"""
What is proven on real hosts: a row for each marker ``proves`` in an integration test.

.. code-block:: python

    pytestmark = pytest.mark.proves(
        "database server", "MariaDB", "a site reads and writes", on=["Debian 12"]
    )

The markers are the only list there is: docs/proven.md is written from them (``docs/generate``), and
``test/run integration`` looks up in its report whether the tests of each row ran and passed.
"""

import ast
import json
import pathlib
import xml.etree.ElementTree as ElementTree
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs/proven.md"
MARKER = PROPERTY = "proves"
AREAS = (  # in the order of the table
    "one server",
    "database server",
    "application server",
    "cache and queue servers",
    "workers and schedulers",
    "front door",
    "static files and uploads",
    "processes",
    "combinations",
    "several servers",
    "releases",
    "backups and monitoring",
    "faults",
    "projects",
    "Salt",
)
HEAD = """\
<!-- Written by docs/generate from the markers of the integration tests. -->

# What is proven

Each row is shown by tests on hosts of their own: a fresh Debian with its own address, real apt and
pip and, where nothing else is said, systemd. `test/run integration` without further words runs them
all, says which rows its tests have shown, and fails where one is missing.
"""


class Row(NamedTuple):
    """A line of the table: ``on`` are the systems (tuple of str), ``what`` a clause."""

    area: str
    product: str
    what: str
    on: tuple


def row(area, product, what, on):
    """The row of a marker's arguments; a ValueError where they say nothing that fits the table."""
    if area not in AREAS:
        raise ValueError(f"{area!r} is no area of the table: {', '.join(AREAS)}")
    if isinstance(on, str) or not on or not product or not what:
        raise ValueError(f"proves({area!r}, {product!r}): a product, what is shown, and systems")
    return Row(area, product, what, tuple(on))


def declared(folder=ROOT / "test/integration"):
    """Rows that the tests of a folder stand for: ``{row: sorted file names}``."""
    found = {}
    for path in sorted(pathlib.Path(folder).glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr != MARKER or ast.unparse(node.func.value) != "pytest.mark":
                continue
            words = [ast.literal_eval(word) for word in node.args]
            named = {word.arg: ast.literal_eval(word.value) for word in node.keywords}
            files = found.setdefault(row(*words, **named), [])
            if path.name not in files:
                files.append(path.name)
    return found


def table(rows, rendered_only):
    """
    The text of docs/proven.md.

    rows
        What :func:`declared` returns.
    rendered_only
        Systems (list of str) that nothing is run on.
    """
    parts = [HEAD]
    for area in AREAS:
        lines = [
            f"| {each.product} | {each.what} | {', '.join(each.on)} | "
            + ", ".join(f"[{name}](../test/integration/{name})" for name in files)
            + " |"
            for each, files in rows.items()
            if each.area == area
        ]
        if lines:
            head = "| product | shown | on | by |\n|---|---|---|---|"
            parts.append("\n".join([f"## {area[0].upper()}{area[1:]}\n", head, *lines]) + "\n")
    names = " and ".join(rendered_only)
    parts.append(
        f"## Rendered only\n\n{names}: every state is rendered under their grains by the tests.\n"
        "Nothing has been run there, so no row of this page is about them.\n"
    )
    return "\n".join(parts)


def property_of(marker):
    """What a report keeps of a marker: a name and a text."""
    return PROPERTY, json.dumps(row(*marker.args, **marker.kwargs))


def shown(report):
    """Rows of a JUnit report (path): ``{row: whether each of its tests passed}``."""
    found = {}
    if not pathlib.Path(report).exists():
        return found
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        passed = not any(case.find(kind) is not None for kind in ("failure", "error", "skipped"))
        for each in case.iter("property"):
            if each.get("name") == PROPERTY:
                area, product, what, on = json.loads(each.get("value"))
                key = row(area, product, what, on)
                found[key] = found.get(key, True) and passed
    return found
