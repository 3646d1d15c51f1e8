"""The second part of ./bootstrap in its order; its exit status."""

import argparse
import contextlib
import http.client
import logging
import os
import pathlib
import shutil
import signal
import socket
import ssl
import sys
import time
import traceback
import urllib.parse

from . import Refused, preflight, progress, registration, report
from .engine import Engine

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
LOCK = 9  # the descriptor by which the shell part holds the lock
SCRATCH = pathlib.Path("/run/django-formula")
EXAMPLE = "examples/pillars/example.sls"
ELSEWHERE = (301, 302, 303, 307, 308, 401, 403)
LOCAL = "127.0.0.1"
PATIENCE = 10  # seconds for the front door to answer
NOISY = ("salt.pillar", "salt.template", "salt.utils.templates", "salt.renderers")


def main(arguments):
    """Do it all and return the exit status."""
    options = parse(arguments)
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
        return REFUSED
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
    parser.add_argument("--mode", choices=("apply", "test"), default="apply")
    parser.add_argument("--detail", choices=("quiet", "normal", "verbose"), default="normal")
    parser.add_argument("--salt-call", default="salt-call")
    parser.add_argument("--pillar", type=pathlib.Path)
    return parser.parse_args(arguments)


def run(options, screen):
    """Check, register, apply, report; returns the exit status."""
    test = options.mode == "test"
    registered = registration.Registration(
        options.repository, registration.managed_by(), options.salt_call
    )
    pillar = options.pillar or known_pillar(options.repository)
    installed = registration.PILLAR / "site.sls"
    folder = SCRATCH / "pillar"
    SCRATCH.mkdir(mode=0o700, exist_ok=True)
    registration.candidate(folder, pillar)
    shown = progress.Progress(screen, screen.isatty(), options.detail, test)
    try:
        with Engine(registered, folder, test) as salt:
            config = salt.check_pillar(pillar)
            shown.line(f"Pillar {pillar} is valid")
            for warning in config["warnings"]:
                shown.line(f"Note: {warning}")
            problems = preflight.taken(
                preflight.wanted(config), preflight.listening(), preflight.owners
            )
            if problems:
                raise Refused(*problems)
            if not test:
                for path in [*registered.write(), *registration.install(pillar)]:
                    shown.line(f"Written: {path}")
                if registered.managed:
                    shown.line(
                        "The Salt configuration of this server is left alone"
                        f" ({registered.managed}); ours is in {registered.directory}"
                    )
            shown.start()
            try:
                results = salt.highstate(shown, test)
            finally:
                shown.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    groups = report.summary(results)
    if groups.failed:
        tell(screen, report.failures(groups, options.log))
        return FAILED
    if test:
        tell(screen, ["", *report.prediction(groups)])
        return DONE
    answers = {name: patient_answer(config, name) for name in report.served(config)}
    took = time.time() - options.since
    said = report.conclusion(groups, config, answers, took, registered.command, str(installed))
    tell(screen, ["", *said])
    return DONE if all(well for well, _ in answers.values()) else FAILED


def known_pillar(repository):
    """The registered pillar, or on a first run the example's."""
    installed = registration.PILLAR / "site.sls"
    return installed if installed.exists() else repository / EXAMPLE


def patient_answer(config, name):
    """As :func:`answer`, asked until it is well: a reload takes a moment to change the workers."""
    deadline = time.monotonic() + PATIENCE
    while True:
        well, words = answer(config, name)
        if well or time.monotonic() > deadline:
            return well, words
        time.sleep(0.1)


class LocalTLS(http.client.HTTPSConnection):
    """HTTPS to this host itself under a site's name, which the front door wants to hear first."""

    def connect(self):
        """Connect, whatever address the name has elsewhere and whoever signed the certificate."""
        plain = socket.create_connection((LOCAL, self.port), self.timeout)
        context = ssl._create_unverified_context()  # noqa: S323 - to ourselves, by address
        self.sock = context.wrap_socket(plain, server_hostname=self.host)


def answer(config, name):
    """
    Ask the front door of this host for a project's health page: (is well, words). What is asked of
    it is what a browser would ask. Well is what the pillar expects of a healthy release, and a
    redirect or a refusal, since what is healthy inside may be told so to a visitor.
    """
    project, front = config["projects"][name], report.front(config)
    health = project["health"]
    url = urllib.parse.urlsplit(project["url"])
    connection = (
        LocalTLS(url.hostname, front["tls_port"], timeout=PATIENCE)
        if project["web"]["tls"]
        else http.client.HTTPConnection(LOCAL, front["port"], timeout=PATIENCE)
    )
    began = time.monotonic()
    try:
        connection.request("GET", health["path"], headers={"Host": url.netloc})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return False, f"does not answer: {error}"
    finally:
        connection.close()
    milliseconds = round((time.monotonic() - began) * 1000)
    return (
        status in health["status"] or status in ELSEWHERE,
        f"answers {status} in {milliseconds} ms",
    )


# What is seen and what is logged


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
    if record.levelno < logging.WARNING and record.name not in ("salt.state", "bootstrap"):
        return False
    if record.name.startswith(NOISY):
        record.msg = record.getMessage().split("\n---\n")[0]
        record.args, record.exc_info, record.exc_text = None, None, None
    return True


def interrupt(*_):
    """A TERM signal ends the run as a Ctrl-C does."""
    raise KeyboardInterrupt
