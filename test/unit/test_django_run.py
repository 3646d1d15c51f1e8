"""Commands: environment, time limit, output, and that nothing outlives them."""

import os
import pathlib
import pwd
import signal
import subprocess
import sys
import tempfile
import time

import django_run
import pytest
from django_run import CommandError, run

UTILS = pathlib.Path(django_run.__file__).parent


def is_running(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def wait_gone(pid, seconds=5):
    deadline = time.monotonic() + seconds
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_running(pid)


def test_output_and_status():
    done = run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_what_it_prints_is_heard_while_it_runs(tmp_path):
    """What it goes on to print is not cut by that."""
    script = 'echo one >&2; while [ ! -e "$0" ]; do sleep 0.02; done; echo two >&2; echo out'
    heard = []

    def hear(text):
        heard.append(text)
        (tmp_path / "go").touch()

    done = run(["sh", "-c", script, str(tmp_path / "go")], heard=hear, timeout=10)
    assert heard[0] == "one\n"
    assert (done.stdout, done.stderr) == ("out\n", "one\ntwo\n")


def test_environment_is_only_what_is_given(monkeypatch):
    monkeypatch.setenv("SECRET_OF_SALT", "x")
    assert "SECRET_OF_SALT" not in run(["env"]).stdout
    assert run(["env"], env={"PATH": "/usr/bin:/bin", "A": "1 2"}).stdout == (
        "PATH=/usr/bin:/bin\nA=1 2\n"
    )


def test_words_are_passed_as_they_are():
    assert run(["printf", "%s|", "a b", "$HOME", ";", ""]).stdout == "a b|$HOME|;||"


def test_input_directory_and_umask(tmp_path):
    assert run(["cat"], stdin="ünï").stdout == "ünï"
    assert run(["pwd"], cwd=tmp_path).stdout == f"{tmp_path}\n"
    run(["touch", "file"], cwd=tmp_path, umask=0o027)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_without_input_a_command_reads_nothing():
    assert run(["cat"], timeout=5).stdout == ""


def test_failure_tells_the_command_the_status_and_the_last_lines():
    with pytest.raises(CommandError) as caught:
        run(["sh", "-c", "seq 100; echo bad >&2; exit 4"])
    error = caught.value
    assert error.returncode == 4
    assert "exit status 4" in str(error)
    assert error.output.splitlines()[-2:] == ["100", "bad"]
    assert len(error.output.splitlines()) == django_run.TAIL_LINES


def test_program_that_is_missing():
    with pytest.raises(CommandError, match="'no-such-program' is not on this host"):
        run(["no-such-program", "x"])
    with pytest.raises(CommandError, match="/no/such"):
        run(["/no/such"])


def test_word_that_cannot_be_one():
    with pytest.raises(CommandError, match="cannot have a NUL character"):
        run(["echo", "a\0b"])


def test_user_that_is_missing():
    with pytest.raises(CommandError, match="system user 'nobody-here' does not exist"):
        run(["true"], user="nobody-here")


def test_time_limit_ends_the_whole_group(tmp_path):
    script = f"sleep 4711 & echo $! >{tmp_path}/pid; sleep 4712"
    start = time.monotonic()
    with pytest.raises(CommandError, match="killed after its time limit of 0.5 s"):
        run(["sh", "-c", script], timeout=0.5)
    assert time.monotonic() - start < 5
    assert wait_gone(int((tmp_path / "pid").read_text()))


def test_daemon_that_keeps_the_output_open_does_not_delay():
    start = time.monotonic()
    done = run(["sh", "-c", "sleep 20 & echo $!"])
    assert time.monotonic() - start < 5
    os.kill(int(done.stdout), signal.SIGKILL)


def test_command_of_a_project_leaves_nobody_behind():
    """Whether it ends well or not: what it left works on in a folder that is sealed, or gone."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    for status in (0, 3):
        done = run(["sh", "-c", f"sleep 20 & echo $!; exit {status}"], user=user, check=False)
        assert done.returncode == status
        assert wait_gone(int(done.stdout))


def test_output_without_end_does_not_fill_the_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(django_run, "MOST_BYTES", 4 << 20)
    monkeypatch.setattr(django_run, "KEPT_BYTES", 1 << 16)
    log = tmp_path / "build.log"
    with pytest.raises(CommandError, match="killed after it had printed 4 MiB\n.*y") as caught:
        run(["yes"], timeout=60, log=log)
    assert caught.value.output.splitlines() == ["y"] * 25
    assert log.stat().st_size < 1 << 17
    done = run(["sh", "-c", "yes | head -c 3000000"], timeout=60)
    assert len(done.stdout) == 3000000, "less than that is all there"


def test_child_dies_with_the_process_that_started_it(tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(UTILS)!r})\n"
        "from django_run import run\n"
        f"run(['sh', '-c', 'echo $$ >{tmp_path}/pid; exec sleep 4713'])\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    file = tmp_path / "pid"
    deadline = time.monotonic() + 10
    while not (file.exists() and file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    assert wait_gone(int(file.read_text()))


def test_log_gets_the_command_and_all_output(tmp_path):
    log = tmp_path / "build.log"
    done = run(["sh", "-c", "echo out; echo err >&2"], log=log)
    run(["echo", "more"], log=log)
    assert done.stdout == ""
    assert log.read_text() == "$ sh -c 'echo out; echo err >&2'\nout\nerr\n$ echo more\nmore\n"


def test_failure_is_told_where_the_disk_is_full(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/no/room")
    with pytest.raises(CommandError, match="No space left on device"):
        run(["sh", "-c", "echo No space left on device >&2; exit 1"], log="/dev/full")


def test_build_environment_takes_proxies_and_certificates_only(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    env = django_run.build_environment(HOME="/srv")
    assert env["https_proxy"] == "http://proxy:3128"
    assert env["HOME"] == "/srv"
    assert "AWS_SECRET_ACCESS_KEY" not in env
    assert env["NODE_EXTRA_CA_CERTS"] == "/etc/ssl/certs/ca-certificates.crt"
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", "/root/ca.pem")
    assert django_run.build_environment()["NODE_EXTRA_CA_CERTS"] == "/root/ca.pem"


def test_a_line_without_end_does_not_fill_the_message():
    with pytest.raises(CommandError) as caught:
        run(["sh", "-c", "echo first; yes x | head -c 5000000 | tr -d '\\n'; exit 1"])
    first, long = caught.value.output.splitlines()
    assert first == "first"
    assert long.endswith("… (2500000 characters)") and len(long) < 3000


def test_tail_leaves_out_empty_lines():
    assert django_run.tail("a\n\n b \n\n", 1) == " b"
    assert django_run.tail("") == ""
