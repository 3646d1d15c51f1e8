"""Starts the second part of ./bootstrap; run by Salt's own Python."""

import sys

from masterless.command import main

try:
    status = main(sys.argv[1:])
finally:
    # What a full disk does not take would be tried again at the end, and change the exit status.
    sys.stdout = sys.stderr = None
sys.exit(status)
