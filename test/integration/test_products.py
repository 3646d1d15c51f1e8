"""
Real products, by pillar alone: a site made by Wagtail's own command, whose index is kept by a
worker of RQ, and pretalx from PyPI with a worker of Celery.
"""

import datetime
import re
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from test.hosts import boot

from .machines import ensure
from .server import Browser, Server, picture, put_checkout

pytestmark = pytest.mark.proves(
    "projects",
    "Wagtail and pretalx",
    "real products from PyPI by pillar alone; workers of RQ and Celery do their jobs",
    on=["Debian 12"],
)

WAGTAIL = "7.0.3"
PRETALX = "2025.2.2"
PNG = picture()
DATABASES = {"blog": "blog", "conference": "talks"}  # and the projects that they are of
PILLAR = f"""\
django:
  projects:

    blog:
      source: {{path: /srv/src/blog}}
      settings: blog.settings.production
      domains: [blog.example.org]
      files:
        blog/settings/local.py:
          content: |
            import os
            from .base import INSTALLED_APPS
            INSTALLED_APPS = [*INSTALLED_APPS, "django_tasks", "django_rq"]
            TASKS = {{"default": {{"BACKEND": "django_tasks.backends.rq.RQBackend"}}}}
            RQ_QUEUES = {{"default": {{"URL": os.environ["RQ_REDIS_URL"]}}}}
            SECRET_KEY = os.environ["SECRET_KEY"]
            ALLOWED_HOSTS = os.environ["ALLOWED_HOSTS"].split(",")
            CSRF_TRUSTED_ORIGINS = os.environ["CSRF_TRUSTED_ORIGINS"].split(",")
            STATIC_ROOT = os.environ["STATIC_ROOT"]
            MEDIA_ROOT = os.environ["MEDIA_ROOT"]
            WAGTAILADMIN_BASE_URL = os.environ["SITE_URL"]
            DATABASES = {{"default": {{
                "ENGINE": "django.db.backends.postgresql",
                "NAME": os.environ["DATABASE_NAME"],
                "USER": os.environ["DATABASE_USER"],
                "PASSWORD": os.environ["DATABASE_PASSWORD"],
                "HOST": os.environ["DATABASE_HOST"],
                "PORT": os.environ["DATABASE_PORT"],
            }}}}
      python: {{packages: ['psycopg[binary]==3.3.9', 'django-tasks[rq]==0.7.0']}}
      superuser: {{username: editor, email: editor@example.org}}
      processes:
        indexer: {{rq: {{options: [--job-class=django_tasks.backends.rq.Job]}}}}
      tasks:
        - {{name: search-index, manage: update_index, when: after}}

    talks:
      source: {{pypi: 'pretalx[redis]=={PRETALX}'}}
      settings: pretalx.settings
      manage: {{module: pretalx}}
      python: {{packages: ['psycopg[binary]==3.3.9']}}
      domains: [talks.example.org]
      database: {{name: conference}}
      app: {{module: 'pretalx.wsgi:application'}}
      writable: [data]
      env:
        PRETALX_DATA_DIR: '@{{path.data}}'
        PRETALX_FILESYSTEM_STATIC: '@{{path.static}}'
        PRETALX_FILESYSTEM_MEDIA: '@{{path.media}}'
        PRETALX_FILESYSTEM_LOGS: '@{{path.data}}/logs'
        SECRET_KEY: null
        HTTPS_PROXY: http://127.0.0.1:9  # nobody outside has to know of this test
      secrets:
        pretalx_key: {{generate: 60, export: false}}
      files:
        /etc/django/talks/pretalx.cfg:
          format: ini
          variable: PRETALX_CONFIG_FILE
          content:
            site: {{url: '@{{url}}', secret: '@{{secrets.pretalx_key}}'}}
            database:
              backend: postgresql
              name: '@{{database.name}}'
              user: '@{{database.user}}'
              password: '@{{database.password}}'
              host: '@{{database.host}}'
              port: '@{{database.port}}'
            redis: {{location: '@{{redis.url1}}', sessions: true}}
            celery: {{broker: '@{{broker.url}}', backend: '@{{redis.url3}}'}}
      superuser: {{username: chair@example.org}}  # its users have no other name
      processes:
        jobs: {{celery: {{app: pretalx.celery_app, concurrency: 1}}}}
      timers:
        periodic: {{manage: runperiodic, schedule: '*/5 * * * *'}}
      web: {{tls: {{certificate: /etc/ssl/talks.pem, key: /etc/ssl/private/talks.key}}}}
      health: {{path: /orga/login/}}
"""


