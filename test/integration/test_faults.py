"""
Services that fail during a release, records and links that are lost, and changes of each kind:
visitors notice nothing, one more run mends all, and the processes prove what they run.
"""

import time

import pytest

from test.hosts import boot

from .faults import (
    MANAGERS,
    PIP,
    assert_is_live,
    is_well,
    mend,
    paused,
    prepared,
    release,
    run_with,
    write,
)
from .guestbook import ROOT, SOURCE, no_failed_request, whoami
from .machines import SITE, ensure

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.proves(
        "faults",
        "services that fail",
        "database, cache, registry, disk, lost records: the old release serves, a run mends all",
        on=["Debian 12"],
    ),
]

PROJECT_TASK = r"bin/python', '-'\]"


@pytest.fixture(scope="module", params=MANAGERS)
def site(request):
    """The example site under a process manager, with a release to begin with."""
    with boot(f"int-faults-{request.param}", image=ensure(SITE)) as host:
        yield prepared(host, request.param)


@pytest.fixture
def server(site):
    """The site with the newest release serving, whatever the test before left behind."""
    if not is_well(site):
        mend(site)
    return site


def only(manager):
    """A test that needs to be done under one process manager only."""
    return pytest.mark.parametrize("site", [manager], indirect=True)


# What a release needs is away


def fails(server, first, *said, **fault):
    """A run that fails, in words, at a state, while visitors notice nothing."""
    live = server.live()
    with no_failed_request(server):
        if fault:
            done = run_with(server, **fault, words="state.apply --out json")
            output = done.stdout
            assert done.returncode not in (0, -9)
        else:
            outcome = server.apply(check=False)
            output = outcome.output
            assert outcome.returncode != 0
            assert outcome.failed[0] == first
    for words in said:
        assert words in output, output[-6000:]
    assert "release_allow" not in output
    assert "Traceback" not in output
    assert server.live() == live


@only("supervisord")
def test_registry_that_is_away(server):
    release(server)
    server.run(f"echo idna==3.6 >>{SOURCE}/requirements.txt")
    server.host.write(PIP, "[global]\nindex-url = http://127.0.0.1:9/simple\n")
    said = ("The packages cannot be installed", "Failed to fetch: http://127.0.0.1:9/simple/")
    fails(server, "guestbook: packages are installed", *said)
    server.host.write(PIP, server.pip)
    server.apply()
    assert_is_live(server)


@only("systemd")
def test_database_that_stops(server):
    """Before checks, before migrations, before the switch."""
    command = "systemctl stop postgresql"
    for event, at, count in (
        ("subprocess.Popen", PROJECT_TASK, 1),
        ("subprocess.Popen", PROJECT_TASK, 3),
        ("os.rename", "guestbook.web.*service'", 1),
    ):
        release(server, migration="before")
        fails(server, None, "guestbook: ", event=event, at=at, count=count, command=command)
        server.apply()
        assert_is_live(server)


@only("supervisord")
def test_cache_that_stops(server):
    release(server)
    command = "systemctl stop redis-server@guestbook"
    fails(server, None, "503", event="os.rename", at="guestbook.web.*conf'", command=command)
    server.run("systemctl start redis-server@guestbook")
    assert server.host.get("/healthz/").status == 200, "the old one, by itself"
    server.apply()
    assert_is_live(server)


def test_full_disk():
    """Before anything is built, while packages are installed, and by the build itself."""
    with boot("int-faults-disk", image=ensure(SITE), disk="1G") as host:
        server = prepared(host, "supervisord")
        release(server, packages=True)
        command = "fallocate -l $(($(df --output=avail -B1 /srv | tail -1) - %d)) /srv/fill"
        server.run(command % 100_000_000)
        kept = server.run(f"ls -R {ROOT}/releases {ROOT}/venvs").stdout
        said = ("MiB are free below", "Nothing was changed")
        fails(server, "guestbook: source is fetched", *said)
        assert server.run(f"ls -R {ROOT}/releases {ROOT}/venvs").stdout == kept
        server.run("rm /srv/fill")
        fails(
            server,
            None,
            "No space left on device",
            event="subprocess.Popen",
            at="'pip', 'install'",
            command=command % 20_000_000,
        )
        server.run("rm /srv/fill")
        server.apply()
        assert_is_live(server)
        release(server, build="cat /dev/zero >zeros")
        fails(server, "guestbook: release is built", "No space left on device")
        release(server, build="true")
        server.apply()
        assert_is_live(server)


