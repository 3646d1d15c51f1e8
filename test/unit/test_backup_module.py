"""What Salt does about backups: what it foretells, and what ends where they leave the pillar."""

import importlib.util
import types

import django_backup
import django_departed
import django_layout
import pytest
from pillars import ROOT
from salt.exceptions import CommandExecutionError

CONFIG = {
    "repository": "/mnt/backup",
    "kind": "path",
    "password": "p" * 20,
    "s3": None,
    "ssh": None,
    "keep": {"last": 3},
    "on_failure": None,
    "patience": 3600,
    "projects": {},
}


def load(name):
    """An execution module."""
    spec = importlib.util.spec_from_file_location(f"{name}_module", ROOT / f"_modules/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def salt(tmp_path, monkeypatch):
    """The module on a host whose repository opens, and has opened with its present settings."""
    module, config = load("django_backup"), dict(CONFIG)
    settings = tmp_path / "settings.json"
    monkeypatch.setattr(django_backup, "SETTINGS", str(settings))
    monkeypatch.setattr(module, "OPENED", tmp_path / "state/repository.json")
    monkeypatch.setattr(module, "_config", lambda: config)
    monkeypatch.setattr(module, "_access", lambda: None)
    monkeypatch.setattr(module, "_ask", lambda *words: {"repository": "opened"})
    monkeypatch.setattr(module.django_secrets, "load", lambda *words: {})

    def configure():
        settings.write_text(module._files(config, config["password"])[str(settings)])

    configure()
    assert module.open_repository()["changes"] == {"repository": "/mnt/backup"}
    return types.SimpleNamespace(open=module.open_repository, config=config, configure=configure)


def test_what_opened_is_not_asked_again(salt):
    assert salt.open(test=True)["changes"] == salt.open()["changes"] == {}


@pytest.mark.parametrize("key", ["password", "repository"])
def test_what_the_pillar_changes_is_foretold_before_it_is_written(salt, key):
    salt.config[key] = "/mnt/another-repository"
    assert salt.open(test=True)["changes"]
    salt.configure()
    assert salt.open()["changes"] and not salt.open()["changes"]


def test_settings_that_make_no_sense_are_written_anew(salt):
    with open(django_backup.SETTINGS, "w") as stream:
        stream.write("{")
    assert salt.open(test=True)["changes"] == {}


def test_the_repository_that_opened_is_known_to_the_command(salt):
    salt.config["password"] = "another-password"
    salt.configure()
    salt.open()
    path = django_backup.SETTINGS.replace("settings", "state/repository")
    assert django_layout.read_json(path)["repository"] == "/mnt/backup"


@pytest.fixture
def departed(monkeypatch):
    """What a run does about what left the pillar, where pulls and backups are only named."""
    module = load("django_host")
    config = {"released": [], "tiers": [], "paths": {"srv": "/srv"}, "pull": {}, "backup": {}}
    access = types.SimpleNamespace(valid=lambda: config)
    monkeypatch.setattr(module, "_access", lambda: access)
    monkeypatch.setattr(django_departed, "find", lambda *words: [])
    monkeypatch.setattr(django_departed, "services", lambda config: [])
    monkeypatch.setattr(django_departed, "end_pulls", lambda test: ["/etc/pull"])
    monkeypatch.setattr(django_departed, "end_backups", lambda test: ["/etc/backup"])
    return module.stop_departed


def test_what_ends_is_told_by_its_name(departed):
    told = departed(test=True)
    assert told["changes"] == {
        "django-pull": {"removed": ["/etc/pull"]},
        "django-backup": {"removed": ["/etc/backup"]},
    }
    assert "would fetch no pillar from git" in told["comment"]


def test_what_cannot_end_is_an_answer(departed, monkeypatch):
    def fail(test):
        raise OSError("read-only file system")

    monkeypatch.setattr(django_departed, "end_backups", fail)
    with pytest.raises(CommandExecutionError, match="django-backup: read-only"):
        departed()


def test_backups_that_end_are_not_told_to_monitoring(tmp_path, monkeypatch):
    metrics = tmp_path / "django-backup.prom"
    metrics.write_text("django_backup_patience_seconds 3600\n")
    monkeypatch.setattr(django_backup, "METRICS", str(metrics))
    assert str(metrics) in django_departed.end_backups(test=True) and metrics.exists()
    assert str(metrics) in django_departed.end_backups() and not metrics.exists()
