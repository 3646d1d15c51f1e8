"""
Run a command on this host as a given user: no shell unless asked for, a whole and explicit
environment, a time limit that ends the whole process group, and the last lines of output kept for
the error message. A child never outlives the process that started it; nor does what a project's
command has left running in its group outlive that.
"""

import contextlib
import ctypes
import errno
import functools
import os
import pathlib
import pwd
import select
import shlex
import signal
import subprocess
import time

TAIL_LINES = 25
MOST_BYTES = 256 * 1024 * 1024  # of output, which is in memory
KEPT_BYTES = 1024 * 1024  # of one that was more
LOOK_SECONDS = 0.1
LINE_LENGTH = 2000  # characters of a line in a message
BASE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What a build may need from the environment of the process that runs Salt: proxies, certificate
# bundles, package indexes. Never given to a project's own processes.
BUILD_VARIABLES = (
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "PIP_INDEX_URL",
    "UV_DEFAULT_INDEX",
)
# Node trusts a list of its own, and not what this host's administrator added to Debian's.
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_PR_SET_PDEATHSIG = 1


class CommandError(Exception):
    """
    A command failed, could not be started or ran out of time.

    argv (list of str), returncode (int or None on a timeout), output (str, the last lines).
    """

    def __init__(self, argv, returncode, output, reason):
        self.argv = argv
        self.returncode = returncode
        self.output = output
        lines = [f"{shlex.join(argv)[:300]}: {reason}"]
        if output:
            lines.append(output)
        super().__init__("\n".join(lines))


def build_environment(**extra):
    """The environment for commands that download or compile, with ``extra`` (str) on top."""
    own = {
        "PATH": BASE_PATH,
        "LANG": "C.UTF-8",
        "HOME": "/root",
        "NODE_EXTRA_CA_CERTS": CERTIFICATES,
    }
    inherited = {name: os.environ[name] for name in BUILD_VARIABLES if name in os.environ}
    return {**own, **inherited, **extra}


def _die_with(parent):
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died meanwhile
        os.kill(os.getpid(), signal.SIGKILL)


def _credentials(user, group):
    if user is None:
        return {}
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise CommandError([user], None, "", f"the system user {user!r} does not exist") from None
    group = entry.pw_gid if group is None else group
    return {
        "user": entry.pw_uid,
        "group": group,
        "extra_groups": os.getgrouplist(user, group),
    }


def tail(text, lines=TAIL_LINES):
    """The last ``lines`` non-empty lines of ``text``, each cut off where nobody would read on."""
    kept = [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]
    return "\n".join(brief(line) for line in kept)


def brief(text):
    """``text``, or its beginning where it is too long for a message."""
    return text if len(text) <= LINE_LENGTH else f"{text[:LINE_LENGTH]}… ({len(text)} characters)"


def run(
    argv,
    *,
    user=None,
    group=None,
    env=None,
    cwd=None,
    timeout=600,
    stdin=None,
    log=None,
    redact=None,
    umask=0o022,
    check=True,
    heard=None,
):
    """
    Run ``argv`` and return a ``subprocess.CompletedProcess`` with text ``stdout`` and ``stderr``.

    argv
        List of str. The first must be an absolute path or be found on ``env['PATH']``.
    user
        System user to become; None stays root.
    group
        Number (int) of the primary group; None is the user's own.
    env
        The whole environment (dict of str); None is a minimal one.
    timeout
        Seconds after which the process group is killed; so it is after MOST_BYTES of output.
    stdin
        Text for standard input.
    log
        Path of a file, no link, that both streams are appended to; ``stdout`` is then empty and
        ``stderr`` holds the last lines of the log.
    redact
        Function from text to text, for what is written to the log.
    check
        Raise :class:`CommandError` on a non-zero exit.
    heard
        Function that is called, while it runs, with the end of its standard error (str) whenever
        there is more of that.
    """
    env = env or {"PATH": BASE_PATH, "LANG": "C.UTF-8"}
    program = _which(argv[0], env.get("PATH", BASE_PATH))
    if program is None:
        raise CommandError(argv, 127, "", f"the program {argv[0]!r} is not on this host")
    if any("\0" in word for word in argv):
        raise CommandError(argv, None, "", "a word of a command cannot have a NUL character")
    with contextlib.ExitStack() as stack:
        given, out, err = (stack.enter_context(_in_memory(name)) for name in ("in", "out", "err"))
        stdout, stderr = (err, err) if log else (out, err)
        given.write((stdin or "").encode())
        given.seek(0)
        process = subprocess.Popen(  # noqa: S603
            argv,
            executable=program,
            stdin=given if stdin is not None else subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=env,
            cwd=cwd or "/",
            umask=umask,
            start_new_session=True,
            preexec_fn=functools.partial(_die_with, os.getpid()),
            **_credentials(user, group),
        )
        reason = "broken off"
        try:
            reason = _trouble(process, timeout, (out, err), heard)
        finally:
            if reason or user is not None:
                # As long as nobody has waited for it, its number is nobody else's.
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        texts = [_text(stream) for stream in (out, err)]
    if log:
        text = f"$ {shlex.join(argv)}\n{texts[1]}"
        _append(log, redact(text) if redact else text)
    done = subprocess.CompletedProcess(argv, process.returncode, texts[0], texts[1])
    if reason or (check and done.returncode != 0):
        output = tail(done.stdout + "\n" + done.stderr)
        raise CommandError(
            argv, done.returncode, output, reason or f"exit status {done.returncode}"
        )
    return done


def _in_memory(name):
    """An open file (binary) that takes nothing from the disk, which may be what is full."""
    return os.fdopen(os.memfd_create(name), "w+b")


def _append(log, text):
    """Add to a log; what a command said is told without it where the disk is full."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o640)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise


def _trouble(process, timeout, outputs, heard):
    """
    Why ``process`` is to be killed (str): it takes longer than ``timeout`` seconds, or prints more
    than this host may have memory for. None when it has ended by itself, which the kernel tells at
    once.
    """
    deadline = time.monotonic() + timeout
    errors, size = outputs[-1], 0
    handle = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        while True:
            left = max(0, deadline - time.monotonic())
            if poll.poll(min(left, LOOK_SECONDS) * 1000):
                return None
            if heard and _size(errors) > size:
                size = _size(errors)
                heard(_end(errors, size))
            if any(_size(stream) > MOST_BYTES for stream in outputs):
                return f"killed after it had printed {MOST_BYTES // 2**20} MiB"
            if not left:
                return f"killed after its time limit of {timeout} s"
    finally:
        os.close(handle)


def _size(stream):
    return os.fstat(stream.fileno()).st_size


def _end(stream, size):
    """The end of an open file (str), read where somebody else goes on to write."""
    return os.pread(stream.fileno(), LINE_LENGTH, max(0, size - LINE_LENGTH)).decode(
        errors="replace"
    )


def _text(stream):
    """What is in an open file (str), or the end of it where it is too much."""
    stream.seek(max(0, _size(stream) - KEPT_BYTES) if _size(stream) > MOST_BYTES else 0)
    return stream.read().decode(errors="replace")


def _which(name, path):
    if "/" in name:
        return name if os.access(name, os.X_OK) else None
    for folder in path.split(":"):
        candidate = pathlib.Path(folder) / name
        if os.access(candidate, os.X_OK) and candidate.is_file():
            return str(candidate)
    return None
