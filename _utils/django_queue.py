"""
Workers, schedulers and Flower as command lines: Celery, and RQ by django-rq's commands.

The kinds stand beside ``command`` and ``manage`` below ``processes``. All functions are pure; what
they get is the resolved process, see :func:`django_project_processes.process`.
"""

import re

import django_references

WORKERS = ("celery", "rq")
SCHEDULERS = ("celery_beat", "rq_scheduler")
KINDS = ("celery", "celery_beat", "rq", "rq_scheduler", "flower")
STOP_SECONDS = 60
WORKER_STOP_SECONDS = 600  # a worker ends once its jobs are done
FOLDER = "celery"  # in the shared directory: what beat remembers, one file a process
OWN_OPTIONS = {
    "celery": (
        "-A --app -b --broker -B --beat -c --concurrency -n --hostname -Q --queues -D --detach"
        " -P --pool -l --loglevel --autoscale --prefetch-multiplier --pidfile --workdir --uid --gid"
    ),
    "celery_beat": (
        "-A --app -b --broker -s --schedule -S --scheduler -l --loglevel --detach --pidfile"
        " --workdir --uid --gid"
    ),
    "flower": (
        "--unix-socket --unix_socket --port --address --url-prefix --url_prefix --basic-auth"
        " --basic_auth --xheaders --conf"
    ),
    "rq": "--name --pid",
    "rq_scheduler": "-i --interval --queue --pid",
}


def kind(spec):
    """Which of :data:`KINDS` a process is (str); None for one of the project's own commands."""
    return next((name for name in KINDS if spec.get(name) is not None), None)


def is_single(spec):
    """Whether the fleet runs only one of the process, unless the pillar says otherwise."""
    return kind(spec) in (*SCHEDULERS, "flower")


def jobs(spec):
    """How many jobs one process does at a time, and so how many connections it may hold (int)."""
    if kind(spec) != "celery":
        return 1
    return max([spec["celery"]["concurrency"] or 1, *spec["celery"]["autoscale"]])


def own_option(name, option):
    """The option (str) that only the formula sets, if ``option`` of a kind is one; else None."""
    for own in OWN_OPTIONS[name].split():
        short = not own.startswith("--")
        if option == own or option.startswith(own if short else f"{own}="):
            return own
    return None


def argv(spec, manage, names, process, number=None):
    """
    The command line (list of str) of a worker or scheduler.

    spec
        The resolved process.
    manage
        Words that every management command begins with.
    names
        The instance's namespace for references.
    process
        The process's name.
    number
        Which of several it is, from 1; None for the only one.
    """
    name = kind(spec)
    given = spec[name]
    if name == "celery":
        words = celery_argv(given, names, process, number)
    elif name == "celery_beat":
        words = beat_argv(given, names, process)
    elif name == "flower":
        words = flower_argv(given, names, process)
    elif name == "rq":
        words = [*manage, "rqworker", *given["queues"]]
    else:
        words = [*manage, "rqscheduler", f"--queue={given['queue']}"]
        words.append(f"--interval={given['interval']}")
    return words + [django_references.expand_text(option, names) for option in given["options"]]


def celery_argv(worker, names, process, number=None):
    """
    A Celery worker's command line without its further options.

    Its node is named after the process, the number and the instance: a worker of the old release
    that finishes its jobs and one of the new are two nodes.
    """
    node = worker["hostname"] or process
    if number is not None:
        node += f"_{number}"
    words = [
        f"{names['path.venv']}/bin/celery",
        f"--app={worker['app']}",
        "worker",
        f"--loglevel={worker['log_level'].upper()}",
        f"--hostname={node}-{names['instance']}@%h",
        f"--pool={worker['pool']}",
    ]
    if worker["autoscale"]:
        least, most = worker["autoscale"]
        words.append(f"--autoscale={most},{least}")
    else:
        words.append(f"--concurrency={worker['concurrency']}")
    if worker["prefetch"]:
        words.append(f"--prefetch-multiplier={worker['prefetch']}")
    if worker["queues"]:
        words.append(f"--queues={','.join(worker['queues'])}")
    return words


