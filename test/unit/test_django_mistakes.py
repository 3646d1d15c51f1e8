"""Mistakes in one section of a project hide none in another, and make none up there."""

import copy

import django_mistakes
import pytest
import yaml
from pillars import ROOT

FILES = [
    "pillar.example",
    "examples/pillars/one-server.sls",
    "examples/pillars/several-projects.sls",
]


def test_all_of_a_project_is_told_at_once(resolve_project):
    """Wrong by itself, between sections, and a reference that leads nowhere."""
    config = resolve_project(
        app={"workers": "many"},
        source={"path": "/srv/src", "rev": "v1"},
        env={"A": "@{databse.url}"},
        static={"url": "/x"},
    )
    assert sorted(error.removeprefix("django:projects:shop:") for error in config["errors"]) == [
        "app:workers: expected a whole number between 1 and 1024, got 'many'",
        "env:A: unknown reference @{databse.url} (did you mean @{database.url}?)",
        "source:rev: expected only beside git",
        "static:url: expected a slash at the end, got '/x'",
    ]


def test_what_may_only_be_said_because_something_was_left_out_is_not_said(resolve_project):
    for keys, wrong in (
        ({"secrets": {"A": 3}, "env": {"B": "@{secrets.A}"}}, "secrets"),
        ({"secrts": {"A": "x"}, "env": {"B": "@{secrets.A}"}}, "secrts"),
        ({"databases": 3, "migrate": {"databases": ["old"]}}, "databases"),
        ({"whatever": 3, "env": {"B": "@{other.a}"}}, "whatever"),
    ):
        errors = resolve_project(**keys)["errors"]
        assert errors and all(f"shop:{wrong}:" in error.split(": ")[0] + ":" for error in errors)


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("damage", ["wrong", "misspelt"])
def test_one_wrong_section_makes_no_mistake_elsewhere(resolve, path, damage):
    django = yaml.safe_load((ROOT / path).read_text())["django"]
    django.pop("hosts", None)
    for name, project in django["projects"].items():
        for section in project:
            broken = copy.deepcopy(django)
            sections = broken["projects"][name]
            called = section if damage == "wrong" else f"{section}q"
            sections[called] = sections.pop(section) if damage == "misspelt" else 3.5
            errors = resolve(broken)["errors"]
            assert errors, section
            assert django_mistakes.sections(name, errors) == {called}, errors
            assert len(errors) == sum(f":{name}:" in error for error in errors), errors
