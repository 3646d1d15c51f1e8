"""
What the tests of Nginx and of Apache share: a project, pages that real visitors may ask for, the
application behind it, and a web server that runs from rendered files below a folder.
"""

import contextlib
import datetime
import gzip
import http.client
import http.server
import json
import os
import pathlib
import random
import socket
import socketserver
import ssl
import struct
import subprocess
import threading
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PROJECT = {
    "source": {"path": "/srv/src"},
    "domains": ["shop.test", "*.wild.test"],
    "media": {"private": {"url": "/guarded/"}},
    "web": {
        "max_body_size": "1K",
        "trusted_proxies": ["127.0.0.2"],
        "headers": {"X-Note": "it's a value"},
        "locations": {
            "/favicon.ico": {"alias": "@{path.static}/favicon.ico", "expires": "1d"},
            "/gone": {"status": 410},
            "/old/": {"redirect": "https://elsewhere.test/"},
            "/big/": {"application": True, "max_body_size": "1M"},
            "/private/": {"alias": "@{path.media}", "internal": True},
            "/papers/": {"alias": "@{path.media}"},
            "/paper": {"alias": "@{path.media}/other.txt"},
        },
    },
}
# Projects that a web server has to accept.
MEAN = {
    "uwsgi": {
        "source": {"path": "/srv/src"},
        "app": {"server": "uwsgi"},
        "web": {"locations": {"/slow/": {"application": True, "read_timeout": "1h"}}},
    },
    "no domain": {"source": {"path": "/srv/src"}},
    "addresses": {"source": {"path": "/srv/src"}, "domains": ["10.0.0.11"]},
    "long name": {"source": {"path": "/srv/src"}, "domains": ["a" * 60 + "." + "b" * 60 + ".test"]},
    "urls": {
        "source": {"path": "/srv/src"},
        "static": {"url": "/a/b/c%20d/"},
        "media": {"url": "/~media/"},
    },
    "elsewhere": {"source": {"path": "/srv/src"}, "static": {"url": "https://cdn.test/static/"}},
    "root location": {
        "source": {"path": "/srv/src"},
        "web": {"locations": {"/": {"application": True, "read_timeout": "1h"}}},
    },
    "asgi": {
        "source": {"path": "/srv/src"},
        "app": {"asgi": True, "module": "shop.asgi"},
        "web": {"websocket": True},
    },
    "header": {
        "source": {"path": "/srv/src"},
        "web": {"headers": {"Content-Security-Policy": "default-src 'self'; img-src *"}},
    },
    "flower": {"source": {"path": "/srv/src"}, "processes": {"monitor": {"flower": "shop"}}},
    "proxy": {
        "source": {"path": "/srv/src"},
        "web": {
            "trusted_proxies": ["2001:db8::/32", "10.0.0.0/8"],
            "locations": {"/flower/": {"proxy": "http://127.0.0.1:5555"}},
        },
    },
}


class Application(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/broken":
            self.close_connection = True
            return
        body = json.dumps({"path": self.path, "headers": dict(self.headers.items())}).encode()
        self.send_response(200)
        if self.path == "/accel":
            self.send_header("X-Accel-Redirect", "/private/note.txt")
        if self.path.startswith("/guard/"):
            name = self.path.removeprefix("/guard/").replace("dot-", ".")
            self.send_header("X-Accel-Redirect", f"/guarded/{name}")
            for name in ("Content-Disposition", "Cache-Control"):
                if self.headers.get(f"Say-{name}"):
                    self.send_header(name, self.headers[f"Say-{name}"])
        else:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        """Quiet."""


class UwsgiApplication(socketserver.StreamRequestHandler):
    """Answers a packet of uWSGI's protocol with what it was told."""

    def handle(self):
        _, size, _ = struct.unpack("<BHB", self.rfile.read(4))
        body, words = self.rfile.read(size), []
        while body:
            (length,) = struct.unpack_from("<H", body)
            words.append(body[2 : 2 + length].decode())
            body = body[2 + length :]
        pairs = list(zip(words[::2], words[1::2], strict=True))
        told = dict(pairs)
        told["body"] = self.rfile.read(int(told.get("CONTENT_LENGTH") or 0)).decode()
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
        self.wfile.write(head.encode() + json.dumps(told).encode())


# Below those of clients (net.ipv4.ip_local_port_range), each once.
PORTS = iter(random.sample(range(20000, 32000), 12000))
LINKS = {Application: "web.sock", UwsgiApplication: "web.uwsgi"}


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def server_bind(self):
        super().server_bind()
        os.chmod(self.server_address, 0o666)  # a web server may have an account of its own

    def get_request(self):
        return self.socket.accept()[0], ("unix", 0)


@contextlib.contextmanager
def answering(socket_path, application):
    """An application that answers at a Unix socket while the body runs."""
    server = UnixServer(str(socket_path), application)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def free_port():
    """
    A port that nobody has. The kernel gives none of these to clients, of whom one that is at it
    from another address, even if it is closed, would keep a server from it.
    """
    for port in PORTS:
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            return port
    raise RuntimeError("no port is free")


class Site:
    """A web server that runs with one project's site."""

    def __init__(self, root, port, tls_port):
        self.root, self.port, self.tls_port = root, port, tls_port

    def ask(self, path="/", host="shop.test", method="GET", source=None, body=None, **headers):
        where = (source, 0) if source else None
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=10, source_address=where
        )
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {"Host": host, **names})
        answer = connection.getresponse()
        answer.text = answer.read()
        connection.close()
        return answer

    def passed_on(self, path="/", **arguments):
        """The headers that the application saw."""
        answer = self.ask(path, **arguments)
        assert answer.status == 200, answer.text
        return json.loads(answer.text)["headers"]

    def say(self, text):
        """First line of the answer to a request that is sent as it is."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as stream:
            stream.sendall(text)
            return stream.makefile("rb").readline().decode().strip()

    def ask_securely(self, server_name, host):
        """The whole answer over TLS."""
        with self._secured(server_name) as stream:
            request = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            stream.sendall(request.encode())
            return stream.makefile("rb").read()

    def certificate(self, server_name):
        """The certificate (bytes, DER) that is shown for a name."""
        with self._secured(server_name) as stream:
            return stream.getpeercert(True)

    @contextlib.contextmanager
    def _secured(self, server_name):
        """A connection with TLS, whoever signed the certificate."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", self.tls_port), 10) as plain,
            context.wrap_socket(plain, server_hostname=server_name) as stream,
        ):
            yield stream


