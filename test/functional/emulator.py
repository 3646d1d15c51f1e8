"""Moto, which answers as AWS does, in an environment of its own beside the tests'."""

import contextlib
import json
import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.request

from front import free_port

VERSION = "5.2.5"
LOCK = pathlib.Path(__file__).resolve().parents[2] / "salt/django/host/files/aws.lock"
FOLDER = pathlib.Path(sys.prefix).with_name(f"moto-{VERSION}")
PYTHON = str(FOLDER / "bin/python")
KEYS = ("AKIATEST", "the-fleet's-own-secret-key")


def install():
    """Its environment, with the boto3 that hosts get, made unless it is there."""
    stamp = FOLDER / "installed"
    if stamp.exists() and stamp.read_text() == LOCK.read_text():
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", FOLDER], check=True)
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # Of its extra "server" what these services need of it; the rest is three times as much.
    subprocess.run([*pip, f"moto=={VERSION}", "flask", "flask-cors"], check=True)
    subprocess.run([*pip, "--require-hashes", "-r", LOCK], check=True)
    stamp.write_text(LOCK.read_text())


# Carries out one script after the other, as a Python that was started for it would.
WORKER = """\
import contextlib, io, json, sys, traceback
import boto3
for line in sys.stdin:
    out, status = io.StringIO(), 0
    with contextlib.redirect_stdout(out):
        try:
            exec(json.loads(line), {"__name__": "__main__"})
        except BaseException:
            status, _ = 1, traceback.print_exc()
    print(json.dumps([status, out.getvalue()]), flush=True)
"""


class Emulator:
    """It, with nothing in it, at ``url``."""

    def __init__(self, port, worker):
        self.url, self._worker = f"http://127.0.0.1:{port}", worker

    def run(self, argv, stdin, **_):
        """What a Python with boto3 says to a script, as :func:`django_run.run` has it."""
        assert argv == [PYTHON, "-I", "-"]
        self._worker.stdin.write(json.dumps(stdin) + "\n")
        self._worker.stdin.flush()
        status, said = json.loads(self._worker.stdout.readline())
        assert status == 0, said
        return subprocess.CompletedProcess(argv, status, said, "")

    def ask(self, script, **values):
        """
        What a Python script at the emulator leaves in ``answer``; ``client(service)`` is there for
        it, and ``values``.
        """
        program = f"""\
import boto3, json
def client(service):
    return boto3.client(service, endpoint_url={self.url!r}, region_name="eu-central-1",
        aws_access_key_id="AKIATEST", aws_secret_access_key="its-secret")
globals().update({values!r})
{script}
print(json.dumps(answer))
"""
        return json.loads(self.run([PYTHON, "-I", "-"], program).stdout)

    def demand_keys(self, demanded):
        """Refuse keys that it has not made, which are all, or take any."""
        body = b"0" if demanded else b"inf"
        plain = {"Content-Type": "text/plain"}
        request = urllib.request.Request(f"{self.url}/moto-api/reset-auth", body, plain)
        urllib.request.urlopen(request, timeout=30).close()


@contextlib.contextmanager
def running():
    """An :class:`Emulator` while the body runs."""
    install()
    port = free_port()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    argv = [str(FOLDER / "bin/moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with (
        _ending(subprocess.Popen(argv, **quiet)) as process,
        _ending(subprocess.Popen([PYTHON, "-I", "-c", WORKER], **pipes)) as worker,
    ):
        made, deadline = Emulator(port, worker), time.monotonic() + 60
        while True:
            with contextlib.suppress(urllib.error.URLError):
                urllib.request.urlopen(f"{made.url}/moto-api/data.json", timeout=30).close()
                break
            assert process.poll() is None and time.monotonic() < deadline, "moto does not answer"
            time.sleep(0.1)
        yield made


@contextlib.contextmanager
def _ending(process):
    """A process that ends with the body."""
    with process:
        try:
            yield process
        finally:
            process.terminate()
