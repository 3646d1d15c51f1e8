"""Processes as data: names, command lines, definitions; and as systemd units."""

import configparser
import shlex

import django_process
import django_systemd
import pytest

INSTANCE = "0123456789ab-ba9876543210"
FOLDER = f"/srv/django/shop/instances/{INSTANCE}"
NAMES = {
    "project": "shop",
    "user": "shop",
    "path.venv": "/srv/django/shop/venvs/v",
    "path.project": "/srv/django/shop/releases/r/source",
    "path.log": "/var/log/django/shop",
    "path.data": "/srv/django/shop/shared/data",
    "path.shared": "/srv/django/shop/shared",
    "instance": INSTANCE,
    "socket": "/run/django/shop/web-i.sock",
}
APP = {
    "server": "gunicorn",
    "module": None,
    "command": None,
    "workers": 5,
    "worker_class": "gthread",
    "threads": 2,
    "timeout": 30,
    "graceful_timeout": 20,
    "asgi": False,
    "max_requests": 0,
    "preload": False,
    "options": [],
    "environment": {},
}
WORKER = {
    "command": ["celery", "-A", "shop", "worker"],
    "manage": None,
    "count": 1,
    "stop_signal": "TERM",
    "stop_timeout": 60,
    "start_seconds": 5,
    "stop_group": False,
    "environment": {},
    "directory": None,
}


def project(**changes):
    return {
        "name": "shop",
        "static_only": False,
        "user": "shop",
        "manage": {"kind": "file", "value": "manage.py"},
        "app": APP,
        "processes": {},
        "timers": {},
        **changes,
    }


def definitions(**changes):
    record = {"wsgi": "shop.wsgi:application"}
    return django_process.definitions(project(**changes), record, NAMES, FOLDER)


def test_program_name_is_read_back():
    name = django_process.program_name("shop", "worker_2", INSTANCE)
    assert django_process.parse_program(name, "shop") == ("worker_2", INSTANCE)
    assert django_process.parse_program(name, "sho") is None
    for stranger in ("nginx", "shop.web", "shop.web.abc", f"shop.a.b.{INSTANCE}"):
        assert django_process.parse_program(stranger, "shop") is None


@pytest.mark.parametrize(
    ("manage", "argv"),
    [
        ({"kind": "file", "value": "src/manage.py"}, ["/v/bin/python", "/s/src/manage.py"]),
        ({"kind": "script", "value": "netbox-manage"}, ["/v/bin/netbox-manage"]),
        ({"kind": "module", "value": "pkg.manage"}, ["/v/bin/python", "-m", "pkg.manage"]),
    ],
)
def test_manage_command(manage, argv):
    assert django_process.manage_argv(manage, "/v", "/s") == argv


@pytest.mark.parametrize(
    ("spec", "argv"),
    [
        ({"command": "celery -A 'my shop' -l info"}, ["celery", "-A", "my shop", "-l", "info"]),
        ({"command": ["run", "@{path.data}/x y"]}, ["run", f"{NAMES['path.data']}/x y"]),
        (
            {"manage": "rqworker high default"},
            [
                "/srv/django/shop/venvs/v/bin/python",
                "/srv/django/shop/releases/r/source/manage.py",
                *("rqworker", "high", "default"),
            ],
        ),
    ],
)
def test_command_line(spec, argv):
    assert django_process.command_argv(spec, project(), NAMES) == argv


def test_a_reference_is_never_split_into_words():
    names = {**NAMES, "path.data": "/a b; rm -rf /"}
    argv = django_process.command_argv({"command": "ls @{path.data}"}, project(), names)
    assert argv == ["ls", "/a b; rm -rf /"]


def test_gunicorn_command_line():
    app = {**APP, "max_requests": 1000, "preload": True, "options": ["--chdir=@{path.data}"]}
    assert django_process.gunicorn_argv(app, "shop.wsgi:application", NAMES, "/i") == [
        "/srv/django/shop/venvs/v/bin/gunicorn",
        "--config=/i/gunicorn.conf.py",
        "--bind=unix:/run/django/shop/web-i.sock",
        "--chdir=/srv/django/shop/releases/r/source",
        "--name=shop",
        "--workers=5",
        "--worker-class=gthread",
        "--threads=2",
        "--timeout=30",
        "--graceful-timeout=20",
        "--worker-tmp-dir=/dev/shm",
        "--umask=7",
        "--error-logfile=-",
        "--no-control-socket",
        "--max-requests=1000",
        "--max-requests-jitter=100",
        "--preload",
        "--chdir=/srv/django/shop/shared/data",
        "shop.wsgi:application",
    ]


def test_web_process_reads_its_environment_from_the_instance():
    web = definitions()["web"]
    assert web["command"][:3] == [
        "/usr/local/lib/django-formula/with-environment",
        f"{FOLDER}/environment",
        "/srv/django/shop/venvs/v/bin/gunicorn",
    ]
    assert (web["user"], web["stopwaitsecs"]) == ("shop", 25)


