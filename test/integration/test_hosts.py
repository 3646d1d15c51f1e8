"""The harness keeps what it promises: hosts that behave, and break, like real ones."""

import concurrent.futures
import http.client
import os
import signal
import subprocess
import sys
import time

import pytest

from test.hosts import CommandFailed, HostError, boot, find, image, images, network, store

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="test hosts need root")

HEAD = "test-hosts"
SERVER = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=80)"
UV = "/tmp/uv/bin/uv"


@pytest.fixture(scope="module", params=images.BASES)
def host(request):
    """A host of each base image."""
    with boot(f"{HEAD}-{request.param}", image=request.param) as host:
        yield host


@pytest.fixture(scope="module")
def other():
    """A second host beside the one under test."""
    with boot(f"{HEAD}-other") as host:
        yield host


@pytest.fixture
def spare():
    """A host for one test only."""
    with boot("spare") as host:
        yield host


def serve(host):
    """Let the host answer HTTP on port 80 with the files of /srv, and wait until it does."""
    host.write("/srv/index.html", "hello from " + host.name)
    host.run(f"cd /srv && setsid python3 -c '{SERVER}' >/dev/null 2>&1 &")
    for _ in range(100):
        try:
            return host.get("/index.html")
        except OSError:
            time.sleep(0.05)
    raise AssertionError("no answer on port 80")


def reaches(host, address, port=80):
    """Whether the host can connect to this address and port."""
    code = f"import socket; socket.create_connection(('{address}', {port}), 1)"
    return host.run(["python3", "-c", code], check=False).returncode == 0


def cli(*arguments):
    """Run the command line in a process of its own, as a developer does."""
    command = [sys.executable, "-m", "test.hosts", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


# Commands and files


def test_host_is_a_bare_server(host):
    assert host.run("systemctl is-system-running").stdout.strip() == "running"
    assert host.run("hostname").stdout.strip() == host.name
    assert host.run("getent hosts $(hostname)").returncode == 0
    assert host.run("cat /etc/machine-id").stdout.strip()
    for absent in ("gcc", "make", "pip", "curl"):
        assert host.run(f"command -v {absent}", check=False).stdout == ""
    for present in ("python3", "git", "apt-get", "ip"):
        assert host.run(f"command -v {present}").stdout


def test_only_the_network_of_the_kernel_can_be_tuned(host):
    host.run("sysctl -w net.core.somaxconn=2048")
    assert host.run("sysctl -w vm.overcommit_memory=1", check=False).returncode != 0


def test_command_runs_in_a_clean_environment(host):
    result = host.run("env; pwd", env={"COLOUR": "blue"})
    assert "COLOUR=blue" in result.stdout
    assert "HOME=/root" in result.stdout
    assert "PIP_" not in result.stdout
    assert result.stdout.splitlines()[-1] == "/"


def test_command_takes_words_input_and_user(host):
    assert host.run(["printf", "%s|", "a b", "$HOME"]).stdout == "a b|$HOME|"
    assert host.run("cat", input="ünï").stdout == "ünï"
    assert host.run("id -un; echo $HOME", user="www-data").stdout == "www-data\n/var/www\n"


def test_failing_command_shows_its_output(host):
    with pytest.raises(CommandFailed, match=r"(?s)echo out.*status 3.*out.*err"):
        host.run("echo out; echo err >&2; exit 3")
    assert host.run("exit 3", check=False).returncode == 3


def test_command_is_ended_after_its_timeout(host):
    with pytest.raises(CommandFailed, match=r"not done in 0\.5 s"):
        host.run("sleep 4711", timeout=0.5)
    assert host.pids("sleep 4711") == []


def test_background_command_can_be_killed(host):
    process = host.start("sleep 4712")
    while not host.pids("sleep 4712"):
        time.sleep(0.02)
    host.kill("sleep 4712")
    assert process.wait(10) != 0
    with pytest.raises(CommandFailed):
        host.kill("sleep 4712")


def test_files_are_written_and_read(host):
    host.write("/srv/new/file", "text\n", mode=0o640, owner="www-data:adm")
    assert host.read("/srv/new/file") == "text\n"
    assert host.run("stat -c '%a %U:%G' /srv/new/file").stdout == "640 www-data:adm\n"
    assert host.exists("/srv/new/file")
    assert not host.exists("/srv/new/none")


def test_git_checkout_is_put_as_it_is(host, tmp_path):
    (tmp_path / "run").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "run").chmod(0o755)
    (tmp_path / "link").symlink_to("run")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    host.put(tmp_path, "/srv/checkout")
    assert host.run("/srv/checkout/link").stdout == "ran\n"
    assert host.run("git -C /srv/checkout status --porcelain").stdout == ""
    host.put(tmp_path / "run", "/srv/alone")
    assert host.run("/srv/alone").stdout == "ran\n"


