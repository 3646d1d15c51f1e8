"""Steps of a release, continued where a run was killed."""

import os
import pwd
import types

import pytest
from django_deployment import Deployment, StepError
from django_step_build import configure


@pytest.fixture
def deployment(resolve_project, tmp_path, monkeypatch):
    """A project in a folder of its own, with a release that is built."""
    for name in ("chown", "fchown"):
        monkeypatch.setattr(os, name, lambda *_, **__: None)
    source = tmp_path / "src"
    source.mkdir()
    configuration = resolve_project(source={"path": str(source)}, settings="shop.settings")
    project = configuration["projects"]["shop"]
    paths = {name: str(tmp_path / name) for name in project["paths"]}
    project.update(user=pwd.getpwuid(os.getuid()).pw_name, paths=paths)
    names = [*project["secret_specs"], "SECRET_KEY"]
    manager = types.SimpleNamespace(kind="supervisord", test=False)
    made = Deployment(project, configuration["host"], dict.fromkeys(names, "x"), manager, str)
    release = made.layout.release(made.release_id)
    (release / "source").mkdir(parents=True)
    made.layout.instances.mkdir()
    (release / "venv").symlink_to("../../venvs/0123")
    made.layout.save_record(made.release_id, stage="built", settings="shop.settings", wsgi="a")
    return made


def test_configuration_is_written_once(deployment):
    assert configure(deployment).changes
    assert configure(deployment).changes == {}


def test_configuration_whose_record_was_not_written_any_more_is_continued(deployment):
    configure(deployment)
    record = deployment.layout.instance(deployment.instance) / "instance.json"
    record.unlink()
    deployment.test = True
    assert configure(deployment).changes == {"instance": deployment.instance, "files": []}
    assert not record.exists()
    deployment.test = False
    configure(deployment)
    assert deployment.layout.instance_record(deployment.instance)["release"]
    assert configure(deployment).changes == {}


def test_user_that_is_gone_is_told(deployment):
    deployment.user = "nobody-of-that-name"
    with pytest.raises(StepError, match="nobody-of-that-name"):
        configure(deployment)
