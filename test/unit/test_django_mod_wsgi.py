"""mod_wsgi: the group of processes of a slot, what it is to run, and the entry point."""

import importlib.util
import json
import os
import sys
import types

import django_health
import django_mod_wsgi
import django_process
import pytest
from pillars import ROOT, SOURCE

ENTRY = ROOT / "salt/django/web/files/usr/local/lib/django-formula/mod-wsgi.py"
NAMES = {
    "path.venv": "/srv/django/shop/venvs/v",
    "path.project": "/srv/django/shop/releases/r/source",
    "path.log": "/var/log/django/shop",
}


@pytest.fixture
def shop(resolve):
    def call(**app):
        project = {
            "source": SOURCE,
            "settings": "shop.settings",
            "app": {"server": "mod_wsgi", "workers": 3, "threads": 4, **app},
        }
        config = resolve({"projects": {"shop": project}})
        assert config["errors"] == []
        return config["projects"]["shop"]

    return call


def test_a_slot_is_a_group_of_processes_of_the_project(shop):
    project = shop(timeout="30s", graceful_timeout="20s", max_requests=1000)
    assert django_mod_wsgi.daemon(project, "b") == [
        "shop.b",
        "display-name=b:shop",
        "user=shop",
        "group=shop",
        "processes=3",
        "threads=4",
        "python-home=/srv/django/shop/slots/b/venv",
        "home=/srv/django/shop/slots/b/home",
        "lang=C.UTF-8",
        "locale=C.UTF-8",
        "umask=0007",
        "listen-backlog=1024",
        "connect-timeout=15",
        "queue-timeout=45",
        "socket-timeout=35",
        "graceful-timeout=20",
        "shutdown-timeout=20",
        "request-timeout=30",
        "maximum-requests=1000",
    ]


def test_options_of_the_pillar_come_last(shop):
    assert django_mod_wsgi.daemon(shop(options=["queue-timeout=5"]), "a")[-1] == "queue-timeout=5"


def test_what_a_slot_runs_holds_no_secret_and_no_size(shop):
    """Sizes are Apache's business: a change of them is no new instance."""
    folder = "/srv/django/shop/instances/i"
    small, large = (
        django_process.definitions(shop(workers=count), {}, NAMES, folder)["web"]
        for count in (1, 9)
    )
    assert small == large
    assert small["mod_wsgi"] == {
        "environment": f"{folder}/environment",
        "directory": NAMES["path.project"],
        "venv": NAMES["path.venv"],
        "module": "shop.wsgi:application",
        "settings": "shop.settings",
        "run": "/run/django/shop",
    }
    assert small["stdout_logfile"] == "/var/log/apache2/shop.error.log"
    assert django_mod_wsgi.is_spoken(small) and not django_mod_wsgi.is_spoken({"command": ["x"]})


def test_an_environment_of_its_own_is_read(shop):
    project = shop(env={"LEVEL": "1"})
    web = django_process.definitions(project, {}, NAMES, "/i")["web"]
    assert web["mod_wsgi"]["environment"] == "/i/environment.web"


def test_in_apache_s_own_processes_it_is_described_apart(resolve):
    app = {"server": "mod_wsgi", "mode": "embedded"}
    project = {"source": SOURCE, "settings": "shop.settings", "app": app}
    apache = {"max_request_workers": 100}
    config = resolve({"apache": apache, "projects": {"shop": project}})
    assert config["errors"] == []
    shop = config["projects"]["shop"]
    assert shop["user"] == shop["group"] == "www-data"
    assert (shop["app"]["workers"], shop["app"]["threads"]) == (2, 64), "as Apache has them"
    assert config["apache"]["daemons"] == {"shop": {}}
    web = django_process.definitions(shop, {}, NAMES, "/i")["web"]
    assert web["embedded"]["environment"] == "/i/environment"
    assert django_mod_wsgi.is_embedded(web) and not django_mod_wsgi.is_spoken(web)


def test_health_is_asked_of_a_slot_by_its_name(tmp_path):
    health = {"protocol": "mod_wsgi", "path": "/", "host": "shop.org", "scheme": "http"}
    health.update(status=[200], timeout=1, site="a.shop.invalid", port=9)
    said = django_health.ask(tmp_path / "none", health, 1)
    assert said.startswith(f"{django_health.NO_ANSWER} on port 9: ")


