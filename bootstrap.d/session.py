"""
What the second part of ./bootstrap is, whatever a server becomes: options, screen, log, the ways in
which it ends.
"""

import argparse
import contextlib
import logging
import os
import pathlib
import signal
import sys
import time
import traceback

import django_progress

DONE, FAILED, REFUSED, BUSY, INTERRUPTED = 0, 1, 2, 75, 130
LOCK = 9  # the descriptor by which the shell part holds the lock
SCRATCH = pathlib.Path("/run/django-formula")
ROLES = ("masterless", "master", "minion", "ssh")
LOGGED = ("salt.state", "bootstrap", django_progress.LOGGER)  # what is no warning
NOISY = ("salt.pillar", "salt.template", "salt.utils.templates", "salt.renderers")


class Refused(Exception):
    """Nothing was applied. ``problems`` is a list of sentences for the operator."""

    status = REFUSED

    def __init__(self, *problems):
        super().__init__("\n".join(problems))
        self.problems = list(problems)


class Busy(Refused):
    """Nothing was applied, since another run is under way."""

    status = BUSY


def main(options, run):
    """
    Do what is asked and return the exit status.

    run
        Function from options and screen to the exit status.
    """
    screen = take_screen(options.log)
    start_log(options.log)
    with contextlib.suppress(OSError):
        os.set_inheritable(LOCK, False)  # a daemon that a state starts must not hold the lock
    signal.signal(signal.SIGTERM, interrupt)
    try:
        return run(options, screen)
    except Refused as refusal:
        said = [f"bootstrap: {problem}" for problem in refusal.problems]
        tell(screen, ["", *said, f"Nothing was applied. Log: {options.log}"])
        return refusal.status
    except KeyboardInterrupt:
        tell(screen, ["", "bootstrap: stopped. Run it again to go on from here."])
        return INTERRUPTED
    except Exception as error:  # whatever it is, the operator gets a sentence
        logging.getLogger("bootstrap").error(traceback.format_exc())
        text = " ".join(str(error).split())[:300]
        kind = type(error).__name__
        tell(screen, ["", f"bootstrap: unexpected {kind}: {text}", f"Details: {options.log}"])
        return FAILED


def parse(arguments):
    """The options that the shell part passes on."""
    parser = argparse.ArgumentParser(prog="bootstrap")
    parser.add_argument("--repository", type=pathlib.Path, required=True)
    parser.add_argument("--log", type=pathlib.Path, required=True)
    parser.add_argument("--since", type=float, default=time.time())
    parser.add_argument("--role", choices=ROLES, default=ROLES[0])
    parser.add_argument("--mode", choices=("apply", "test"), default="apply")
    parser.add_argument("--detail", choices=("quiet", "normal", "verbose"), default="normal")
    parser.add_argument("--salt-call", default="salt-call")
    parser.add_argument("--pillar", type=pathlib.Path)
    parser.add_argument("--master")
    parser.add_argument("--fingerprint")
    parser.add_argument("--id")
    return parser.parse_args(arguments)


def scratch():
    """A folder for what only this run needs, and only root may read."""
    SCRATCH.mkdir(mode=0o700, exist_ok=True)
    return SCRATCH


def take_screen(log):
    """
    The operator's screen as a stream. Everything else that this process or a child prints by itself
    goes to the log from here on.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    screen = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    return screen


def tell(screen, lines):
    """Print lines, as far as there still is a screen, and log them."""
    logging.getLogger("bootstrap").info("\n".join(lines))
    with contextlib.suppress(OSError, ValueError):
        screen.write("\n".join(lines) + "\n")
        screen.flush()


def start_log(path):
    """Log states and warnings of everything else to the file."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(worth_logging)
    logging.root.addHandler(handler)
    logging.root.setLevel(logging.INFO)
    logging.captureWarnings(True)


def worth_logging(record):
    """
    Whether to log a record. Of a file that cannot be rendered only the message is: Salt adds lines
    of the file, which may hold secrets.
    """
    if record.levelno < logging.WARNING and record.name not in LOGGED:
        return False
    if record.name.startswith(NOISY):
        record.msg = record.getMessage().split("\n---\n")[0]
        record.args, record.exc_info, record.exc_text = None, None, None
    return True


def interrupt(*_):
    """A TERM signal ends the run as a Ctrl-C does."""
    raise KeyboardInterrupt
