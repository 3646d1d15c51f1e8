"""
Hosts that an operator has taken out of a balancer's pool: a list on the balancer, which HAProxy's
file follows, so that nothing but a word of the operator's brings such a host back.
"""

import datetime
import pathlib
import re

import django_layout

PATH = "/etc/django-formula/drained.json"
MODE = 0o600
SERVER = re.compile(r"^(    server (\S+) .*?)( disabled)?$", re.MULTILINE)


def load():
    """The hosts on the list: ``{name: since when}``, a time in words (str)."""
    return {
        name: since
        for name, since in django_layout.read_json(PATH).items()
        if isinstance(since, str)
    }


def save(hosts):
    """Write the list, for root only."""
    pathlib.Path(PATH).parent.mkdir(exist_ok=True)
    django_layout.write_json(PATH, hosts, MODE)


def now():
    """This moment in words (str)."""
    return f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def mark(text, names):
    """HAProxy's configuration (str) in which just the servers of these names are disabled."""
    return SERVER.sub(
        lambda found: found[1] + (" disabled" if found[2] in names else ""),
        text,
    )


def told(hosts):
    """What an operator has to know of the hosts on the list (list of str)."""
    return [
        f"{name} is drained since {since} and gets no requests; back into the pool:"
        f" salt-call django.undrain {name}"
        for name, since in sorted(hosts.items())
    ]
