"""
What a request costs on the host that serves it: processor time for each, by all that take part.

That is steadier than requests in a second, of which other work on the machine takes its share. Each
load lasts five seconds and goes to the host's own address; those compared take turns.
"""

import re
import statistics
import subprocess
import time

VIEW = "/whoami/"
SECONDS, ROUNDS, CONNECTIONS = 5, 3, 8
BARE_PORT, TUNED_PORT, PROXY_PORT = 8999, 8081, 8082
REQUESTS = re.compile(r"^\s*(\d+) requests in", re.MULTILINE)
REFUSED = re.compile(r"Non-2xx or 3xx responses|Socket errors")
WITH_ENVIRONMENT = "/usr/local/lib/django-formula/with-environment"
# As little as serves a folder of precompressed files well, and as little as hands requests on.
TUNED = """\
user www-data;
worker_processes auto;
worker_rlimit_nofile 8192;
pid /run/tuned.pid;
error_log /run/tuned.log;
events { worker_connections 1024; }
http {
    include /etc/nginx/mime.types;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 10000;
    access_log off;
    gzip_static on;
    open_file_cache max=1000 inactive=60s;
    open_file_cache_valid 30s;
    server {
        listen 8081;
        location /static/ { alias /srv/django/guestbook/static/; expires max; }
    }
    upstream gunicorn {
        server unix:/srv/django/guestbook/web.sock;
        keepalive 64;
    }
    server {
        listen 8082;
        location / {
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_pass http://gunicorn;
        }
    }
}
"""


def load(host, url, patterns):
    """
    Microseconds of processor time for each request, and requests in a second.

    patterns
        Regular expressions of the command lines of the processes that serve.
    """
    pids = [pid for pattern in patterns for pid in host.pids(pattern)]
    before = processor(host, pids)
    said = host.run(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", url]).stdout
    spent = processor(host, pids) - before
    assert not REFUSED.search(said), f"{url}\n{said}"
    count = int(REQUESTS.search(said).group(1))
    return spent / count * 1e6, count / SECONDS


def processor(host, pids):
    """Seconds of processor time that processes of the host have used."""
    text = host.run(["cat", *(f"/proc/{pid}/stat" for pid in pids)], check=False).stdout
    ticks = 0
    for line in text.splitlines():
        fields = line.rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / 100


def start_bare(host):
    """Start a second Gunicorn of the live release on a TCP port."""
    master = min(host.pids(r"gunicorn.*--bind|gunicorn.*-b "))
    words = host.read(f"/proc/{master}/cmdline").rstrip("\0").split("\0")
    directory = host.run(["readlink", f"/proc/{master}/cwd"]).stdout.strip()
    bound = re.compile(r"unix:\S+")
    words = [bound.sub(f"127.0.0.1:{BARE_PORT}", word) for word in words]
    environment = "/srv/django/guestbook/live/environment"
    argv = ["env", "-C", directory, WITH_ENVIRONMENT, environment, *words]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return host.start(argv, user="guestbook", **silent)


def report(host):
    """Measure it all on a host with the formula's guestbook; returns the lines to print."""
    host.write("/run/tuned.conf", TUNED)
    host.run(["nginx", "-c", "/run/tuned.conf"])
    start_bare(host)
    time.sleep(4)
    page = host.get("/").text
    style = re.search(r'href="(/static/[^"]*\.css)"', page).group(1)
    gunicorn, bare = r"gunicorn.*unix:", rf"gunicorn.*:{BARE_PORT}"
    address = f"http://{host.address}"
    cases = {
        "bare Gunicorn": (f"http://127.0.0.1:{BARE_PORT}{VIEW}", [bare]),
        "through a minimal Nginx": (f"{address}:{PROXY_PORT}{VIEW}", [gunicorn, "nginx: worker"]),
        "through the formula's Nginx": (f"{address}{VIEW}", [gunicorn, "nginx: worker"]),
        "static file, minimal tuned Nginx": (f"{address}:{TUNED_PORT}{style}", ["nginx: worker"]),
        "static file, the formula's Nginx": (f"{address}{style}", ["nginx: worker"]),
    }
    figures = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, (url, patterns) in cases.items():
            figures[name].append(load(host, url, patterns))
    lines = [f"{'what a request costs':<36}{'processor µs':>14}{'requests/s':>14}"]
    medians = {}
    for name, runs in figures.items():
        medians[name] = statistics.median(each[0] for each in runs)
        lines.append(
            f"{name:<36}{medians[name]:14.0f}{statistics.median(r[1] for r in runs):14.0f}"
        )
    bare, least, through, minimal, own = medians.values()
    lines.append(
        f"Nginx adds {(through / bare - 1) * 100:.0f} % to bare Gunicorn, aim ≤ 15 %; "
        f"a minimal one {(least / bare - 1) * 100:.0f} %"
    )
    lines.append(f"static files: {own / minimal:.2f} × a minimal tuned Nginx, aim ≤ 1.1")
    return "\n".join(lines)