def write_below(root, folder, files, moves):
    """
    Write the rendered files that are below ``folder`` (str), and what they name moved below
    ``root``: ``moves`` are pairs of what stands there and what is to.
    """
    for name, content in files.items():
        if not name.startswith(folder):
            continue
        for old, new in moves:
            content = content.replace(old, new)
        path = pathlib.Path(f"{root}{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


@contextlib.contextmanager
def serving(argv, root, ports, application):
    """
    The site of the project shop below ``root``, by the web server that ``argv`` starts, with its
    application behind it. ports: those of HTTP and HTTPS.
    """
    shop = root / "srv/shop"
    (shop / "static/css").mkdir(parents=True)
    (shop / "shared/media").mkdir(parents=True)
    (shop / LINKS[application]).symlink_to(root / "first.sock")
    with answering(root / "first.sock", application):
        process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
        try:
            for _ in range(500):
                with (
                    contextlib.suppress(OSError),
                    socket.create_connection(("127.0.0.1", ports[0]), 1),
                ):
                    break
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.02)
            yield Site(root, *ports)
        finally:
            process.terminate()
            process.wait()
            process.stderr.close()


def told(site, path="/", **arguments):
    """The variables that the application got."""
    answer = site.ask(path, **arguments)
    assert answer.status == 200, answer.text
    return json.loads(answer.text)


def certificate(root):
    """A self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shop.test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    (root / "tls.pem").write_bytes(made.public_bytes(pem))
    (root / "tls.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return {"certificate": f"{root}/tls.pem", "key": f"{root}/tls.key"}


def fill(shop):
    """Files of a project for a web server."""
    (shop / "shared/private").mkdir()
    (shop / "secret.txt").write_text("not for the web")
    style = "body { color: black }\n" * 100
    (shop / "static/css/site.css").write_text(style)
    (shop / "static/css/site.css.gz").write_bytes(gzip.compress(style.encode()))
    (shop / "static/css/site.0123456789ab.css").write_text(style)
    (shop / "static/photo.20240101.svg").write_text("<svg/>")
    (shop / "static/letter.woff2").write_text("letters")
    (shop / "static/favicon.ico").write_text("icon")
    (shop / "static/.hidden").write_text("hidden")
    (shop / "static/own.txt").symlink_to("favicon.ico")
    (shop / "static/other.txt").symlink_to(shop / "secret.txt")
    for name in ("page.html", "picture.svg", "note.txt", "paper.pdf"):
        (shop / "shared/media" / name).write_text("<script>1</script>")
        (shop / "shared/private" / name).write_text("<script>2</script>")
    for folder in ("media", "private"):
        (shop / "shared" / folder / ".hidden.txt").write_text("hidden")
        (shop / "shared" / folder / "own.txt").symlink_to("note.txt")
        (shop / "shared" / folder / "other.txt").symlink_to(shop / "secret.txt")
        (shop / "shared" / folder / "others").symlink_to(shop / "others")
    (shop / "others").mkdir()
    (shop / "others/note.txt").write_text("of another project")
    if os.geteuid() == 0:
        for path in (shop / "secret.txt", shop / "others", shop / "others/note.txt"):
            os.chown(path, 1, 1)
