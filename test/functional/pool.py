"""A HAProxy that runs from rendered files below a folder, and the web hosts behind it."""

import contextlib
import http.client
import http.server
import re
import signal
import subprocess
import threading
import time

import django_config
import django_drained
import django_haproxy
import django_lock
import django_server_haproxy
import django_service
from front import free_port, write_below
from rendering import Rendering, grains

HAPROXY = "/usr/sbin/haproxy"
FOLDER = "/etc/haproxy"
WEB = {"web1": "127.0.0.2", "web2": "127.0.0.3"}
# What a HAProxy on the builder does without.
OF_A_HOST = re.compile(r"^    (chroot|user|group|log|daemon).*\n", re.MULTILINE)


class Host(http.server.ThreadingHTTPServer):
    """A web host, which says its name; it takes its time until it may answer, and may be unwell."""

    daemon_threads = True

    def __init__(self, name, address, port):
        self.name, self.status = name, 200
        self.asked = []
        self.may_answer = threading.Event()
        super().__init__((address, port), Page)

    def handle_error(self, *_):
        """Quiet: HAProxy closes the connection of a check as soon as it knows enough."""


class Page(http.server.BaseHTTPRequestHandler):
    """What a web host answers."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        is_health = self.path == "/up/"
        if not is_health:
            self.server.asked.append(self.headers)
        if self.path == "/slow/":
            self.server.may_answer.wait(60)
        body = self.server.name.encode()
        self.send_response(self.server.status if is_health else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Quiet."""


class Pool:
    """HAProxy, the hosts behind it (``hosts`` by name) and the formula's functions (``call``)."""

    def __init__(self, opts, root, pillar, hosts):
        self._opts, self._root, self._pillar = opts, root, pillar
        self.hosts = hosts
        self.port, self.tls_port = pillar["haproxy"]["port"], pillar["haproxy"]["tls_port"]
        self.config = root / "etc/haproxy/haproxy.cfg"
        self._process = None

    def rendering(self):
        """The state tree as the balancer has it now."""
        return Rendering(self._opts, grains(id="lb1"), {"django": self._pillar})

    def write(self):
        """Bring HAProxy's files and links to what the state tree says."""
        rendering = self.rendering()
        self.call = rendering.modules
        links = [chunk for chunk in rendering.low if chunk["fun"] == "symlink"]
        for chunk in links:
            link = self._root / chunk["name"].lstrip("/")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(chunk["target"])
        moves = [
            (FOLDER, f"{self._root}{FOLDER}"),
            ("/run/haproxy/admin.sock user root group root", f"{self._root}/admin.sock"),
        ]
        write_below(self._root, FOLDER, rendering.files(), moves)
        self.config.write_text(OF_A_HOST.sub("", self.config.read_text()))
        if self._pillar["haproxy"].get("statistics"):
            self.guarded = self.call["django.guard_statistics"]()

    def start(self):
        """Start HAProxy and wait until both hosts are known to be well."""
        self._process = subprocess.Popen([HAPROXY, "-W", "-f", self.config])
        self.wait(lambda: self.states() == dict.fromkeys(WEB, "UP"))

    def reload(self):
        """Let HAProxy read its file again, as its service does, and wait for the new one."""
        before = self._pid()
        self._process.send_signal(signal.SIGUSR2)
        self.wait(lambda: self._pid() not in (before, None))

    def stop(self):
        """End HAProxy."""
        if self._process:
            self._process.terminate()
            self._process.wait()

    def wait(self, condition, seconds=30):
        """Wait until a condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self._process.poll() is None, "HAProxy has ended"
            assert time.monotonic() < deadline, "it did not come"
            time.sleep(0.05)

    def _pid(self):
        with contextlib.suppress(django_haproxy.HAProxyError):
            return re.search(r"^Pid: (\d+)$", django_haproxy.ask("show info"), re.MULTILINE)[1]

    def answer_soon(self):
        """Let slow requests have their answers in a moment."""
        for host in self.hosts.values():
            threading.Timer(0.5, host.may_answer.set).start()

    def states(self):
        """What HAProxy says of the hosts (dict), empty while it does not answer."""
        with contextlib.suppress(django_haproxy.HAProxyError):
            return django_haproxy.servers().get("shop", {})
        return {}

    def ask(self, path="/", host="shop.test", source="127.0.0.1", **headers):
        """An answer through HAProxy."""
        where = (source, 0)
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=20, source_address=where
        )
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", path, headers={"Host": host, **names})
        answer = connection.getresponse()
        answer.text = answer.read().decode()
        connection.close()
        return answer

    def who(self, times=8):
        """Names (set) of the hosts that answer some requests, all of them well."""
        answers = [self.ask() for _ in range(times)]
        assert {answer.status for answer in answers} == {200}
        return {answer.text for answer in answers}


@contextlib.contextmanager
def balancing(opts, root, monkeypatch, haproxy=(), apart=(), **changes):
    """
    A pool that runs; ``haproxy`` are keys of the pillar's, ``changes`` of the project's, ``apart``
    addresses of hosts for static files, by name.
    """
    inside = free_port()
    for module, name, path in (
        (django_haproxy, "SOCKET", root / "admin.sock"),
        (django_drained, "PATH", root / "drained.json"),
        (django_service, "STAMPS", root / "stamps"),
        (django_lock, "FOLDER", root / "lock"),
        (django_server_haproxy, "STATISTICS", f"{root}{FOLDER}/statistics.auth"),
    ):
        monkeypatch.setattr(module, name, path)
    monkeypatch.setitem(django_config.PATHS, "secrets", str(root / "secrets"))
    secret = {"password": "x" * 20}
    project = {"source": {"path": "/srv/src"}, "domains": ["shop.test"], "database": secret}
    project |= {"cache": secret, "secrets": {"SECRET_KEY": "y" * 50}, "health": {"path": "/up/"}}
    pillar = {
        "nginx": {"port": inside},
        "haproxy": {"port": free_port(), "tls_port": free_port(), **dict(haproxy)},
        "hosts": {
            "lb1": {"address": "127.0.0.5", "roles": ["balancer", "database", "cache"]},
            **{name: {"address": each, "roles": ["app", "web"]} for name, each in WEB.items()},
            **{name: {"address": each, "roles": ["static"]} for name, each in dict(apart).items()},
        },
        "projects": {"shop": {**project, **changes}},
    }
    hosts = {name: Host(name, address, inside) for name, address in {**WEB, **dict(apart)}.items()}
    pool = Pool(opts, root, pillar, hosts)
    for host in hosts.values():
        threading.Thread(target=host.serve_forever, args=[0.05], daemon=True).start()
    try:
        pool.write()
        monkeypatch.setattr(django_server_haproxy, "CONFIG", str(pool.config))
        pool.start()
        yield pool
    finally:
        pool.stop()
        for host in hosts.values():
            host.shutdown()
            host.server_close()
