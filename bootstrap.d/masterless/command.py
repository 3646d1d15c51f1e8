"""All of it in its order; the exit status."""

import http.client
import shutil
import socket
import ssl
import time
import urllib.parse

import session
from session import DONE, FAILED, Refused, tell

from . import preflight, progress, registration, report
from .engine import Engine

EXAMPLE = "examples/pillars/example.sls"
ELSEWHERE = (301, 302, 303, 307, 308, 401, 403)
LOCAL = "127.0.0.1"
PATIENCE = 10  # seconds for the front door to answer


def run(options, screen):
    """Check, register, apply, report; returns the exit status."""
    test = options.mode == "test"
    registered = registration.Registration(
        options.repository, registration.managed_by(), options.salt_call
    )
    pillar = options.pillar or known_pillar(options.repository, registered)
    folder = candidate(pillar)
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
                for path in put(registered, pillar):
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
        shutil.rmtree(session.scratch() / "pillar", ignore_errors=True)
    groups = report.summary(results)
    if groups.failed:
        tell(screen, report.failures(groups, options.log))
        return FAILED
    if test:
        tell(screen, ["", *report.prediction(groups)])
        return DONE
    answers = {name: patient_answer(config, name) for name in report.served(config)}
    took = time.time() - options.since
    place = pillar if pillar.is_dir() else registration.PILLAR / "site.sls"
    said = report.conclusion(groups, config, answers, took, registered.command, str(place))
    tell(screen, ["", *said])
    return DONE if all(well for well, _ in answers.values()) else FAILED


def known_pillar(repository, registered):
    """The registered pillar, a file or a folder, or on a first run the example's."""
    installed = registration.PILLAR / "site.sls"
    folder = registered.pillar_folder()
    if folder != registration.PILLAR:
        return folder
    return installed if installed.exists() else repository / EXAMPLE


def candidate(pillar):
    """The folder to try a pillar in: its own, or for a file one that is as it will be then."""
    if pillar.is_dir():
        return pillar
    folder = session.scratch() / "pillar"
    registration.candidate(folder, pillar)
    return folder


def put(registered, pillar):
    """Make it this server's formula and pillar; returns the paths of files that changed."""
    if pillar.is_dir():
        written = registered.write(pillar)
        return written if pillar == registration.PILLAR else [*written, *registration.set_aside()]
    # First the file: the configuration then leads to one that is there.
    return [*registration.install(pillar), *registered.write(registration.PILLAR)]


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