def test_websockets_have_time_to_be_closed():
    """Gunicorn waits, and its process manager for it, a little longer than they may stay open."""
    web = definitions(app={**APP, "asgi": True})["web"]
    assert "--graceful-timeout=25" in web["command"]
    assert web["stopwaitsecs"] == 30


@pytest.mark.parametrize("found", ["shop.wsgi", "shop.wsgi:application"])
def test_entry_point_is_what_the_release_has_unless_the_pillar_names_one(found):
    record = {"wsgi": found}
    web = django_process.definitions(project(), record, NAMES, FOLDER)["web"]
    assert web["command"][-1] == "shop.wsgi:application"
    named = project(app={**APP, "module": "other.asgi:app"})
    web = django_process.definitions(named, record, NAMES, FOLDER)["web"]
    assert web["command"][-1] == "other.asgi:app"


def test_own_start_command():
    app = {**APP, "server": "command", "command": ["granian", "--uds", "@{socket}"]}
    assert definitions(app=app)["web"]["command"][2:] == ["granian", "--uds", NAMES["socket"]]


def test_several_processes_of_one_kind_are_numbered():
    found = definitions(processes={"worker": {**WORKER, "count": 2}, "beat": WORKER})
    assert list(found) == ["web", "worker_1", "worker_2", "beat"]
    assert found["worker_2"]["stdout_logfile"] == "/var/log/django/shop/worker_2.log"
    assert found["beat"]["stopwaitsecs"] == 60


def test_workers_of_queues_beside_commands():
    worker = {"app": "shop", "queues": [], "concurrency": 2, "autoscale": [], "pool": "prefork"}
    worker |= {"prefetch": None, "hostname": None, "log_level": "info", "options": []}
    base = {key: value for key, value in WORKER.items() if key not in ("command", "manage")}
    found = definitions(
        processes={"jobs": {**base, "celery": worker, "count": 2}, "feed": WORKER},
    )
    assert list(found) == ["web", "jobs_1", "jobs_2", "feed"]
    nodes = {word for name in found for word in found[name]["command"] if "--hostname" in word}
    assert nodes == {f"--hostname=jobs_{number}-{INSTANCE}@%h" for number in (1, 2)}
    assert found["feed"]["command"][2:] == WORKER["command"]


def test_process_with_own_variables_reads_a_file_of_its_own():
    spec = {**WORKER, "environment": {"QUEUE": "high"}, "directory": "jobs"}
    wanted = project(processes={"worker": spec, "beat": WORKER})
    assert django_process.environments(wanted) == {"worker": {"QUEUE": "high"}}
    found = django_process.definitions(wanted, {"wsgi": "x"}, NAMES, FOLDER)
    assert found["worker"]["command"][1] == f"{FOLDER}/environment.worker"
    assert found["worker"]["directory"].endswith("/source/jobs")
    assert found["beat"]["command"][1] == f"{FOLDER}/environment"


# systemd


def read_by_systemd(word):
    """A word of ExecStart= as systemd.service(5) says that it is read: specifiers, then quotes."""
    unescaped = word.replace("%%", "%")
    if unescaped.startswith('"'):
        unescaped = shlex.split(unescaped.replace("\\n", "\n"))[0]
    return unescaped.replace("$$", "$")


@pytest.mark.parametrize(
    "word",
    [
        "plain",
        "--x=/a/b:c,d",
        "two words",
        "100%",
        "$HOME",
        'say "hi"',
        "it's",
        "a\\b",
        ";",
        "é",
        "",
    ],
)
def test_word_comes_through_systemd(word):
    assert read_by_systemd(django_systemd.quote(word)) == word


def test_unit_says_what_the_definition_says():
    name = f"shop.web.{INSTANCE}"
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read_string(django_systemd.unit(name, definitions()["web"]))
    assert "remote-fs.target" in parser["Unit"]["After"].split(), "uploads may be on a drive"
    service = parser["Service"]
    assert service["User"] == "shop"
    assert service["KillSignal"] == "SIGTERM"
    assert service["TimeoutStopSec"] == "25"
    assert service["WorkingDirectory"] == NAMES["path.project"]
    assert service["StandardOutput"] == "append:/var/log/django/shop/web.log"
    assert service["Restart"] == "always"
    assert service["NoNewPrivileges"] == "yes"
    assert shlex.split(service["ExecStart"]) == definitions()["web"]["command"]


def test_states_of_units_are_parsed():
    text = (
        "Id=shop.web.a.service\nActiveState=active\nMainPID=7\nResult=success\n\n"
        "Id=shop.jobs.a.service\nActiveState=failed\nMainPID=0\nNRestarts=4\n"
    )
    found = django_systemd.parse_show(text)
    assert found["shop.web.a"]["MainPID"] == "7"
    assert found["shop.jobs.a"]["NRestarts"] == "4"
    assert django_systemd.parse_show("") == {}
