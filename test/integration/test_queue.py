"""
Queues by pillar alone: Celery and django-rq with a broker, jobs that outlive releases, another
front door and another process manager. The site has two databases.
"""

import re
import time

import pytest

from test.hosts import boot

from .machines import ensure
from .server import Browser, Server, put_checkout

pytestmark = [
    pytest.mark.proves(
        "workers and schedulers",
        "Celery, beat, Flower, django-rq and its scheduler",
        "jobs before, over and after a release and a way back are done once; the broker's restart "
        "loses none; from Nginx to Apache and from Supervisord to systemd",
        on=["Debian 12"],
    ),
    pytest.mark.proves(
        "database server",
        "several databases of one project",
        "each with a user of its own, migrated and written to",
        on=["Debian 12"],
    ),
]

SOURCE = "/srv/src/shop"
BROKER = "redis-server@shop_broker"
PILLAR = """\
django:
  process_manager: %s
  projects:
    shop:
      source: {path: /srv/src/shop}
      settings: shop.settings
      static: {enabled: false}
      web: {server: %s}
      databases: {archive: {engine: postgresql}}
      migrate: {databases: [default, archive]}
      env: {ARCHIVE_URL: '@{databases.archive.url}'}
      processes:
        jobs: {celery: {app: shop, queues: [celery, mail], autoscale: [1, 2]}, start_seconds: 1s}
        clock: {celery_beat: shop, start_seconds: 1s}
        quick: {rq: [high, default], start_seconds: 1s}
        later: {rq_scheduler: {queue: high, interval: 1s}, start_seconds: 1s}
        monitor: {flower: shop, start_seconds: 1s}
"""
FILES = {
    "requirements.txt": """\
Django==5.2.19
psycopg[binary]==3.3.9
dj-database-url==3.1.2
celery[redis]==5.7.0
django-rq==4.2.0
rq-scheduler==0.14.0
""",
    "manage.py": """\
from django.core.management import execute_from_command_line

execute_from_command_line()
""",
    "shop/__init__.py": "from .celery import app\n",
    "shop/version.py": 'VERSION = "one"\n',
    "shop/celery.py": """\
import celery

app = celery.Celery("shop")
app.conf.task_ignore_result = True
app.conf.beat_schedule = {
    "tick": {"task": "shop.tasks.tick", "schedule": 1, "options": {"expires": 5}}
}
app.autodiscover_tasks(["shop"])
""",
    "shop/settings.py": """\
import os

import dj_database_url

SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = os.environ["ALLOWED_HOSTS"].split(",")
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = ["django.contrib.contenttypes", "django_rq", "shop"]
DATABASES = {"default": dj_database_url.config(), "archive": dj_database_url.config("ARCHIVE_URL")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
RQ = {"URL": os.environ["RQ_REDIS_URL"], "DEFAULT_TIMEOUT": 600}
RQ_QUEUES = {"high": RQ, "default": RQ}
""",
    "shop/wsgi.py": """\
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
""",
    "shop/models.py": """\
from django.db import models


class Run(models.Model):
    name = models.TextField()
    version = models.TextField()
    is_done = models.BooleanField(default=False)


class Gate(models.Model):
    name = models.TextField()
""",
    "shop/tasks.py": """\
import time

from celery import shared_task

from .models import Gate, Run
from .version import VERSION


def run(name, waits):
    found = Run.objects.create(name=name, version=VERSION)
    end = time.monotonic() + 500
    while waits and time.monotonic() < end and not Gate.objects.filter(name=name).exists():
        time.sleep(0.1)
    found.is_done = True
    found.save()


@shared_task
def work(name, waits=False):
    run(name, waits)


@shared_task
def tick():
    run("tick", False)
""",
    "shop/urls.py": """\
import django_rq
from django.http import HttpResponse
from django.urls import path

from .tasks import run, work
from .version import VERSION


def index(request):
    return HttpResponse(VERSION)


def submit(request, kind, name):
    waits = "waits" in request.GET
    if kind == "celery":
        work.delay(name, waits)
    else:
        django_rq.get_queue("high").enqueue(run, name, waits)
    return HttpResponse("submitted")


urlpatterns = [path("", index), path("submit/<kind>/<name>/", submit)]
""",
}
KINDS = ("celery", "rq")


