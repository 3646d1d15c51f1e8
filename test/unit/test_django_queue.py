"""Workers, schedulers and Flower: what they are called with, and which options are refused."""

import django_queue
import pytest

MANAGE = ["/v/bin/python", "/r/manage.py"]
NAMES = {
    "path.venv": "/v",
    "path.shared": "/srv/django/shop/shared",
    "path.data": "/srv/django/shop/shared/data",
    "path.run": "/run/django/shop",
    "instance": "0123456789ab-ba9876543210",
}
CELERY = {
    "app": "shop",
    "queues": [],
    "concurrency": 2,
    "autoscale": [],
    "pool": "prefork",
    "prefetch": None,
    "hostname": None,
    "log_level": "info",
    "options": [],
}
BEAT = {"app": "shop", "scheduler": None, "log_level": "info", "options": []}


def argv(number=None, **kinds):
    return django_queue.argv(kinds, MANAGE, NAMES, "jobs", number)


def test_celery_worker():
    assert argv(celery=CELERY) == [
        "/v/bin/celery",
        "--app=shop",
        "worker",
        "--loglevel=INFO",
        "--hostname=jobs-0123456789ab-ba9876543210@%h",
        "--pool=prefork",
        "--concurrency=2",
    ]


def test_celery_worker_with_everything():
    worker = {
        "app": "shop.queue:app",
        "queues": ["mail", "celery"],
        "concurrency": None,
        "autoscale": [1, 8],
        "prefetch": 1,
        "hostname": "post",
        "log_level": "warning",
        "options": ["--statedb=@{path.data}/state", "-Ofair"],
    }
    assert argv(2, celery={**CELERY, **worker}) == [
        "/v/bin/celery",
        "--app=shop.queue:app",
        "worker",
        "--loglevel=WARNING",
        "--hostname=post_2-0123456789ab-ba9876543210@%h",
        "--pool=prefork",
        "--autoscale=8,1",
        "--prefetch-multiplier=1",
        "--queues=mail,celery",
        "--statedb=/srv/django/shop/shared/data/state",
        "-Ofair",
    ]


def test_flower_listens_on_a_unix_socket_and_is_not_told_its_password():
    flower = {
        "app": "shop",
        "path": "/staff/jobs/",
        "username": "chief",
        "log_level": "info",
        "options": ["--persistent=True", "--db=@{path.data}/flower"],
    }
    assert argv(flower=flower) == [
        "/v/bin/celery",
        "--app=shop",
        "flower",
        "--unix-socket=/run/django/shop/jobs.sock",
        "--url-prefix=staff/jobs",
        "--xheaders",
        "--logging=info",
        "--persistent=True",
        f"--db={NAMES['path.data']}/flower",
    ]


def test_celery_beat():
    beat = [
        "/v/bin/celery",
        "--app=shop",
        "beat",
        "--loglevel=INFO",
        "--schedule=/srv/django/shop/shared/celery/jobs.schedule",
        "--pidfile=",
    ]
    assert argv(celery_beat=BEAT) == beat
    scheduler = "django_celery_beat.schedulers:DatabaseScheduler"
    own = {**BEAT, "scheduler": scheduler, "options": ["--max-interval=60"]}
    assert argv(celery_beat=own) == [*beat, f"--scheduler={scheduler}", "--max-interval=60"]


def test_rq_worker_and_scheduler():
    worker = {"queues": ["high", "default"], "options": ["--max-jobs=9"]}
    assert argv(rq=worker) == [*MANAGE, "rqworker", "high", "default", "--max-jobs=9"]
    scheduler = {"queue": "default", "interval": 10, "options": ["--verbosity=2"]}
    assert argv(rq_scheduler=scheduler) == [
        *MANAGE,
        "rqscheduler",
        "--queue=default",
        "--interval=10",
        "--verbosity=2",
    ]


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ({"command": ["celery"]}, None),
        ({"command": None, "manage": ["rqworker"], "rq": None}, None),
        ({"celery": CELERY}, "celery"),
        ({"command": None, "celery_beat": BEAT}, "celery_beat"),
    ],
)
def test_kind(spec, kind):
    assert django_queue.kind(spec) == kind


@pytest.mark.parametrize(
    ("spec", "jobs"),
    [
        ({"manage": ["x"]}, 1),
        ({"rq": {"queues": ["default"], "options": []}}, 1),
        ({"celery_beat": BEAT}, 1),
        ({"celery": CELERY}, 2),
        ({"celery": {**CELERY, "concurrency": None, "autoscale": [1, 8]}}, 8),
    ],
)
def test_jobs_at_a_time(spec, jobs):
    assert django_queue.jobs(spec) == jobs


@pytest.mark.parametrize(
    ("kind", "option", "own"),
    [
        ("celery", "-n", "-n"),
        ("celery", "-nmail@%h", "-n"),
        ("celery", "--pool=solo", "--pool"),
        ("celery", "--pool-start-method=spawn", None),
        ("celery", "-Ofair", None),
        ("celery", "--time-limit=60", None),
        ("celery_beat", "--pidfile=/x", "--pidfile"),
        ("celery_beat", "--max-interval=60", None),
        ("rq", "--with-scheduler", None),
        ("rq", "--name=x", "--name"),
        ("rq_scheduler", "-i", "-i"),
    ],
)
def test_options_that_the_formula_sets(kind, option, own):
    assert django_queue.own_option(kind, option) == own


@pytest.mark.parametrize(
    ("spec", "needs"),
    [
        ({"command": ["/v/bin/celery", "-A", "x"], "manage": None}, True),
        ({"command": None, "manage": ["rqworker", "high"]}, True),
        ({"command": None, "manage": None, "celery_beat": BEAT}, True),
        ({"command": None, "manage": None, "rq": {"queues": ["default"]}}, True),
        ({"command": None, "manage": ["clearsessions"]}, False),
    ],
)
def test_what_needs_a_broker(spec, needs):
    assert django_queue.needs_broker(spec) is needs