# The entry point


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Load the entry point as mod_wsgi does, for a group of processes, and give its module."""
    saved, path, place = dict(os.environ), list(sys.path), os.getcwd()
    (tmp_path / "shop/slots/a").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "source").mkdir()
    exits = []
    monkeypatch.setattr("atexit.register", lambda function, *words: exits.append((function, words)))
    conf = types.ModuleType("django.conf")
    conf.settings = types.SimpleNamespace(SETTINGS_MODULE="shop.settings")
    monkeypatch.setitem(sys.modules, "django", types.ModuleType("django"))
    monkeypatch.setitem(sys.modules, "django.conf", conf)

    def call(group, root=None):
        monkeypatch.setitem(sys.modules, "mod_wsgi", types.SimpleNamespace(process_group=group))
        spec = importlib.util.spec_from_file_location("entry", ENTRY)
        module = importlib.util.module_from_spec(spec)
        text = ENTRY.read_text().replace('"/srv/django"', repr(str(tmp_path)))
        exec(compile(text, str(ENTRY), "exec"), module.__dict__)
        return module

    call.root, call.conf, call.exits = tmp_path, conf, exits
    yield call
    os.chdir(place)
    os.environ.clear()
    os.environ.update(saved)
    sys.path[:] = path
    for name in [name for name in sys.modules if name.startswith("shop_under_test")]:
        del sys.modules[name]


def entry(root, module="shop_under_test:application", **changes):
    """Let slot a of the project be there for an application."""
    (root / "source/shop_under_test.py").write_text(
        "import os\nLEVEL = os.environ['LEVEL']\nPLACE = os.getcwd()\n"
        "def application(environ, start_response):\n    return [LEVEL]\n"
        "def make():\n    return application\n"
    )
    (root / "environment").write_text("LEVEL='it'\"'\"'s 1%'\nPYTHONPATH=/x:/y\n")
    told = {
        "environment": str(root / "environment"),
        "directory": str(root / "source"),
        "venv": os.path.realpath(sys.prefix),
        "module": module,
        "settings": "shop.settings",
        "run": str(root / "run"),
        "instance": "i",
        **changes,
    }
    (root / "shop/slots/a/entry.json").write_text(json.dumps(told))


def marks(root):
    return sorted(path.name for path in (root / "run").iterdir())


@pytest.mark.parametrize("module", ["shop_under_test:application", "shop_under_test:make()"])
def test_the_project_is_loaded_in_its_own_environment(run, module):
    os.environ["LEAKED"] = "of Apache"
    entry(run.root, module)
    found = run("shop.a").application({}, None)
    assert found == ["it's 1%"]
    assert "LEAKED" not in os.environ and os.getcwd() == str(run.root / "source")
    assert sys.path[:3] == [str(run.root / "source"), "/x", "/y"]
    assert marks(run.root) == [f"web-i.{os.getpid()}"]
    ((forget, words),) = run.exits
    forget(*words)
    assert marks(run.root) == []


def test_apache_s_own_processes_run_the_instance_that_has_their_python(run, monkeypatch):
    entry(run.root)
    (run.root / "shop/slots/a/entry.json").rename(run.root / "entry.json")
    (run.root / "python").symlink_to(sys.prefix)
    monkeypatch.setattr(sys, "prefix", str(run.root / "python"))
    assert run("").application({}, None) == ["it's 1%"]
    assert marks(run.root) == [f"web-i.{os.getpid()}"]


def test_a_slot_with_nothing_to_run_says_so(run):
    said = []
    answer = run("shop.a").application({}, lambda status, headers: said.append((status, headers)))
    assert answer == [b""] and said[0][0].startswith("503 ")
    assert marks(run.root) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": "shop.live"}, "uses the settings shop.settings, and not those"),
        ({"venv": "/srv/django/shop/venvs/other"}, "which is not /srv/django/shop/venvs/other"),
        ({"module": "shop_under_test:gone"}, "has no attribute 'gone'"),
        ({"module": "shop_under_test_gone:application"}, "No module named"),
    ],
)
def test_what_must_not_serve_fails_and_says_so(run, changes, message):
    entry(run.root, **changes)
    with pytest.raises((RuntimeError, AttributeError, ImportError), match=message):
        run("shop.a")
    assert marks(run.root) == ["web-i.failed"]
