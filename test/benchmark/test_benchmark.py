"""What ``test/run benchmark`` runs: the contestants must work; their times are only printed."""

from . import run, scale


def test_benchmark():
    """All contestants do the job; the table is the result."""
    print(flush=True)
    assert run.main(["--serving"]) == 0


def test_scale():
    """A fleet of any size has a configuration; what it costs is only printed."""
    table = scale.report()
    print(f"\n{table}", flush=True)
    assert all(kind in table for kind in scale.HOSTS)