def self_signed(name):
    """A certificate for a domain and its key, as PEM texts."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(encoding).decode(), private.decode()


@pytest.fixture(scope="module")
def server():
    """A server with a site made by `wagtail start`, to which the pillar was given."""
    with boot("int-products", image=ensure("bookworm-ready")) as host:
        put_checkout(host)
        uv = "/opt/django-formula/uv/bin/uv"
        host.run(
            f"{uv} venv -q /tmp/w && {uv} pip install -q -p /tmp/w/bin/python wagtail=={WAGTAIL}"
        )
        host.run("mkdir -p /srv/src/blog && /tmp/w/bin/wagtail start blog /srv/src/blog")
        host.run("rm -r /tmp/w")
        certificate, key = self_signed("talks.example.org")
        host.write("/etc/ssl/talks.pem", certificate)
        host.write("/etc/ssl/private/talks.key", key, mode=0o600)
        server = Server(host)
        server.first = server.bootstrap(pillar=PILLAR)
        yield server


@pytest.fixture
def blog(server):
    return Browser(server.host, "blog.example.org")


@pytest.fixture
def talks(server):
    return Browser(server.host, "talks.example.org", scheme="https")


def test_wagtail_site_is_served(blog):
    page = blog.get("/")
    assert page.status_code == 200
    assert "Welcome to your new Wagtail site" in page.text
    for asset in re.findall(r'(?:src|href)="?(/static/[^">\s]+)', page.text):
        assert blog.get(asset).status_code == 200, asset


def test_wagtail_editor_logs_in_and_publishes(server, blog):
    password = server.secret("blog", "superuser.password")
    answer = blog.login("/admin/login/", "editor", password)
    assert answer.status_code == 302
    page = blog.get("/admin/")
    assert page.status_code == 200
    assert "Wagtail" in page.text
    home = publish(server, blog, "Hello from the editor")
    assert "Hello from the editor" in blog.get("/").text
    assert server.psql(f"SELECT title FROM wagtailcore_page WHERE id = {home}", "blog") == [
        "Hello from the editor"
    ]


def publish(server, blog, title):
    """Let the editor give the first page another title."""
    home = server.psql("SELECT id FROM wagtailcore_page WHERE depth = 2", "blog")[0]
    fields = {"title": title, "slug": "home", "action-publish": "action-publish"}
    fields |= {"comments-TOTAL_FORMS": "0", "comments-INITIAL_FORMS": "0"}
    saved = blog.submit(f"/admin/pages/{home}/edit/", fields)
    assert saved.status_code == 302, saved.text[:2000]
    return home


def wait_for_row(server, database, sql):
    """The first row that a question has, within two minutes."""
    end = time.monotonic() + 120
    while not (rows := server.psql(sql, database)) and time.monotonic() < end:
        time.sleep(0.5)
    assert rows, server.run(f"tail -n 30 /var/log/django/{DATABASES[database]}/*.log").stdout
    return rows[0]


def test_wagtail_s_index_is_kept_by_its_worker(server, blog):
    """What the editor publishes waits for the worker, and is found once that has run."""
    program = next(
        line.split()[0]
        for line in server.run("supervisorctl status", check=False).stdout.splitlines()
        if line.startswith("blog.indexer.")
    )
    server.run(["supervisorctl", "stop", program])
    blog.login("/admin/login/", "editor", server.secret("blog", "superuser.password"))
    publish(server, blog, "Found by the worker")
    found = "SELECT title FROM wagtailsearch_indexentry WHERE title::text LIKE '%worker%'"
    assert server.psql(found, "blog") == []
    assert "blog: processes run" in server.apply().changed
    wait_for_row(server, "blog", found)
    log = server.host.read("/var/log/django/blog/indexer.log")
    assert "Successfully completed wagtail.search.tasks.insert_or_update_object_task" in log


def test_wagtail_picture_is_uploaded_resized_and_served(server, blog):
    blog.login("/admin/login/", "editor", server.secret("blog", "superuser.password"))
    files = {"file": ("dot.png", PNG, "image/png")}
    saved = blog.submit("/admin/images/add/", {"title": "dot", "collection": "1"}, files=files)
    assert saved.status_code == 302, saved.text[:2000]
    listing = blog.get("/admin/images/").text
    url = re.search(r'src="(/media/images/[^"]+)"', listing).group(1)
    assert blog.get(url).status_code == 200


def test_pretalx_is_served_over_tls_only(server, talks):
    page = talks.get("/orga/login/")
    assert page.status_code == 200
    for asset in re.findall(r'(?:src|href)="?(/static/[^">\s]+)', page.text):
        assert talks.get(asset).status_code == 200, asset
    plain = server.host.get("/orga/login/", host="talks.example.org")
    assert plain.status in (301, 308)
    assert plain.headers["Location"] == "https://talks.example.org/orga/login/"


def test_pretalx_chair_logs_in(server, talks):
    password = server.secret("talks", "superuser.password")
    fields = {"login_email": "chair@example.org", "login_password": password}
    answer = talks.submit("/orga/login/", fields)
    assert answer.status_code == 302, answer.text[:2000]
    page = talks.get("/orga/event/")
    assert page.status_code == 200
    assert "chair@example.org" in page.text or "logout" in page.text


def test_pretalx_s_worker_does_what_its_timer_asks_for(server):
    """The product's own periodic command queues a task, whose result its worker writes down."""
    server.run(["django-manage", "talks", "runperiodic"], timeout=120)
    result = "SELECT value FROM common_globalsettings_settingsstore WHERE key = '{}'"
    wait_for_row(server, "conference", result.format("update_check_last"))
    said = wait_for_row(server, "conference", result.format("update_check_result"))
    assert "unavailable" in said
    log = server.host.read("/var/log/django/talks/jobs.log")
    assert re.search(r"Task pretalx\.common\.update_check\[[0-9a-f-]+\] succeeded", log)


def test_pretalx_has_its_database_cache_worker_and_timer(server):
    tables = server.psql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", "conference")
    assert int(tables[0]) > 30
    assert server.host.pids("celery --app=pretalx.celery_app worker")
    assert "ready." in server.host.read("/var/log/django/talks/jobs.log")
    assert server.mode("/etc/django/talks/pretalx.cfg").startswith(("640 ", "440 ", "400 "))


def test_products_do_not_meet(server):
    for stranger, path in (
        ("blog", "/etc/django/talks/pretalx.cfg"),
        ("talks", "/srv/django/blog/shared/media"),
    ):
        assert (
            server.host.run(["ls", "-d", f"{path}/."], user=stranger, check=False).returncode != 0
        )


def test_nothing_is_left_to_do(server):
    assert server.call("django.validate")["errors"] == []
    server.assert_settled()
    assert "No changes" in server.bootstrap().stdout