# Processes prove what they run


def assert_proven(server, **expected):
    """The site tells it, and each process has it in its environment and works in its release."""
    answer = whoami(server)
    assert {key: answer[key] for key in expected} == expected
    release_id, instance = server.live()
    assert answer["release"] == release_id
    source = f"{ROOT}/releases/{release_id}/source"
    venv = server.run(["readlink", "-f", f"{ROOT}/current/venv"]).stdout.strip()
    assert answer["python_prefix"] in (venv, f"{ROOT}/releases/{release_id}/venv")
    pids = [*server.host.pids(f"instances/{instance}/"), *server.host.pids("^sleep 1000")]
    assert len(pids) > 2
    for pid in pids:
        assert server.run(["readlink", f"/proc/{pid}/cwd"]).stdout.strip() == source
        environ = server.host.read(f"/proc/{pid}/environ").split("\0")
        assert f"RELEASE_MARKER={server.written['marker']}" in environ
        assert f"API_TOKEN={server.written['token']}" in environ


def test_each_kind_of_change_reaches_every_process(server):
    release(server)
    server.apply()
    before = server.live()
    typing = whoami(server)["typing"]
    other = {"4.15.0": "4.16.0", "4.16.0": "4.15.0"}[typing]
    server.run(
        f"sed -i s/typing_extensions=={typing}/typing_extensions=={other}/ "
        f"{SOURCE}/requirements.txt"
    )
    with no_failed_request(server):
        server.apply()
    assert_proven(server, typing=other)
    assert server.live()[0] != before[0]

    before = server.live()
    write(server, marker="another")
    with no_failed_request(server):
        server.apply()
    assert_proven(server, release_marker="another")
    assert server.live()[0] == before[0] and server.live()[1] != before[1]

    write(server, token="token-two")
    with no_failed_request(server):
        server.apply()
    assert_proven(server, token="token-two")
    assert server.live()[0] == before[0]

    write(server, notes="two")
    with no_failed_request(server):
        server.apply()
    assert_proven(server, notes=f"{ROOT}/shared/two")
    assert server.live()[0] != before[0]
    assert server.apply().changed == []


# Going back in trouble


@only("systemd")
def test_rollback_while_the_database_is_stopped(server):
    release(server, health="/whoami/")
    server.apply()
    marker = server.written["marker"]
    release(server)
    server.apply()
    server.run("systemctl stop postgresql")
    with no_failed_request(server):
        told = server.call("django.rollback", "guestbook")
    assert told["database_is_ahead_by"] == "unknown, it cannot be asked"
    assert whoami(server)["release_marker"] == marker
    server.apply()
    server.assert_settled()
    assert whoami(server)["release_marker"] == marker
    server.call("django.release_allow", "guestbook")
    release(server, health="/healthz/")
    server.apply()
    assert_is_live(server)