# Network


def test_registries_are_reached(host):
    """apt, pip and uv fetch packages; pip comes from apt as on any bare server."""
    host.run("apt-get update && apt-get install -qy --no-install-recommends python3-venv")
    host.run("python3 -m venv /tmp/uv && /tmp/uv/bin/pip install -q uv")
    host.run(f"{UV} venv -q /tmp/app && {UV} pip install -q --python /tmp/app/bin/python idna")
    assert host.run("/tmp/app/bin/python -c 'import idna'").returncode == 0


def test_hosts_reach_each_other(host, other):
    assert host.address != other.address
    host.run(["ping", "-c1", "-W2", other.address])
    other.run(["ping", "-c1", "-W2", host.address])


def test_way_out_stays_while_hosts_come_and_go(host):
    gateway = network.GATEWAY
    for name in ("passing-1", "passing-2", "passing-3"):
        with boot(name):
            host.run(["ping", "-c1", "-W2", gateway])
        host.run(["ping", "-c1", "-W2", gateway])
    neighbour = host.run(f"ip neigh show {gateway}").stdout
    assert network.hardware_address(gateway) in neighbour


def test_visitor_gets_an_answer(host):
    answer = serve(host)
    assert (answer.status, answer.text) == (200, f"hello from {host.name}")
    assert answer.headers["content-type"] == "text/html"
    assert host.get("/none", host="shop.example").status == 404
    assert host.get("/", method="POST", body="a=1").status == 501


def test_cable_is_cut_and_healed(host):
    serve(host)
    host.cut()
    with pytest.raises((OSError, http.client.HTTPException)):
        host.get("/", timeout=0.5)
    host.heal()
    assert host.get("/", timeout=5).status == 200


def test_chosen_traffic_is_blocked(host, other):
    serve(other)
    assert reaches(host, other.address)
    host.block(other, port=80)
    assert not reaches(host, other.address)
    host.run(["ping", "-c1", "-W2", other.address])
    host.unblock(other, port=80)
    assert reaches(host, other.address)


# Power


def test_power_cut_keeps_the_disk(spare):
    spare.write("/srv/kept", "kept")
    spare.run("sleep 4713 & sync")
    machine_id = spare.read("/etc/machine-id")
    spare.power_cut()
    assert not spare.is_on
    with pytest.raises(HostError, match="is off"):
        spare.run("true")
    spare.power_on()
    assert spare.read("/srv/kept") == "kept"
    assert spare.read("/etc/machine-id") == machine_id
    assert spare.pids("sleep 4713") == []
    spare.run(["ping", "-c1", "-W2", "10.77.0.1"])


def test_reboot_starts_enabled_services(spare):
    unit = "[Service]\nExecStart=sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
    spare.write("/etc/systemd/system/napping.service", unit)
    spare.run("systemctl enable napping")
    spare.reboot()
    assert spare.run("systemctl is-active napping").stdout == "active\n"


def test_equal_units_of_two_hosts_do_not_meet(spare, other):
    """Each host has control groups of its own, else stopping one's unit would kill the other's."""
    unit = "[Service]\nExecStart=sleep infinity\n"
    for each in (spare, other):
        each.write("/etc/systemd/system/twin.service", unit)
        each.run("systemctl start twin")
    spare.run("systemctl stop twin")
    assert other.run("systemctl is-active twin").stdout == "active\n"


# Other kinds of host


def test_host_without_systemd_runs_init_scripts():
    with boot("plain", systemd=False) as host:
        assert not host.exists("/run/systemd/system")
        host.run("apt-get update && apt-get install -qy --no-install-recommends cron")
        host.run("service cron start")
        assert "is running" in host.run("service cron status").stdout
        assert host.pids("^/usr/sbin/cron")
        host.reboot()
        assert host.exists("/usr/sbin/cron")


