"""The Varnish of a project: where it is, and how pages that it keeps are forgotten."""

import re

import django_service
from django_run import BASE_PATH, run

ALL = "obj.status != 0"
ADDRESS = "X-Django-Url"  # the header of a kept page with its path, see project.vcl.j2
PATH = re.compile(r"/[A-Za-z0-9._~@%+,=:;!()/?&-]*\*?")
TIMEOUT = 30


def directory(name):
    """The working directory (str) by which a project's Varnish is named."""
    return f"/var/lib/varnish/{name}"


def run_directory(name):
    """Where a project's Varnish has its sockets and its secret (str)."""
    return f"/run/varnish-{name}"


def socket(name):
    """The Unix socket (str) that a project's Varnish listens on."""
    return f"{run_directory(name)}/http.sock"


def service(name, init):
    """The service (str) of a project's Varnish. init: what runs the host, such as ``systemd``."""
    return f"varnish{'@' if init == 'systemd' else '-'}{name}"


def condition(path=None):
    """
    What Varnish is told of the pages to forget (str): all of them; the page of a path, with any
    query; or, with a ``*`` at its end, all whose path begins so. A ValueError for what is no path.
    """
    if path is None:
        return ALL
    if not PATH.fullmatch(path):
        raise ValueError(f"expected a path such as /blog/ or /blog/*, got {path!r}")
    start = re.sub(r"([.+?*()])", r"[\1]", path.removesuffix("*"))
    end = "" if path.endswith("*") or "?" in path else "([?]|$)"
    if "?" in path and not path.endswith("*"):
        end = "$"
    return f"obj.http.{ADDRESS} ~ ^{start}{end}"


def forget(name, path=None):
    """Let a project's Varnish forget pages, see :func:`condition`. A CommandError when it fails."""
    argv = ["/usr/bin/varnishadm", "-n", directory(name), "-t", str(TIMEOUT // 2)]
    environment = {"PATH": BASE_PATH, "LANG": "C.UTF-8"}
    run([*argv, "ban", *condition(path).split(" ")], env=environment, timeout=TIMEOUT)


def is_running(name, init):
    """Whether a project's Varnish runs; one that does not keeps no page."""
    return bool(django_service.look(service(name, init))["running"])
