"""Starts the second part of ./bootstrap; run by Salt's own Python."""

import sys

from masterless.command import main

sys.exit(main(sys.argv[1:]))
