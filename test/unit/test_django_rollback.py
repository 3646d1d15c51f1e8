"""Which release is meant by the first characters of its id."""

import django_rollback
import pytest
import yaml


@pytest.mark.parametrize("start", ["4f2a", "610806", "012345", "089", "0", "610806123456"])
def test_what_salt_makes_of_a_command_line_is_understood(start):
    """Its words are read as YAML: digits become a number, octal with a zero before them."""
    name = f"{start:f<12}-a358dfcfaa31"
    assert django_rollback._begins_with(name, yaml.safe_load(start))
    assert not django_rollback._begins_with("7" + name[1:], yaml.safe_load(start))
