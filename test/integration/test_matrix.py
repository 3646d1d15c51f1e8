"""
Application server × process manager × database: each combination is a project, several on a host.
Together the two Debians with Nginx have all of them; the third host has Apache with mod_wsgi.
"""

import json
import threading
import time
from dataclasses import dataclass

import pytest

from test.hosts import boot

from .guestbook import INDEX, SOURCE, change, develop
from .machines import ensure
from .server import Browser, Server, put_checkout

pytestmark = [
    pytest.mark.proves(
        "combinations",
        "Gunicorn, uWSGI × Supervisord, systemd × PostgreSQL, MariaDB, SQLite",
        "each comes as `--test` said, reads and writes through the front door, changes nothing in "
        "a second run, and takes a release without a failed request; six of the twelve on each "
        "system",
        on=["Debian 12", "Debian 13"],
    ),
    pytest.mark.proves(
        "database server",
        "SQLite",
        "outside of releases: two workers write, a release and a rollback keep what was written",
        on=["Debian 12", "Debian 13"],
    ),
    pytest.mark.proves(
        "combinations",
        "mod_wsgi in Apache × PostgreSQL, MariaDB, SQLite",
        "the same",
        on=["Debian 12"],
    ),
]
PROJECT = """\
    %(name)s:
      source: {path: %(source)s}
      settings: config.settings
      domains: [%(name)s.example.org]
      health: {path: /healthz/}
      env: {DJANGO_TEST_ENDPOINTS: '1'}
      cache: {engine: none}
      process_manager: %(manager)s
      app: {server: %(server)s, workers: %(workers)s%(threads)s}
      database: {engine: %(engine)s}
      python: {requirements: [%(requirements)s]}
"""
CACHED = "      web: {cache: varnish}\n"
ENGINES = {"pg": "postgresql", "my": "mysql", "lite": "sqlite"}
MANAGERS = {"sup": "supervisord", "unit": "systemd"}
COUNT = "SELECT count(*) FROM guestbook_entry"


@dataclass(frozen=True)
class Combination:
    """One project of the matrix."""

    server: str
    manager: str
    engine: str
    cached: str = ""  # whether Varnish is in front

    @property
    def name(self):
        return f"{self.server.replace('_', '')}-{self.manager}-{self.engine}"

    def pillar(self):
        """What the pillar says of it."""
        own = PROJECT % {
            "name": self.name,
            "source": SOURCE,
            "manager": MANAGERS[self.manager],
            "server": self.server,
            "workers": 2 if self.engine == "lite" else 1,
            "threads": "" if self.server == "gunicorn" else ", threads: 2",
            "engine": ENGINES[self.engine],
            "requirements": "requirements-mysql.txt" if self.engine == "my" else "requirements.txt",
        }
        return own + (CACHED if self.cached else "")

    def entries(self, server):
        """How many entries the database says that it has, asked without the project."""
        name = self.name.replace("-", "_")
        if self.engine == "pg":
            return int(server.psql(COUNT, name)[0])
        if self.engine == "my":
            return int(server.run(["mariadb", "-N", "-e", COUNT, name]).stdout)
        file = f"/srv/django/{self.name}/shared/data/default.sqlite3"
        program = "import sqlite3, sys; print(sqlite3.connect(*sys.argv[1:2]).execute(sys.argv[2])"
        return int(server.run(["python3", "-c", f"{program}.fetchone()[0])", file, COUNT]).stdout)


def combinations(*words):
    return [Combination(*word.split()) for word in words]


# Every pair is on both systems, and what one has not the other has.
MATRIX = {
    "bookworm": combinations(
        "gunicorn sup pg",
        "uwsgi unit pg",
        "gunicorn unit my",
        "uwsgi sup my",
        "gunicorn sup lite",
        "uwsgi unit lite",
    ),
    "trixie": combinations(
        "gunicorn unit pg",
        "uwsgi sup pg",
        "gunicorn sup my cached",
        "uwsgi unit my",
        "gunicorn unit lite",
        "uwsgi sup lite",
    ),
    "apache": combinations("mod_wsgi sup pg", "mod_wsgi unit my", "mod_wsgi sup lite"),
}


class Visitor:
    """Somebody who asks all sites in turn while the body runs, and what he did not get."""

    def __init__(self, host, projects):
        self.host, self.projects = host, projects
        self.answered, self.failed = set(), []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._visit)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _visit(self):
        while not self._over.is_set():
            for project in self.projects:
                answer = self.host.get("/whoami/", host=f"{project.name}.example.org")
                if answer.status == 200:
                    self.answered.add((project.name, json.loads(answer.text)["release"]))
                else:
                    self.failed.append((project.name, answer.status, time.strftime("%X")))
            time.sleep(0.05)


@pytest.fixture(scope="module", params=MATRIX)
def matrix(request):
    """A bare host, and the projects that ./bootstrap puts on it."""
    projects = MATRIX[request.param]
    suite = "trixie" if request.param == "trixie" else "bookworm"
    with boot(f"int-mx-{request.param}", image=ensure(f"{suite}-ready")) as host:
        put_checkout(host)
        server = Server(host)
        host.run("apt-get update -q && apt-get install -qy --no-install-recommends git")
        develop(server)
        server.bootstrap_as_predicted(
            "django:\n  projects:\n" + "".join(project.pillar() for project in projects)
        )
        yield server, projects


def test_each_reads_and_writes_its_database(matrix):
    server, projects = matrix
    for project in projects:
        browser = Browser(server.host, f"{project.name}.example.org")
        words = {"name": "Ada", "message": f"From {project.name}."}
        assert browser.submit("/", words).status_code == 302, project.name
        assert f"From {project.name}." in browser.get("/").text
        assert project.entries(server) == 1, project.name


def test_nothing_is_left_to_do(matrix):
    matrix[0].assert_settled()


def test_release_of_all_drops_no_request(matrix):
    server, projects = matrix
    before = {project.name: server.live(project.name)[0] for project in projects}
    change(server, INDEX, "It works.", "Released.")
    with Visitor(server.host, projects) as visitor:
        server.apply()
        time.sleep(1)
    after = {project.name: server.live(project.name)[0] for project in projects}
    assert visitor.failed == []
    assert visitor.answered == {*before.items(), *after.items()}
    assert not set(before.items()) & set(after.items())
    assert [project.entries(server) for project in projects] == [1] * len(projects)


def test_way_back_keeps_what_sqlite_was_told(matrix):
    server, projects = matrix
    for project in (each for each in projects if each.engine == "lite"):
        browser = Browser(server.host, f"{project.name}.example.org")
        release = server.live(project.name)[0]
        for count in range(2, 6):
            words = {"name": "Bob", "message": f"Entry {count}."}
            assert browser.submit("/", words).status_code == 302, project.name
        server.call("django.rollback", project.name)
        assert server.live(project.name)[0] != release
        assert browser.submit("/", words).status_code == 302, project.name
        assert project.entries(server) == 6, project.name