@pytest.fixture(scope="module")
def server():
    """A bare server to which a site with queues was given."""
    with boot("int-queue", image=ensure("bookworm-ready")) as host:
        put_checkout(host)
        for name, text in FILES.items():
            host.write(f"{SOURCE}/{name}", text)
        host.write(f"{SOURCE}/shop/migrations/__init__.py", "")
        host.write(f"{SOURCE}/shop/migrations/0001_initial.py", migration())
        server = Server(host)
        server.bootstrap_as_predicted(PILLAR % ("supervisord", "nginx"))
        yield server


def migration():
    """The first migration, which has the models' fields."""
    name = '("name", models.TextField())'
    key = '("id", models.BigAutoField(primary_key=True, serialize=False))'
    version = '("version", models.TextField())'
    done = '("is_done", models.BooleanField(default=False))'
    return f"""\
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel("Run", [{key}, {name}, {version}, {done}]),
        migrations.CreateModel("Gate", [{key}, {name}]),
    ]
"""


def submit(server, name, kinds=KINDS, waits=False):
    """Submit a job of each kind through the site; they are called after it and the kind."""
    for kind in kinds:
        page = server.host.get(f"/submit/{kind}/{name}-{kind}/{'?waits' if waits else ''}")
        assert (page.status, page.text) == (200, "submitted")


def runs(server, name):
    """Runs of a job as ``version|is done``, one for each time that it ran."""
    sql = f"SELECT version, is_done FROM shop_run WHERE name LIKE '{name}-%' ORDER BY name, id"
    return server.psql(sql, "shop")


def wait_for(server, name, wanted):
    """Wait until the runs of a job are as wanted, and no others."""
    end = time.monotonic() + 60
    while runs(server, name) != wanted and time.monotonic() < end:
        time.sleep(0.2)
    assert runs(server, name) == wanted, tail(server)


def tail(server):
    return server.run("tail -n 30 /var/log/django/shop/*.log").stdout


def beats(server):
    return server.host.pids("celery --app=shop beat")


def ticks(server):
    return int(server.psql("SELECT count(*) FROM shop_run WHERE name = 'tick'", "shop")[0])


def workers(server):
    """Programs of workers that run, those that finish their work too."""
    lines = server.run("supervisorctl status", check=False).stdout.splitlines()
    found = [line.split()[:2] for line in lines if line.startswith(("shop.jobs.", "shop.quick."))]
    return [name for name, state in found if state in ("RUNNING", "STOPPING")]


def ask(server, *words):
    """What the broker answers."""
    [broker] = [
        each
        for each in server.call("django.config")["redis"]["instances"]
        if each["name"] == "shop_broker"
    ]
    env = {"REDISCLI_AUTH": server.secret("shop", "broker.password")}
    return server.run(["redis-cli", "-p", str(broker["port"]), *words], env=env).stdout


def test_jobs_of_the_site_are_done(server):
    submit(server, "first")
    wait_for(server, "first", ["one|t", "one|t"])


def test_jobs_of_a_management_command_are_done(server):
    """Also those of another queue than the usual one, and those that are due later."""
    manage(
        server,
        "import datetime, django_rq",
        "from shop.tasks import run, work",
        "soon = datetime.timedelta(seconds=1)",
        "django_rq.get_scheduler('high').enqueue_in(soon, run, 'due-rq', False)",
        "work.delay('shell-celery')",
        "work.apply_async(['posted-celery'], queue='mail')",
    )
    for name in ("shell", "posted", "due"):
        wait_for(server, name, ["one|t"])


def manage(server, *lines):
    """Run lines of Python in the project's shell."""
    server.run(["django-manage", "shop", "shell", "-c", "\n".join(lines)])


