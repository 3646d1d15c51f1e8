"""The step that mounts a shared drive: drives that were there for a moment only."""

import os
import pathlib
import types

import django_share
import django_step_share
import pytest
from django_deployment import StepError

SHARE = {"device": "nas:/shop", "type": "nfs4", "options": "rw"}
AWAY = "The share nas:/shop cannot be mounted, so nothing is released: it went away again"


@pytest.fixture
def deployment(tmp_path, monkeypatch):
    """A project with a share; fstab is a file of the test's, and mounting does nothing."""
    monkeypatch.setattr(django_share, "FSTAB", tmp_path / "fstab")
    monkeypatch.setattr(django_step_share, "_mount_argv", lambda target: ["true"])
    monkeypatch.setattr(django_step_share, "GROUP", "root")
    monkeypatch.setattr(os, "chown", lambda *of: None)
    target = tmp_path / "share"
    return types.SimpleNamespace(
        name="shop",
        uid=os.getuid(),
        test=False,
        project={
            "media": {"mount": SHARE, "private": {"url": "/private/"}},
            "paths": {"share": str(target)}
            | {key: str(target / key) for key in ("media", "private")},
        },
    )


def refused(deployment):
    """What the step says, having made nothing in the place of the share."""
    with pytest.raises(StepError) as caught:
        django_step_share.mount(deployment)
    assert list(pathlib.Path(deployment.project["paths"]["share"]).iterdir()) == []
    return str(caught.value)


def test_drive_that_is_gone_once_it_is_mounted_is_told(deployment):
    assert refused(deployment).startswith(AWAY)
    assert refused(deployment).startswith(AWAY), "and again, so a next run can go on"


def test_nothing_is_made_where_a_drive_was(deployment, monkeypatch):
    """It went away after it had been looked at, as one whose server has nothing to give."""
    monkeypatch.setattr(
        django_step_share,
        "_mount",
        lambda share, target: target.mkdir(exist_ok=True),
    )
    assert refused(deployment).startswith(AWAY)