def beat_argv(beat, names, process):
    """Celery beat's command line without its further options."""
    words = [
        f"{names['path.venv']}/bin/celery",
        f"--app={beat['app']}",
        "beat",
        f"--loglevel={beat['log_level'].upper()}",
        f"--schedule={names['path.shared']}/{FOLDER}/{process}.schedule",
        "--pidfile=",  # the process manager sees to it that there is one
    ]
    if beat["scheduler"]:
        words.append(f"--scheduler={beat['scheduler']}")
    return words


def flower_argv(flower, names, process):
    """
    Flower's command line without its further options. It listens on a Unix socket only; its
    password is in the process's environment, see :func:`flower_login`.
    """
    return [
        f"{names['path.venv']}/bin/celery",
        f"--app={flower['app']}",
        "flower",
        f"--unix-socket={flower_socket(names['path.run'], process)}",
        f"--url-prefix={flower['path'].strip('/')}",
        "--xheaders",
        f"--logging={flower['log_level']}",
    ]


def flower_socket(folder, process):
    """The Unix socket (str) of the process, below the project's folder of sockets."""
    return f"{folder}/{process}.sock"


def flower_login(flower):
    """Who may look (str), with a reference to the generated password."""
    return f"{flower['username']}:@{{flower.password}}"


def flower_locations(processes, folder):
    """
    Locations for the front door (dict): where Flower is, if it is among the ``processes``.

    folder
        The project's folder of sockets.
    """
    return {
        spec["flower"]["path"]: {
            "proxy": f"http://unix:{flower_socket(folder, name)}",
            "internal": False,
        }
        for name, spec in processes.items()
        if spec.get("flower")
    }


# ---- checks ----


def checks(processes):
    """What is wrong with workers and schedulers of a project: ``(key, sentence)``."""
    seen = {}
    for key, spec in processes.items():
        name = kind(spec)
        if name is None:
            continue
        below = f"processes:{key}"
        for index, option in enumerate(spec[name]["options"]):
            own = own_option(name, option)
            if own:
                text = f"expected no {own}, the formula sets it or another key does"
                yield f"{below}:{name}:options:{index}", text
        if name == "celery":
            yield from _worker(f"{below}:celery", spec["celery"])
        if not is_single(spec):
            continue
        is_scheduler = name in SCHEDULERS
        if spec["single"] is False:
            text = (
                "a second scheduler would do all twice" if is_scheduler else "one Flower is enough"
            )
            yield f"{below}:single", f"expected true, since {text}"
        if spec["count"] > 1:
            text = f"{name} is a scheduler" if is_scheduler else "one Flower is enough"
            yield f"{below}:count", f"expected 1, since {text}, got {spec['count']}"
        about = spec[name] if is_scheduler else {}
        which = (name, about.get("app") or about.get("queue"))
        if which in seen:
            text = f"expected one {name} only, {seen[which]} is one already"
            yield f"{below}:{name}", text
        seen.setdefault(which, key)


def _worker(key, worker):
    if worker["autoscale"]:
        if len(worker["autoscale"]) != 2:
            text = f"expected two numbers, the least and the most, got {len(worker['autoscale'])}"
            yield f"{key}:autoscale", text
        elif worker["autoscale"][0] > worker["autoscale"][1]:
            least, most = worker["autoscale"]
            text = f"expected the least before the most, got {least} and {most}"
            yield f"{key}:autoscale", f"{text} (did you mean [{most}, {least}]?)"
        if worker["concurrency"]:
            yield f"{key}:concurrency", "expected autoscale or concurrency, not both"
        if worker["pool"] != "prefork":
            yield f"{key}:autoscale", f"expected only with the pool prefork, got {worker['pool']}"
    if worker["pool"] == "solo" and (worker["concurrency"] or 1) > 1:
        yield f"{key}:concurrency", "expected 1, since the pool solo does one job at a time"


def words(spec):
    """Words by which a process is recognised as a worker or scheduler (list of str)."""
    return spec["command"] or spec["manage"] or [kind(spec) or ""]


_QUEUE_WORD = re.compile(
    r"celery(_beat)?|flower|rqworker|rqscheduler|rq(_scheduler)?", re.IGNORECASE
)


def needs_broker(spec):
    """Whether a process of the pillar is a worker or scheduler of a queue, however it is given."""
    return any(_QUEUE_WORD.fullmatch(word.rsplit("/")[-1]) for word in words(spec))
