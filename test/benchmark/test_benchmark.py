"""What ``test/run benchmark`` runs: the contestants must work; their times are only printed."""

from . import run


def test_benchmark():
    """All contestants do the job; the table is the result."""
    print(flush=True)
    assert run.main(["--serving"]) == 0
