"""What execution modules share."""

import errno
import os

import django_access
import pytest
from pillars import GRAINS, read_parameters
from salt.exceptions import CommandExecutionError, SaltRenderError


def test_a_file_that_finds_no_room_is_told():
    def cache_file(url):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    access = django_access.Access({"cp.cache_file": cache_file}, {}, {}, {})
    with pytest.raises(CommandExecutionError, match="salt://x .*: No space left on device"):
        access.read_file("salt://x")


def test_a_pillar_file_that_cannot_be_read_is_told_with_its_place(tmp_path):
    def render(path):
        raise SaltRenderError(f"no YAML, line 2\n---\nSECRET: hunter2 ({path})\n---")

    settings = {"file_client": "local", "pillar_roots": {"base": ["/none", str(tmp_path)]}}
    (tmp_path / "web").mkdir()
    (tmp_path / "web/init.sls").write_text("a: [\n")
    errors = [f"Rendering SLS '{name}' failed. Please see master log." for name in ("web", "db")]
    salt = {"slsutil.renderer": render, "config.get": settings.get}
    access = django_access.Access(salt, {"_errors": errors}, GRAINS, {})
    access._read_parameter = read_parameters
    assert access.public()["errors"] == [
        f"pillar: {tmp_path}/web/init.sls: no YAML, line 2",
        "pillar: Rendering SLS 'db' failed. Please see master log.",
    ]


@pytest.mark.parametrize("value", [3, "3"])
def test_numbers_may_come_as_text(value):
    assert django_access.whole("count", value) == 3


@pytest.mark.parametrize("value", ["abc", "", None, True, 1.5, 0, -2, [1]])
def test_what_is_no_number_is_told(value):
    with pytest.raises(CommandExecutionError, match="count: expected a whole number of at least 1"):
        django_access.whole("count", value)