def test_small_disk_fills_up():
    with boot("small", disk="40M") as host:
        full = host.run("dd if=/dev/zero of=/srv/big bs=1M", check=False)
        assert "No space left on device" in full.stderr
        with pytest.raises(CommandFailed, match="No space left"):
            host.write("/srv/more", b"x" * 100_000)
        host.power_cut()
        host.power_on()
        assert int(host.run("df --output=avail / | tail -1").stdout) == 0


def test_limits_hold():
    with boot("limited", cores=0.5, memory="200M") as host:
        spin = (
            "import time as t; e = t.time() + 1\nwhile t.time() < e: pass\nprint(t.process_time())"
        )
        assert float(host.run(["python3", "-c", spin]).stdout) < 0.7
        eat = host.run(["python3", "-c", "x = bytearray(400_000_000)"], check=False)
        assert eat.returncode == -signal.SIGKILL


def test_images_stack_and_follow_their_key(request):
    name, stacked = f"{HEAD}-{os.getpid()}", f"{HEAD}-{os.getpid()}-upon"
    built = []

    def build(host):
        built.append(host.name)
        host.run("echo one >/srv/file; rm -r /usr/share/doc; mv /var/cache /var/cached")

    request.addfinalizer(lambda: [images.discard(each) for each in (name, stacked)])
    assert image(name, key="1", build=build) == image(name, key="1", build=build) == name
    assert len(built) == 1
    image(stacked, base=name, key="1", build=lambda host: host.run("echo two >>/srv/file"))
    with boot("upon", image=stacked) as host:
        assert host.read("/srv/file") == "one\ntwo\n"
        assert host.exists("/var/cached/apt")
        assert not host.exists("/usr/share/doc")
        assert host.read("/etc/hostname") == "upon\n"
        assert host.read("/etc/machine-id") != find("upon").run(
            "cat /proc/sys/kernel/random/boot_id"
        )
        image(name, key="2", build=build)
        assert len(built) == 2
        assert host.read("/srv/file") == "one\ntwo\n", "an old layer went from under a host"


def test_failed_build_leaves_nothing():
    with pytest.raises(CommandFailed):
        image(f"{HEAD}-failing", key="1", build=lambda host: host.run("false"))
    assert not list(store.LAYERS.glob(f"{HEAD}-failing@*"))
    with pytest.raises(HostError, match="there is no host"):
        find(f"build-{HEAD}-failing")
    with pytest.raises(HostError, match="there is no image"):
        boot("failing", image=f"{HEAD}-failing")


# Several at once, and by hand


def test_hosts_boot_side_by_side():
    names = ["side-a", "side-b", "side-c", "side-d"]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        hosts = list(pool.map(boot, names))
    assert len({host.address for host in hosts}) == len(names)
    for host in hosts:
        host.destroy()
        host.destroy()


def test_names_are_taken_once(other):
    with pytest.raises(HostError, match="already"):
        boot(other.name)
    with pytest.raises(HostError, match="not a host name"):
        boot("Not_a_name")


def test_command_line(monkeypatch):
    monkeypatch.setenv("DJANGO_FORMULA_TEST_NAMESPACE", f"cli{os.getpid()}")
    booted = cli("boot", "web", "--disk", "100M")
    assert booted.stdout.startswith("10.77.0."), booted.stderr
    try:
        assert f"cli{os.getpid()}.web" in cli("list").stdout
        ran = cli("run", "web", "--", "sh", "-c", "echo $1; exit 7", "sh", "--flag")
        assert (ran.returncode, ran.stdout) == (7, "--flag\n")
    finally:
        assert cli("destroy", "--all").returncode == 0
    assert "there is no host" in cli("run", "web", "--", "true").stderr


def test_hosts_of_a_crashed_process_are_removed(monkeypatch):
    monkeypatch.delenv("DJANGO_FORMULA_TEST_NAMESPACE", raising=False)
    code = "import os; from test.hosts import boot; print(boot('lost').id, flush=True); os.abort()"
    lost = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    ).stdout.strip()
    assert find(lost).is_on
    monkeypatch.setenv("DJANGO_FORMULA_TEST_NAMESPACE", f"cli{os.getpid()}")
    assert f"destroyed {lost}" in cli("destroy", "--all").stdout
    with pytest.raises(HostError, match="there is no host"):
        find(lost)
