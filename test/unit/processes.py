"""A process as supervisord's interface tells it, for tests without a daemon."""


def info(name, state="RUNNING", **more):
    group, _, process = name.rpartition(":")
    return {
        "name": process,
        "group": group or process,
        "statename": state,
        "pid": 100 if state in ("RUNNING", "STARTING", "STOPPING") else 0,
        "start": 1,
        "now": 60,
        "exitstatus": 0,
        "spawnerr": "",
        **more,
    }
