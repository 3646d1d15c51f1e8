"""
The one image that all contestants start from: ``bench-ready``.

Upon a bare Debian 12 with Salt and uv it has every .deb and wheel at hand, so that what is measured
is work and not a network, and the tools that count and load.
"""

import hashlib
import inspect

import yaml

from test.hosts import image
from test.integration import machines
from test.integration.server import ROOT

NAME = "bench-ready"
WHEELS = "/var/cache/wheels"
UV = "/opt/django-formula/uv/bin"
REQUIREMENTS = ROOT / "examples/guestbook/requirements.txt"
SUPERVISOR = ROOT / "salt/django/process/files/supervisor.lock"
SCHEMA = ROOT / "salt/django/parameters/schema.yaml"
TOOLS = ("strace", "wrk")
DEBS = ("postgresql", "redis-server", "nginx", "supervisor", "python3-venv", "ca-certificates")


def gunicorn():
    """The requirement of the application server that the formula takes, for all contestants."""
    project = yaml.safe_load(SCHEMA.read_text())["pillar"]["keys"]["projects"]["value"]["keys"]
    return f"gunicorn=={project['app']['keys']['version']['default']}"


def build(host):
    """Download what the job needs, and let pip and uv know nothing else."""
    host.run("apt-get update -q", timeout=300)
    host.run(f"apt-get install -qy --no-install-recommends {' '.join(TOOLS)}")
    download = "apt-get install -qy --no-install-recommends --download-only"
    host.run(f"{download} {' '.join(DEBS)}")
    host.put(REQUIREMENTS, "/tmp/requirements.txt")
    host.put(SUPERVISOR, "/tmp/supervisor.lock")
    fetch = f"{UV}/python -m pip download --quiet --only-binary=:all: --dest {WHEELS}"
    host.run(f"{fetch} --requirement /tmp/requirements.txt {gunicorn()}")
    host.run(f"{fetch} --no-deps --require-hashes --requirement /tmp/supervisor.lock")
    # Salt's own packages bring pip along, and its state pip.installed does not work without.
    host.run(f"{UV}/uv pip install --quiet --python /opt/django-formula/salt/bin/python pip")
    host.write("/etc/pip.conf", f"[global]\nno-index = true\nfind-links = {WHEELS}\n")
    host.write("/etc/uv/uv.toml", f'no-index = true\nfind-links = ["{WHEELS}"]\n')


def ensure():
    """Have the image, and return its name."""
    base = machines.ready("bookworm")
    inputs = (
        inspect.getsource(build),
        REQUIREMENTS.read_text(),
        SUPERVISOR.read_text(),
        gunicorn(),
        *TOOLS,
        *DEBS,
    )
    key = hashlib.sha256("\n".join(inputs).encode()).hexdigest()[:16]
    return image(NAME, base=base, key=key, build=build)