def test_each_database_has_its_own(server):
    add = "Run.objects.using('archive').create(name='old', version='zero')"
    manage(server, "from shop.models import Run", add)
    asked = (
        "SELECT name, pg_get_userbyid(relowner) FROM shop_run, pg_class WHERE relname = 'shop_run'"
    )
    assert server.psql(asked, "shop_archive") == ["old|shop_archive"]
    assert "old|shop" not in server.psql(asked, "shop")


def flower(server, path="/flower/"):
    """What Flower answers to who knows its password; it may have been started a moment ago."""
    browser, login = Browser(server.host), ("admin", server.secret("shop", "flower.password"))
    end = time.monotonic() + 60
    while True:
        answer = browser.get(path, auth=login)
        if answer.status_code != 502 or time.monotonic() > end:
            return answer
        time.sleep(0.5)


def test_flower_is_behind_a_password_and_on_no_port(server):
    page = flower(server)
    assert page.status_code == 200 and "Flower" in page.text
    assets = re.findall(r'(?:src|href)="(/flower/static/[^"?]+)', page.text)
    assert assets
    for asset in assets:
        assert flower(server, asset).status_code == 200, asset
    for path in ("/flower/", "/flower/tasks", "/flower/api/workers", "/flower/api/tasks"):
        assert server.host.get(path).status == 401, path
    assert Browser(server.host).get("/flower/", auth=("admin", "admin")).status_code == 401
    password = server.secret("shop", "flower.password")
    (pid,) = server.host.pids("celery --app=shop flower")
    assert password not in server.run("ps axww -o args").stdout
    assert f"pid={pid}," not in server.run("ss -Hltnp").stdout
    assert server.mode("/srv/django/shop/live/environment.monitor") == "400 shop:shop"


def test_flower_sees_workers_and_jobs(server):
    (worker,) = flower(server, "/flower/api/workers?refresh=1").json()
    assert worker.startswith(f"jobs-{server.live('shop')[1]}@")
    end, count = time.monotonic() + 90, 0
    while time.monotonic() < end:
        submit(server, f"seen{count}", kinds=["celery"])
        time.sleep(1)  # it asks workers to tell of their jobs when it has found them
        tasks = flower(server, "/flower/api/tasks?taskname=shop.tasks.work").json()
        if any(task["state"] == "SUCCESS" for task in tasks.values()):
            break
        count += 1
    assert [task for task in tasks.values() if task["state"] == "SUCCESS"], tail(server)


def test_broker_is_a_server_of_its_own(server):
    first, second = server.call("django.config")["redis"]["instances"]
    assert first["port"] != second["port"]
    assert "maxmemory_policy:noeviction" in ask(server, "info", "memory")
    assert "aof_enabled:1" in ask(server, "info", "persistence")
    port = str(second["port"])
    env = {"REDISCLI_AUTH": server.secret("shop", "cache.password")}
    assert "PONG" not in server.run(["redis-cli", "-p", port, "ping"], env=env, check=False).stdout
    password = server.secret("shop", "broker.password")
    assert password not in server.run("ps axww -o args").stdout
    assert "NOPERM" in ask(server, "config", "get", "aclfile")


def test_cache_outlives_a_restart(server):
    [cache] = [
        each
        for each in server.call("django.config")["redis"]["instances"]
        if each["name"] == "shop"
    ]
    env = {"REDISCLI_AUTH": server.secret("shop", "cache.password")}
    ask_cache = ["redis-cli", "-p", str(cache["port"])]
    server.run([*ask_cache, "set", "kept", "over the restart"], env=env)
    server.run(["systemctl", "restart", cache["service"]])
    assert server.run([*ask_cache, "get", "kept"], env=env).stdout == "over the restart\n"


