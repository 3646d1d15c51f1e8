"""Starts the command django-pull; run by the system's own Python, since Salt's may be broken."""

import pathlib
import sys

here = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(here), str(here.parent / "_utils")]

from masterless.pull import main  # noqa: E402 - it needs the formula's modules

sys.exit(main(sys.argv[1:]))
