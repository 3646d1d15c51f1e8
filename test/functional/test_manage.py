"""Management commands of a layout of one's own, with a real Django, in the real Salt loader."""

import json
import os
import pathlib
import pwd
import subprocess
import sys
import threading

import django_venv
import pytest
from salt.exceptions import CommandExecutionError

SECRET = "do-not-show-me-42"
SETTINGS = """
import os, pathlib
BASE = pathlib.Path(__file__).parent.parent
SECRET_KEY = os.environ.get("SECRET_KEY", "x" * 50)
INSTALLED_APPS = [
    "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
    "django.contrib.staticfiles", "shop",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE / "data/db.sqlite3"}}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "kept"}}
STATIC_URL, STATIC_ROOT = "static/", BASE / "data/static"
BROKER_URL = "redis://:" + SECRET_KEY[:0] + "hidden-pw@localhost/0"
EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""
MODELS = """
from django.db import models
from django.utils import timezone

class Item(models.Model):
    name = models.CharField(max_length=20)
    price = models.DecimalField(max_digits=6, decimal_places=2, default=1)
    made = models.DateTimeField(default=timezone.now)
    groups = models.ManyToManyField("auth.Group", blank=True)
"""
ECHO = """
import json, os, sys, time
from django.core.management.base import BaseCommand, CommandError

class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("words", nargs="*")
        parser.add_argument("--tag", action="append")
        parser.add_argument("--flag", action="store_true")
        parser.add_argument("--fail")
        parser.add_argument("--sleep", type=float)

    def handle(self, **options):
        if options["fail"]:
            raise CommandError(options["fail"] + os.environ.get("API_TOKEN", ""))
        time.sleep(options["sleep"] or 0)
        self.stdout.write(json.dumps({
            **{key: options[key] for key in ("words", "tag", "flag", "verbosity")},
            "uid": os.getuid(), "cwd": os.getcwd(), "token": os.environ.get("API_TOKEN"),
            "home": os.environ["HOME"], "salt": os.environ.get("OF_SALT"),
        }))