def test_one_beat_sends_what_is_due(server):
    assert len(beats(server)) == 1
    before, end = ticks(server), time.monotonic() + 60
    while ticks(server) < before + 2 and time.monotonic() < end:
        time.sleep(0.2)
    assert ticks(server) >= before + 2, tail(server)
    kept = server.run("cd /srv/django/shop/shared/celery && stat -c '%n %U' *").stdout.split()
    assert kept[0].startswith("clock.schedule") and set(kept[1::2]) == {"shop"}


def test_nothing_is_left_to_do(server):
    server.assert_settled()


def test_jobs_that_run_while_a_release_goes_live_finish_in_theirs(server):
    """
    Two of Celery's at a time, as there is so much to do; another front door comes with it. The way
    back by the source neither waits for them nor cuts them off.
    """
    submit(server, "held", waits=True)
    submit(server, "wide", kinds=["celery"], waits=True)
    wait_for(server, "held", ["one|f", "one|f"])
    wait_for(server, "wide", ["one|f"])
    old_beat, instance = beats(server), server.live("shop")[1]
    server.host.write(f"{SOURCE}/shop/version.py", 'VERSION = "two"\n')
    server.pillar(PILLAR % ("supervisord", "apache"))
    server.apply()
    page = server.host.get("/")
    assert (page.text, page.headers["Server"]) == ("two", "Apache")
    assert len(workers(server)) == 4, "the old ones have work to do"
    assert server.host.pids(f"--hostname=jobs-{instance}")
    assert len(beats(server)) == 1 and beats(server) != old_beat

    submit(server, "after")
    wait_for(server, "after", ["two|t", "two|t"])
    server.host.write(f"{SOURCE}/shop/version.py", 'VERSION = "one"\n')
    predicted = server.predict()
    assert server.apply().changed == predicted.changed
    assert server.host.get("/").text == "one" and len(beats(server)) == 1
    submit(server, "back")
    wait_for(server, "back", ["one|t", "one|t"])
    assert runs(server, "held") == ["one|f", "one|f"]
    gates = "('held-celery'), ('held-rq'), ('wide-celery')"
    server.psql(f"INSERT INTO shop_gate (name) VALUES {gates}", "shop")
    wait_for(server, "held", ["one|t", "one|t"])
    wait_for(server, "wide", ["one|t"])
    end = time.monotonic() + 60
    while len(workers(server)) > 2 and time.monotonic() < end:
        time.sleep(0.2)
    assert not any(name.endswith(instance) for name in workers(server))
    assert runs(server, "after") == ["two|t", "two|t"]


def test_queue_outlives_a_restart_of_the_broker(server):
    server.run(["supervisorctl", "stop", *workers(server)], timeout=120)
    assert workers(server) == []
    for number in range(3):
        submit(server, f"kept{number}")
    assert ask(server, "llen", "rq:queue:high") == "3\n"
    server.run(["systemctl", "restart", BROKER])
    assert ask(server, "llen", "rq:queue:high") == "3\n"
    assert runs(server, "kept%") == []


def test_systemd_takes_over_workers_and_schedulers(server):
    """What waits is done by its workers, and again nothing twice."""
    server.pillar(PILLAR % ("systemd", "apache"))
    predicted = server.predict()
    outcome = server.apply()
    assert outcome.changed == predicted.changed and "shop: processes run" in outcome.changed
    wait_for(server, "kept%", ["one|t"] * 6)
    submit(server, "late")
    wait_for(server, "late", ["one|t", "one|t"])
    assert flower(server).status_code == 200, "behind Apache, too"
    units = server.run("systemctl list-units --plain --no-legend --state=running 'shop.*'").stdout
    names = {line.split(".")[1] for line in units.splitlines()}
    assert names == {"web", "jobs", "clock", "quick", "later", "monitor"}
    assert len(beats(server)) == 1
    for name in ("first", "held", "after", "back"):
        assert len(runs(server, name)) == 2, "none was done twice"
    for name in ("shell", "posted", "due", "wide"):
        assert len(runs(server, name)) == 1
    predicted = server.predict()
    assert predicted.changed == [], predicted.told()
