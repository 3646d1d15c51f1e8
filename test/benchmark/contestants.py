"""Three ways to do one job: a straight script, Salt's own states, and django-formula."""

import abc
import json
import re
import time
from pathlib import Path

from test.integration.server import CHECKOUT, ROOT, put_checkout

from . import images, measure

HERE = Path(__file__).resolve().parent
EXAMPLE = ROOT / "examples/guestbook"
SOURCE = "/srv/source"
PAGE = "guestbook/templates/guestbook/index.html"
HEADLINE = re.compile(r"<h1>[^<]*</h1>")
SALT = "/opt/django-formula/salt/bin/salt-call"
PILLAR = f"""\
django:
  projects:
    guestbook:
      source: {{path: {SOURCE}}}
      settings: config.settings
      health: {{path: /healthz/}}
      env: {{DJANGO_TEST_ENDPOINTS: '1'}}
"""


def headline(number):
    """What the front page says in one version of the code."""
    return f"Release {number} of the guestbook"


class Contestant(abc.ABC):
    """One way to do the job."""

    name: str
    cold: list
    noop: list
    release: list
    redo: list | None = None
    ping: list | None = None

    def put(self, host):
        """Bring the guestbook and the contestant's own files to a fresh host."""
        host.put(EXAMPLE, SOURCE)
        self.write_version(host, 0)

    def write_version(self, host, number):
        """Change the guestbook's code: another headline. Returns the text to look for."""
        text = headline(number)
        page = HEADLINE.sub(f"<h1>{text}</h1>", (EXAMPLE / PAGE).read_text(), count=1)
        host.write(f"{SOURCE}/{PAGE}", page)
        return text

    def assert_works(self, host, number=0):
        """The site answers through Nginx, from PostgreSQL and Redis, with this code."""
        page = host.get("/")
        assert page.status == 200, f"{self.name}: {page.status}\n{page.text}"
        for text in ("PostgreSQL", "Redis", 'id="hits"', headline(number)):
            assert text in page.text, f"{self.name}: no {text!r} in\n{page.text}"
        style = re.search(r'href="(/static/[^"]*\.css)"', page.text)
        assert style, f"{self.name}: no style sheet in\n{page.text}"
        assert host.get(style.group(1)).status == 200, f"{self.name}: {style.group(1)}"

    def wait_until_works(self, host, number=0, patience=30):
        """Wait until the site answers, assert that it works, and return the time of the answer."""
        deadline = time.monotonic() + patience
        while True:
            try:
                page = host.get("/")
                well = page.status == 200 and headline(number) in page.text
            except OSError:
                well = False
            answered = time.time()
            if well or time.monotonic() > deadline:
                self.assert_works(host, number)
                return answered
            time.sleep(0.02)

    @abc.abstractmethod
    def assert_nothing_done(self, host):
        """The last run, which `measure.timed` made, changed nothing."""


class Script(Contestant):
    """What a straight script needs: the floor."""

    name = "script"

    def __init__(self):
        script = ["env", f"GUNICORN={images.gunicorn()}", "/root/floor.sh"]
        self.cold = self.noop = [*script, "apply"]
        self.redo = [*script, "redo"]
        self.release = [*script, "release"]

    def put(self, host):
        super().put(host)
        host.put(HERE / "floor.sh", "/root/floor.sh")

    def assert_nothing_done(self, host):
        assert host.read(measure.OUTPUT) + host.read(measure.ERRORS) == "", "the script did work"


class SaltStates(Contestant):
    """What both Salt contestants have in common: results to look at."""

    def assert_nothing_done(self, host):
        results = json.loads(host.read(measure.OUTPUT))["local"]
        assert isinstance(results, dict) and results, f"{self.name}: {results}"
        for key, result in results.items():
            assert result["result"] is True and not result["changes"], (
                f"{self.name}: {key} {result}"
            )


class Stock(SaltStates):
    """States that Salt brings along, in ordinary good style."""

    name = "stock Salt"
    cold = noop = release = [SALT, "-c", "/root/stock", "state.apply", "--out", "json"]
    ping = [SALT, "-c", "/root/stock", "test.ping"]

    def put(self, host):
        super().put(host)
        host.put(HERE / "stock", "/root/stock")
        options = host.read("/root/stock/minion")
        host.write("/root/stock/minion", f"{options}gunicorn: {images.gunicorn()}\n")


class Formula(SaltStates):
    """django-formula: first by ./bootstrap, from then on by salt-call, as its README says."""

    name = "django-formula"
    cold = ["sh", "-c", f"cd {CHECKOUT} && exec ./bootstrap /root/pillar.sls"]
    noop = release = ["salt-call", "state.apply", "--out", "json"]
    ping = ["salt-call", "--local", "test.ping"]

    def put(self, host):
        super().put(host)
        put_checkout(host)
        host.write("/root/pillar.sls", PILLAR)


ALL = (Script, Stock, Formula)
