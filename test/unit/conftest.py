"""What unit tests share: the domain modules on the path, and the resolver at hand."""

import os
import pwd
import sys
import types

import pytest
import yaml
from pillars import GRAINS, ROOT, read_parameters

sys.path.insert(0, str(ROOT / "_utils"))


@pytest.fixture(scope="session")
def schema():
    return yaml.safe_load(read_parameters("schema.yaml"))["pillar"]


@pytest.fixture(autouse=True)
def owners_stay(monkeypatch):
    """Whoever is not root cannot give files away: they stay theirs."""
    if os.geteuid():
        for name in ("chown", "fchown"):
            monkeypatch.setattr(os, name, lambda *_, **__: None)


@pytest.fixture
def resolve(schema):
    """Function from the pillar below ``django`` (and grains that differ) to the configuration."""
    import django_config
    import django_facts

    common = yaml.safe_load(read_parameters("os/Debian.yaml"))

    def call(django, **grains):
        facts = django_facts.facts({**GRAINS, **grains})
        text = read_parameters(f"os/{facts['os']['name']}-{facts['os']['release']}.yaml")
        release = yaml.safe_load(text) if text else None
        parameters = {"schema": schema, "os": common, "release": release}
        return django_config.resolve({"django": django}, facts, parameters)

    return call


@pytest.fixture
def resolve_project(resolve):
    """Function from keys of one project, ``shop``, to the configuration; it has a source."""

    def call(_grains=None, **keys):
        project = {"source": {"path": "/srv/src/shop"}, **keys}
        return resolve({"projects": {"shop": project}}, **(_grains or {}))

    return call


@pytest.fixture
def deployment(resolve_project, tmp_path, monkeypatch):
    """A project in a folder of its own, with a release that is built."""
    import django_deployment
    import django_layout

    for name in ("chown", "fchown"):
        monkeypatch.setattr(os, name, lambda *_, **__: None)
    source = tmp_path / "src"
    source.mkdir()
    configuration = resolve_project(source={"path": str(source)}, settings="shop.settings")
    project = configuration["projects"]["shop"]
    paths = {name: str(tmp_path / name) for name in project["paths"]}
    project.update(user=pwd.getpwuid(os.getuid()).pw_name, paths=paths)
    names = [*project["secret_specs"], "SECRET_KEY"]
    manager = types.SimpleNamespace(kind="supervisord", test=False, programs=dict)
    made = django_deployment.Deployment(
        project, configuration["host"], dict.fromkeys(names, "x"), manager, str
    )
    release = made.layout.release(made.release_id)
    (release / "source").mkdir(parents=True)
    made.layout.instances.mkdir()
    made.layout.root.mkdir()
    (release / "venv").symlink_to("../../venvs/0123")
    tree = django_layout.fingerprint(release / "source")
    made.layout.save_record(
        made.release_id, stage="built", tree=tree, settings="shop.settings", wsgi="a"
    )
    return made
