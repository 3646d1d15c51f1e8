"""What files outside of releases say of a project stays as it is over every switch."""

import django_live
import pytest


@pytest.fixture
def describe(resolve_project):
    def call(**keys):
        config = resolve_project(**keys)
        assert config["errors"] == []
        return django_live.describe(config["projects"]["shop"], config["host"])

    return call


def test_paths_go_by_the_links(describe):
    found = describe(source={"git": "https://git.test/shop.git", "subdirectory": "backend"})
    assert found["directory"] == "/srv/django/shop/current/source/backend"
    assert found["environment"] == "/srv/django/shop/live/environment"
    assert found["manage"] == [
        "/srv/django/shop/current/venv/bin/python",
        "/srv/django/shop/current/source/backend/manage.py",
    ]


def test_a_console_script_manages(describe):
    found = describe(
        source={"pypi": "netbox==4.1.0"}, settings="netbox.settings", manage={"script": "netbox"}
    )
    assert found["manage"] == ["/srv/django/shop/current/venv/bin/netbox"]


def test_timers_become_lines_of_cron(describe):
    timers = {
        "tidy": {"manage": "clearsessions --v 2", "schedule": "5 4 * * *", "timeout": "10m"},
        "report": {
            "command": ["mail", "100%", "it's here", "@{path.data}", "@{path.static}"],
            "every": "15m",
            "env": {"LEVEL": 1},
        },
    }
    report, tidy = describe(timers=timers)["timers"]
    assert (tidy["name"], tidy["schedule"]) == ("tidy", "5 4 * * *")
    assert tidy["command"] == (
        "/usr/local/lib/django-formula/run-timer shop tidy 600"
        " /srv/django/shop/live/environment /srv/django/shop/current/source"
        " /srv/django/shop/current/venv/bin/python /srv/django/shop/current/source/manage.py"
        " clearsessions --v 2"
    )
    assert report["schedule"] == "*/15 * * * *"
    assert report["command"].endswith(
        "run-timer shop report 3600 /srv/django/shop/live/environment.timer-report"
        " /srv/django/shop/current/source"
        " mail 100\\% 'it'\"'\"'s here'"
        " /srv/django/shop/shared/data /srv/django/shop/current/static"
    )


def test_locations_serve_what_is_published(describe):
    locations = {
        "/favicon.ico": {"alias": "@{path.static}/favicon.ico"},
        "/files/": {"alias": "@{path.media}"},
    }
    found = describe(web={"locations": locations})["locations"]
    assert found["/favicon.ico"]["alias"] == "/srv/django/shop/static/favicon.ico"
    assert found["/files/"]["alias"] == "/srv/django/shop/shared/media"
