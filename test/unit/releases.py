"""Releases of a project on the disk, for unit tests."""

import json

import django_layout
import django_venv

FIRST, SECOND, THIRD = (f"{digit * 12}-{digit * 12}" for digit in "abc")


def served(deployment, *instances):
    """Let instances be complete and have served, in this order."""
    layout = deployment.layout
    for name in instances:
        layout.instance(name).mkdir(exist_ok=True)
        (layout.release(layout.release_of(name))).mkdir(parents=True, exist_ok=True)
        source = layout.release(layout.release_of(name)) / "source"
        layout.save_record(
            layout.release_of(name), stage="built", tree=django_layout.fingerprint(source)
        )
        venv = layout.venvs / "v"
        (venv / "bin").mkdir(parents=True, exist_ok=True)
        (venv / "bin/python").touch()
        (venv / django_venv.MARKER).write_text('{"installed": []}')
        layout.save_instance_record(
            name, facts={"migrations": []}, definitions={"web": {}}, venv=str(venv)
        )
    entries = [{"instance": name} for name in instances]
    layout.history.write_text(json.dumps({"entries": entries}))
    layout.live.unlink(missing_ok=True)
    layout.live.symlink_to(f"instances/{instances[-1]}")
