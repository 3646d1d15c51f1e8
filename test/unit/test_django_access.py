"""What execution modules share."""

import errno
import os

import django_access
import pytest
from salt.exceptions import CommandExecutionError


def test_a_file_that_finds_no_room_is_told():
    def cache_file(url):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    access = django_access.Access({"cp.cache_file": cache_file}, {}, {}, {})
    with pytest.raises(CommandExecutionError, match="salt://x .*: No space left on device"):
        access.read_file("salt://x")


@pytest.mark.parametrize("value", [3, "3"])
def test_numbers_may_come_as_text(value):
    assert django_access.whole("count", value) == 3


@pytest.mark.parametrize("value", ["abc", "", None, True, 1.5, 0, -2, [1]])
def test_what_is_no_number_is_told(value):
    with pytest.raises(CommandExecutionError, match="count: expected a whole number of at least 1"):
        django_access.whole("count", value)
