"""What a host is at that rules out what its pillar asks for."""

import json

import django_conflicts
import pytest

DAEMON = {"server": "mod_wsgi"}
EMBEDDED = {**DAEMON, "mode": "embedded"}
OTHER = {"server": "gunicorn"}


@pytest.fixture
def told(resolve_project, tmp_path):
    """Function from a live web process's definition and the pillar's app to what is told."""

    def call(web, app):
        config = resolve_project(app=app, web={"server": "apache"})
        assert config["valid"], config["errors"]
        project = config["projects"]["shop"]
        project["paths"] = {key: str(tmp_path / key) for key in project["paths"]}
        if web is not None:
            folder = tmp_path / "instances/one"
            folder.mkdir(parents=True)
            record = {"definitions": {"web": web}}
            (folder / "instance.json").write_text(json.dumps(record))
            (tmp_path / "root").mkdir()
            (tmp_path / "root/live").symlink_to("instances/one")
        return django_conflicts.conflicts(config)

    return call


@pytest.mark.parametrize(
    ("web", "app"),
    [
        (None, DAEMON),
        (None, EMBEDDED),
        ({"mod_wsgi": {}}, DAEMON),
        ({"embedded": {}}, EMBEDDED),
        ({"command": []}, DAEMON),
        ({"command": []}, EMBEDDED),
        ({"mod_wsgi": {}}, OTHER),
        ({"embedded": {}}, OTHER),
    ],
)
def test_what_apache_can_have_is_no_conflict(told, web, app):
    assert told(web, app) == []


@pytest.mark.parametrize(
    ("web", "app", "now"),
    [({"mod_wsgi": {}}, EMBEDDED, "daemon"), ({"embedded": {}}, DAEMON, "embedded")],
)
def test_apache_cannot_have_both_modes_at_once(told, web, app, now):
    (text,) = told(web, app)
    assert text.startswith(
        f"django:projects:shop:app:mode: expected {now}, by which the site serves"
    )
