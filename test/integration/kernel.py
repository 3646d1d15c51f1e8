"""
A Linux kernel that mounts NFS where the machine's own cannot: Debian's user-mode Linux, a kernel
that is a process. On a test host it has the host's files and speaks from the host's address.
"""

import contextlib
import re
import shlex
import subprocess

PACKAGES = "kmod nfs-common nftables user-mode-linux"
LINUX = (
    *("linux.uml", "mem=384M", "quiet", "root=/dev/root", "rootfstype=hostfs", "rootflags=/"),
    *("rw", "init=/bin/sh", "con=null", "con0=fd:0,fd:1"),
)
# What comes for it is seen by the host's kernel, too, which would break the connection off.
ALONE = """
table inet guest {
    chain input { type filter hook input priority raw; tcp sport %d drop; }
}
"""
BEGIN = """\
stty -echo -onlcr; PS1= PS2=
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs run /run
ip link set lo up; ip address add %s/24 dev vec0; ip link set vec0 up
"""
TOLD = "%s\nprintf '\\ndone %%d.\\n' $?\n"
DONE = re.compile(r"(.*?)\n?^done (\d+)\.\n", re.S | re.M)


class Kernel:
    """A kernel that runs. ``host`` is the one on which it does."""

    def __init__(self, host, process):
        self.host, self._process = host, process

    def run(self, command, check=True):
        """What a command says (str) that root runs there; with ``check`` it must end well."""
        words = command if isinstance(command, str) else shlex.join(command)
        self._process.stdin.write(TOLD % words)
        self._process.stdin.flush()
        said = ""
        while not (found := DONE.fullmatch(said)):
            line = self._process.stdout.readline()
            assert line, f"it ended: {said}"
            said += line
        assert not check or found[2] == "0", f"{words}\n{said}"
        return found[1]


@contextlib.contextmanager
def booted(host, port):
    """A :class:`Kernel` on a host, which alone speaks with others' ``port`` (int) meanwhile."""
    host.run(f"apt-get install -qy --no-install-recommends {PACKAGES} && nft flush ruleset")
    host.run("mkdir -p /lib/modules && ln -sfn /usr/lib/uml/modules/* /lib/modules/")
    host.run(["nft", "-f", "-"], input=ALONE % port)
    hardware = host.run("cat /sys/class/net/eth0/address").stdout.strip()
    argv = host.argv([*LINUX, f"vec0:transport=raw,ifname=eth0,mac={hardware}"])
    pipe = subprocess.PIPE
    process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True)
    kernel = Kernel(host, process)
    try:
        process.stdin.write(BEGIN % host.address)
        kernel.run("true")
        yield kernel
    finally:
        with contextlib.suppress(OSError):
            process.communicate("umount -a -t nfs4; echo o >/proc/sysrq-trigger; sleep 9\n", 30)
        host.run("nft delete table inet guest")
