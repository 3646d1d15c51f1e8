"""Starts the second part of ./bootstrap; run by Salt's own Python."""

import importlib
import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "_utils"))

import session

PARTS = {
    "masterless": "masterless.command",
    "master": "fleet.master",
    "minion": "fleet.minion",
    "ssh": "fleet.ssh",
}

try:
    options = session.parse(sys.argv[1:])
    status = session.main(options, importlib.import_module(PARTS[options.role]).run)
finally:
    # What a full disk does not take would be tried again at the end, and change the exit status.
    sys.stdout = sys.stderr = None
sys.exit(status)
