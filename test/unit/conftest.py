"""What unit tests share: the domain modules on the path, and the resolver at hand."""

import os
import sys

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
