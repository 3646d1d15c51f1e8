"""
Another instance like one that has served. Going back to one whose programs still finish their
work, such as a web process with open websockets, must neither end them nor wait for them: a program
of the same name cannot run twice, nor listen on the same socket.
"""

import itertools
import json
import os
import pathlib

import django_layout
import django_programs

SPOKEN = ("http", "uwsgi")  # by web processes of their own; in Apache instances change otherwise
RECORD = "instance.json"


def is_needed(deployment, instance):
    """Whether a program of an instance has been told to end and is still at work."""
    return deployment.protocol(instance) in SPOKEN and any(
        program["leaving"] and program["pid"]
        for name, program in deployment.manager.programs().items()
        if django_programs.parsed(deployment, name)[1] == instance
    )


def make(deployment, instance):
    """Write an instance like another one; returns its id (str)."""
    layout = deployment.layout
    release = layout.release_of(instance)
    names = (
        f"{release}-{django_layout.digest([instance, number], deployment.key)}"
        for number in itertools.count(1)
    )
    twin = next(name for name in names if not layout.instance(name).exists())
    root = layout.instance(instance)
    for place, _, files in os.walk(root):
        folder = layout.instance(twin) / pathlib.Path(place).relative_to(root)
        folder.mkdir()
        for name in sorted(set(files) - {RECORD}):
            path = pathlib.Path(place, name)
            status = path.stat()
            text = path.read_text(encoding="utf-8").replace(instance, twin)
            mode = status.st_mode & 0o777
            django_layout.write_atomic(folder / name, text, mode, status.st_uid, status.st_gid)
    django_layout.close_folder(layout.instance(twin), deployment.gid)
    record = json.loads(json.dumps(layout.instance_record(instance)).replace(instance, twin))
    record.pop("served", None)
    layout.save_instance_record(twin, **record)
    return twin