"""
FIXTURE = [
    {"model": "auth.group", "fields": {"name": "staff", "permissions": []}},
    {
        "model": "shop.item",
        "pk": 1,
        "fields": {"name": "tea", "price": "2.5", "groups": [["staff"]]},
    },
    {"model": "shop.item", "pk": 2, "fields": {"name": "milk"}},
]


@pytest.fixture(scope="session")
def venv(tmp_path_factory):
    """A virtual environment with Django, made once, of a Python that other users can run."""
    folder = tmp_path_factory.mktemp("django") / "venv"
    uv = pathlib.Path(sys.executable).with_name("uv")
    environment = {**os.environ, "UV_SYSTEM_CERTS": "1", "UV_NO_PROGRESS": "1"}
    index = django_venv.pip_index()
    if index:
        environment.setdefault("UV_DEFAULT_INDEX", index)
    for words in (
        ["venv", "--quiet", "--python", "/usr/bin/python3", folder],
        ["pip", "install", "--quiet", "--compile-bytecode", "--python", folder, "Django~=5.2.0"],
    ):
        subprocess.run([uv, *words], check=True, env=environment)
    return folder


@pytest.fixture(scope="session")
def template(tmp_path_factory, venv):
    """A project without a database, and one whose database is migrated (bytes)."""
    folder = tmp_path_factory.mktemp("template")
    commands = folder / "shop/management/commands"
    for path in (commands, folder / "shop/migrations", folder / "shop/static", folder / "data"):
        path.mkdir(parents=True)
    for path in ("shop", "shop/migrations", "shop/management", "shop/management/commands"):
        (folder / path / "__init__.py").touch()
    (folder / "shop/settings.py").write_text(SETTINGS)
    (folder / "shop/models.py").write_text(MODELS)
    (folder / "shop/static/site.css").write_text("a {}\n")
    (folder / "shop/fixtures").mkdir()
    (folder / "shop/fixtures/start.json").write_text(json.dumps(FIXTURE))
    (commands / "echo.py").write_text(ECHO)
    call = [f"{venv}/bin/python", "-m", "django"]
    environment = {"DJANGO_SETTINGS_MODULE": "shop.settings", "PATH": "/usr/bin:/bin"}
    for words in (["makemigrations", "shop"], ["migrate"]):
        subprocess.run([*call, *words], check=True, cwd=folder, env=environment, stdout=-3)
    database = folder / "data/db.sqlite3"
    content = database.read_bytes()
    database.unlink()
    return folder, content


@pytest.fixture
def bare(tmp_path, template):
    """The folder of a project whose database is empty."""
    folder = tmp_path / "site"
    subprocess.run(["cp", "-a", template[0], folder], check=True)
    return folder


@pytest.fixture
def folder(bare, template):
    """The folder of a project whose database is migrated."""
    (bare / "data/db.sqlite3").write_bytes(template[1])
    return bare


@pytest.fixture
def call(modules, folder, venv):
    """Function that calls an execution function for the project."""

    def function(name, *words, **keywords):
        where = {"bin_env": str(venv), "cwd": str(folder), **keywords}
        return modules[f"django.{name}"]("shop.settings", *words, **where)

    return function


@pytest.fixture
def prove(states, venv):
    """Apply a state: test mode says the same as the run, and again nothing changes."""

    def apply(function, folder, **arguments):
        where = {"settings": "shop.settings", "bin_env": str(venv), "cwd": str(folder)}
        state, where = states[f"django.{function}"], {"name": "it", **where, **arguments}
        predicted, real = state(**where, test=True), state(**where)
        assert real.result is True and real.changes, real.comment
        assert predicted.result is None, predicted.comment
        assert predicted.changes == real.changes
        for again in (state(**where, test=True), state(**where)):
            assert (again.result, again.changes) == (True, {}), again.comment
        return real

    return apply


class TestCommand:
    def test_words_options_and_surroundings(self, call, folder, monkeypatch):
        monkeypatch.setenv("OF_SALT", "1")
        said = call("command", "echo", "a b", 3, tag=["x", "y"], flag=True, fail=None, verbosity=0)
        assert json.loads(said) == {
            "words": ["a b", "3"],
            "tag": ["x", "y"],
            "flag": True,
            "verbosity": 0,
            "uid": os.getuid(),
            "cwd": str(folder),
            "token": None,
            "home": pwd.getpwuid(os.getuid()).pw_dir,
            "salt": None,
        }

    def test_options_as_words(self, call):
        assert "[X]  auth.0001_initial" in call("command", "showmigrations", "--plan")

    @pytest.mark.needs_root
    def test_as_another_user(self, call, folder, venv):
        for path in {folder, *list(folder.parents)[:-2], *list(venv.parents)[:-2]}:
            path.chmod(0o755)
        said = json.loads(call("command", "echo", runas="nobody"))
        assert said["uid"] == pwd.getpwnam("nobody").pw_uid

    def test_failure_is_told_without_secrets(self, call):
        with pytest.raises(CommandExecutionError, match="it broke") as caught:
            call("command", "echo", fail="it broke ", env={"API_TOKEN": SECRET})
        assert SECRET not in str(caught.value)
        assert SECRET not in call("command", "echo", env={"API_TOKEN": SECRET})

    def test_time_limit(self, call):
        with pytest.raises(CommandExecutionError, match="time limit of 0.3 s"):
            call("command", "echo", sleep=30, timeout=0.3)

    @pytest.mark.parametrize(
        ("keywords", "message"),
        [
            ({"bin_env": "/nowhere"}, "/nowhere/bin/python"),
            ({"cwd": "/nowhere"}, "/nowhere"),
            ({"runas": "nobody-of-that-name"}, "does not exist"),
            ({"tag": {"a": 1}}, "tag: expected"),
        ],
    )
    def test_what_cannot_be_run(self, call, keywords, message):
        with pytest.raises(CommandExecutionError, match=message):
            call("command", "echo", **keywords)

    def test_neither_project_nor_settings(self, modules):
        with pytest.raises(CommandExecutionError, match="no project 'shop'"):
            modules["django.command"]("shop", "check")

    def test_a_word_that_a_state_does_not_know_is_told(self, states, folder, venv):
        """Salt itself ends the whole run there, with the manual of state.apply."""
        where = {"settings": "shop.settings", "bin_env": str(venv), "cwd": str(folder)}
        done = states["django.command_run"](name="check", **where, timeot=3)
        assert (done.result, done.changes) == (False, {})
        assert done.comment == "timeot: unknown; did you mean timeout?"
        done = states["django.verified"](name="x", project="shop", colour="red")
        assert done.comment == "colour: unknown; there are: name, project"
        assert states["django.command_run"](name="check", **where, order=3).result is True

    def test_a_command_must_be_named(self, call):
        for wrong in (None, "", []):
            with pytest.raises(CommandExecutionError, match="command: expected a text or a list"):
                call("run_command", wrong)

    def test_state_runs_each_time_unless_told(self, states, folder, venv):
        where = {"settings": "shop.settings", "bin_env": str(venv), "cwd": str(folder)}
        run = states["django.command_run"]
        assert run(name="echo 'a b'", **where, test=True).changes == {"command": "echo 'a b'"}
        assert '["a b"]' in run(name="echo 'a b'", **where).comment
        assert run(name="echo --fail=x", **where).result is False
        both = run(name="check", project="shop", **where)
        assert both.result is False and "Either" in both.comment


@pytest.mark.parametrize("timeout", ["soon", 0, -1, "nan", [1]])
def test_timeout_that_is_no_number_is_told(call, timeout):
    for function, words in (("command", ["echo"]), ("migrate", [])):
        with pytest.raises(CommandExecutionError, match="timeout: expected a number of seconds"):
            call(function, *words, timeout=timeout)


class TestDatabase:
    def test_migrated(self, prove, bare, modules, venv):
        real = prove("migrated", bare)
        assert "shop.0001_initial" in real.changes["applied"]
        where = {"bin_env": str(venv), "cwd": str(bare)}
        for test in (True, False):
            done = modules["django.migrate"]("shop.settings", "shop", "zero", test=test, **where)
            assert done["changes"] == {"unapplied": ["shop.0001_initial"]}
        assert modules["django.migrate"]("shop.settings", "shop", 1, test=True, **where)[
            "changes"
        ] == {"applied": ["shop.0001_initial"]}
        listed = modules["django.migrations"]("shop.settings", "shop", **where)["default"]
        assert listed == [{"app": "shop", "name": "0001_initial", "applied": None, "known": True}]
        assert modules["django.syncdb"]("shop.settings", **where)["changes"]

    def test_migration_that_fails(self, states, bare, venv):
        (bare / "shop/migrations/0002_bad.py").write_text(
            "from django.db import migrations\n"
            "class Migration(migrations.Migration):\n"
            "    dependencies = [('shop', '0001_initial')]\n"
            "    operations = [migrations.RunSQL('SELECT nonsense')]\n"
        )
        where = {"settings": "shop.settings", "bin_env": str(venv), "cwd": str(bare)}
        failed = states["django.migrated"](name="it", **where)
        assert failed.result is False and "nonsense" in failed.comment

    def test_fixtures_loaded(self, prove, call, folder):
        real = prove("fixtures_loaded", folder, fixtures="start")
        assert real.changes == {"created": ["auth.Group staff", "shop.Item 1", "shop.Item 2"]}
        call(
            "shell",
            "Item.objects.filter(pk=1).update(name='coffee'); Item.objects.get(pk=2).delete()",
        )
        real = prove("fixtures_loaded", folder, fixtures=["start"])
        assert real.changes == {"created": ["shop.Item 2"]}
        assert call("shell", "Item.objects.get(pk=1).name") == "coffee"
        real = prove("fixtures_loaded", folder, fixtures="start", update=True)
        assert real.changes == {"updated": {"shop.Item 1": ["name"]}}
        call("shell", "Item.objects.get(pk=1).groups.clear()")
        assert call("loaddata", "start")["changes"] == {"updated": {"shop.Item 1": ["groups"]}}

    def test_fixtures_that_cannot_be_loaded(self, call, folder):
        with pytest.raises(CommandExecutionError, match="No fixture named 'other'"):
            call("loaddata", "other")
        fixture = [{"model": "shop.item", "fields": {"name": "new each time"}}]
        (folder / "shop/fixtures/loose.json").write_text(json.dumps(fixture))
        with pytest.raises(CommandExecutionError, match="neither a primary key nor"):
            call("loaddata", "loose")

    def test_dumpdata(self, call):
        call("loaddata", "start")
        dumped = json.loads(call("dumpdata", "shop", natural_foreign=True))
        assert [entry["fields"]["name"] for entry in dumped] == ["tea", "milk"]

    def test_createcachetable_and_sessions(self, call):
        changes = {"tables": {"default": ["kept"]}}
        assert call("createcachetable", test=True)["changes"] == changes
        assert call("createcachetable")["changes"] == changes
        assert call("createcachetable")["changes"] == {}
        call("clearsessions")

    def test_query(self, call):
        call("loaddata", "start")
        sql = "SELECT id, name, name FROM shop_item WHERE id = %s"
        assert call("query", sql, params=[2]) == [{"id": 2, "name": "milk", "name_2": "milk"}]
        delete = "DELETE FROM shop_item WHERE id = 2"
        with pytest.raises(CommandExecutionError, match="readonly|read-only"):
            call("query", delete)
        again = "INSERT INTO shop_item SELECT * FROM shop_item"
        with pytest.raises(CommandExecutionError) as caught:
            call("query", again, write=True)
        assert str(caught.value).endswith("IntegrityError: UNIQUE constraint failed: shop_item.id")
        for wrong in (7, "", None, ["SELECT 1"]):
            with pytest.raises(CommandExecutionError, match="sql: expected a statement"):
                call("query", wrong)
        with pytest.raises(CommandExecutionError, match="params: expected a list"):
            call("query", sql, params="2")
        assert call("query", delete, write=True) == []
        assert call("query", sql, params=[2]) == []


class TestUsers:
    def test_superuser_with_a_generated_password(self, prove, call, folder, tmp_path):
        path = tmp_path / "admin.password"
        real = prove("superuser", folder, username="admin", password_file=str(path))
        password = path.read_text().strip()
        assert real.changes == {"superuser": "admin"} and password not in real.comment
        assert path.stat().st_mode & 0o777 == 0o600
        assert call("shell", f"User.objects.get().check_password({password!r})") is True
        call("shell", "User.objects.update(is_staff=False)")
        done = call("createsuperuser", "admin")
        assert done == {
            "changes": {"superuser": "admin"},
            "comment": "admin is made a superuser again.",
        }

    def test_password_is_nowhere_to_be_seen(self, call, monkeypatch):
        seen, stop = set(), threading.Event()

        def watch():
            while not stop.is_set():
                for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
                    try:
                        seen.add(path.read_bytes())
                    except OSError:
                        continue

        monkeypatch.setenv("NEW", SECRET)
        watcher = threading.Thread(target=watch)
        watcher.start()
        made = call("createsuperuser", "admin", "a@b.org", password_env="NEW")
        stop.set()
        watcher.join()
        assert any(b"/bin/python\0-\0" in line for line in seen)
        assert not any(SECRET.encode() in line for line in seen)
        assert SECRET not in str(made)
        assert call("shell", f"print(User.objects.get().check_password('{SECRET}'))") == "True\n"

    def test_changepassword(self, call, monkeypatch, tmp_path):
        call("shell", "User.objects.create_user('me'); None")
        monkeypatch.setenv("NEW", SECRET)
        for test, changes in ((True, True), (False, True), (True, False), (False, False)):
            done = call("changepassword", "me", password_env="NEW", test=test)
            assert done["changes"] == ({"password": "me"} if changes else {})
        path = str(tmp_path / "me")
        first = call("changepassword", "me", password_file=path)
        assert first["changes"] and path in first["comment"]
        before = pathlib.Path(path).read_text()
        assert call("changepassword", "me", password_file=path)["changes"] == {}
        assert call("changepassword", "me", password_file=path, renew=True)["changes"]
        assert pathlib.Path(path).read_text() != before
        with pytest.raises(CommandExecutionError) as raised:
            call("changepassword", "you", password_file=str(tmp_path / "you"))
        assert str(raised.value).count("no user 'you'") == 1, raised.value
        assert not (tmp_path / "you").exists()
        monkeypatch.setenv("NEW", "short")
        with pytest.raises(CommandExecutionError, match="at least 8 characters"):
            call("changepassword", "me", password_env="NEW", test=True)


class TestFiles:
    def test_static_collected(self, prove, call, folder):
        assert prove("static_collected", folder).changes == {"copied": 1}
        (folder / "shop/static/more.css").touch()
        assert call("collectstatic", ignore="*.css", test=True)["changes"] == {}
        assert call("collectstatic")["files"] == ["more.css"]
        assert call("collectstatic", clear=True)["changes"] == {"copied": 2, "cleared": True}

    def test_static_files_without_a_place(self, states, folder, venv):
        with (folder / "shop/settings.py").open("a") as stream:
            stream.write("STATIC_ROOT = None\n")
        where = {"settings": "shop.settings", "bin_env": str(venv), "cwd": str(folder)}
        failed = states["django.static_collected"](name="it", **where)
        assert failed.result is False and "STATIC_ROOT" in failed.comment

    def test_compilemessages_fails_without_gettext(self, call, folder):
        (folder / "locale/de/LC_MESSAGES").mkdir(parents=True)
        (folder / "locale/de/LC_MESSAGES/django.po").write_text("broken")
        with pytest.raises(CommandExecutionError, match="msgfmt|compilemessages"):
            call("compilemessages", locale="de", env={"PATH": "/nowhere"})


class TestQuestions:
    def test_check(self, call, states, folder, venv):
        assert call("check") == []
        with pytest.raises(CommandExecutionError, match="security.W"):
            call("check", deploy=True, fail_level="WARNING")
        assert any(message["level"] == 30 for message in call("check", deploy=True))
        where = {"settings": "shop.settings", "bin_env": str(venv), "cwd": str(folder)}
        for test in (True, False):
            checked = states["django.checked"](name="it", **where, test=test)
            assert (checked.result, checked.changes) == (True, {})
        failed = states["django.checked"](name="it", deploy=True, fail_level="WARNING", **where)
        assert failed.result is False and "security.W" in failed.comment

    def test_shell(self, call):
        assert call("shell", "[Item.objects.count(), {'a': (1, None)}]") == [0, {"a": [1, None]}]
        assert call("shell", "for i in range(2):\n    print(i)") == "0\n1\n"
        assert call("shell", "import datetime; datetime.date(2026, 1, 2)") == "2026-01-02"
        with pytest.raises(CommandExecutionError, match="ZeroDivisionError"):
            call("shell", "1 / 0")

    def test_settings(self, call):
        found = call("settings", "SECRET_KEY", "BROKER_URL", "STATIC_ROOT", "DATABASES")
        assert set(found["SECRET_KEY"]) == {"*"}
        assert "hidden-pw" not in str(found) and found["STATIC_ROOT"].endswith("data/static")
        assert set(call("settings")) > {"DEBUG", "INSTALLED_APPS", "LANGUAGES"}
        with pytest.raises(CommandExecutionError, match="no setting NONE_SUCH"):
            call("settings", "NONE_SUCH")

    def test_version_and_email(self, call):
        assert call("version").startswith("5.2")
        assert "To: me@example.org" in call("sendtestemail", "me@example.org")
        with pytest.raises(CommandExecutionError, match="name a recipient"):
            call("sendtestemail")


@pytest.mark.parametrize("first", ["version", "config", "write_secret_file"])
def test_every_function_is_loaded_whichever_is_asked_for_first(minion_opts, first):
    import salt.loader

    modules = salt.loader.minion_mods(minion_opts)
    wanted = "command migrate query shell settings logs status install_tool".split()
    assert all(f"django.{name}" in modules for name in [first, *wanted])