@only("supervisord")
def test_rollback_to_a_release_that_is_damaged(server):
    listing = f"ls -l /etc/supervisor/conf.d {ROOT} {ROOT}/instances /run/django/guestbook"
    old = server.live()
    venv = server.run(["readlink", "-f", f"{ROOT}/current/venv"]).stdout.strip()
    release(server, packages=True)
    server.apply()
    server.run(f"cp -a {venv} /root/kept")
    for damage in ("rm {}/bin/python", "rm -r {}/lib/python3*/*/redis-*.dist-info", "rm -r {}"):
        assert server.call("django.rollback", "guestbook", "test=True")["changes"]
        before = server.run(f"{damage.format(venv)}; {listing}").stdout
        done = server.run("salt-call django.rollback guestbook 2>&1", check=False)
        assert done.returncode != 0
        assert f"Release {old[0]} cannot serve: its environment {venv}" in done.stdout
        assert "Nothing was changed" in done.stdout
        assert server.run(listing).stdout == before
        server.run(f"rm -rf {venv} && cp -a /root/kept {venv}")
    server.run(f"rm -r /root/kept; echo '# by hand' >>{ROOT}/releases/{old[0]}/source/manage.py")
    done = server.run("salt-call django.rollback guestbook 2>&1", check=False)
    assert done.returncode != 0
    assert f"Release {old[0]} cannot serve: it is not as it was built" in done.stdout
    assert_is_live(server)


# Records and links that are lost


@only("systemd")
def test_lost_history(server):
    for loss in ("rm", "truncate -s 7"):
        old = server.live()[0]
        release(server)
        server.apply()
        server.run(f"{loss} {ROOT}/history.json")
        assert server.apply().changed == []
        told = server.call("django.rollback", "guestbook", "test=True")
        assert told["changes"]["release"] == {"old": server.live()[0], "new": old}


@only("systemd")
def test_lost_refusals(server):
    release(server)
    server.apply()
    server.call("django.rollback", "guestbook")
    server.run(f"truncate -s 7 {ROOT}/refused.json")
    with no_failed_request(server):
        server.apply()
    assert_is_live(server)


@only("supervisord")
def test_lost_record_of_what_serves(server):
    release(server)
    server.apply()
    record = f"{ROOT}/live/instance.json"
    server.run(f"truncate -s 7 {record}")
    with no_failed_request(server):
        server.apply()
    assert_is_live(server)
    release(server)
    server.apply()
    server.call("django.rollback", "guestbook")
    held = server.live()
    server.run(f"truncate -s 7 {record}")
    with no_failed_request(server):
        failed = server.apply(check=False)
    assert failed.failed[0] == "guestbook: release is live"
    assert "django.release_allow" in failed.comment("guestbook: release is live")
    assert server.live() == held
    server.call("django.release_allow", "guestbook")
    with no_failed_request(server):
        server.apply()
    assert_is_live(server)


def test_lost_links(server):
    for damage in ("ln -sfn instances/none {}/live", "rm {}/live {}/current"):
        server.run(damage.replace("{}", ROOT))
        with no_failed_request(server):
            server.apply()
        assert_is_live(server)


def test_lost_sockets(server):
    server.run("rm -r /run/django /run/lock/django-formula-*")
    server.apply()
    assert_is_live(server)


# Others on the host


@only("supervisord")
def test_lock_that_another_holds(server):
    lock = "/run/lock/django-formula-guestbook.lock"
    server.run(["sh", "-c", f"setsid flock {lock} sleep 6 >/dev/null 2>&1 & sleep 0.5"])
    started = time.monotonic()
    assert server.apply().changed == []
    assert time.monotonic() - started > 4


@only("supervisord")
def test_operator_who_is_in_an_old_release(server):
    folder = server.run(["readlink", "-f", f"{ROOT}/current/source"]).stdout.strip()
    server.run(["sh", "-c", f"cd {folder} && setsid sleep 4715 >/dev/null 2>&1 &"])
    for _ in range(2):
        release(server)
        server.apply()
    assert server.host.exists(f"{folder}/manage.py")
    server.host.kill("sleep 4715")
    assert server.apply().changed == ["guestbook: old releases are gone"]
    assert not server.host.exists(folder)


@only("systemd")
def test_rollback_waits_for_a_run(server):
    marker = server.written["marker"]
    release(server)
    with no_failed_request(server):
        process = paused(server, "os.symlink", "/.web.sock", 0, 4)
        server.call("django.rollback", "guestbook")
        process.wait(60)
    assert whoami(server)["release_marker"] == marker
    assert server.apply().changed == []
