"""Which releases stay, and what a test says of it."""

import django_step_prune
import pytest
from releases import FIRST, SECOND, THIRD, served


@pytest.mark.parametrize("has_served", [False, True])
def test_releases_that_a_test_says_will_go_do(deployment, has_served):
    """Also on the way back by the pillar, to a release that is among those that are kept."""
    wanted, current = deployment.instance, deployment.layout.current
    order = [FIRST, SECOND, *[wanted] * has_served, THIRD]
    served(deployment, *order)
    current.symlink_to(f"releases/{THIRD[:12]}")
    deployment.project["release"]["keep"] = 3
    deployment.test = True
    told = django_step_prune.prune(deployment).changes
    served(deployment, *order, wanted)
    current.unlink()
    current.symlink_to(f"releases/{deployment.layout.release_of(wanted)}")
    deployment.test = False
    assert django_step_prune.prune(deployment).changes.get("releases") == told.get("releases")
    assert told["releases"] == [FIRST[:12]]


def test_static_files_of_kept_releases_stay(deployment):
    served(deployment, FIRST, SECOND, THIRD)
    layout = deployment.layout
    layout.current.symlink_to(f"releases/{THIRD[:12]}")
    layout.static.mkdir()
    for name in (FIRST, SECOND, THIRD):
        folder = layout.release(name[:12]) / "static"
        folder.mkdir()
        for place in (folder, layout.static):
            (place / f"site.{name[:12]}.css").write_text("a {}")
        layout.save_record(name[:12], static=str(folder))
    deployment.manager.programs = dict
    deployment.project["release"]["keep"] = 2
    changes = django_step_prune.prune(deployment).changes
    assert changes["releases"] == [FIRST[:12]]
    assert changes["static"] == [f"site.{FIRST[:12]}.css"]
    left = {f"site.{name[:12]}.css" for name in (SECOND, THIRD)}
    assert {path.name for path in layout.static.iterdir()} == left
