"""Checks of files that a pillar writes: where they may be, and what they may hold."""

import django_project

# Files on the host: where projects' own may be, and what is there of the formula and of the system.
FILE_PLACES = ("/etc", "/home", "/opt", "/srv", "/usr/local/etc", "/usr/local/share", "/var")
OWN_FILES = ("/srv/django", "/etc/django-formula", "/opt/django-formula")
SYSTEM_FILES = frozenset(
    "/etc/" + name
    for name in (
        "adduser.conf adjtime alternatives anacrontab apache2 apparmor apparmor.d apt at.allow"
        " at.deny bash.bashrc binfmt.d ca-certificates ca-certificates.conf cloud"
        " cron.allow cron.d cron.daily cron.deny cron.hourly cron.monthly cron.weekly cron.yearly"
        " crontab dbus-1 debconf.conf debian_version default deluser.conf dhcp dpkg environment"
        " environment.d fstab gai.conf group group- grub.d gshadow gshadow- host.conf hostname"
        " hosts hosts.allow hosts.deny inetd.conf init init.d initramfs-tools inittab inputrc"
        " iproute2 issue issue.net kernel ld.so.cache ld.so.conf ld.so.conf.d ld.so.preload"
        " locale.alias locale.conf locale.gen localtime login.defs logrotate.conf logrotate.d"
        " machine-id mke2fs.conf modprobe.d modules modules-load.d motd mtab netplan network"
        " networkd-dispatcher networks nftables.conf nginx nologin nsswitch.conf"
        " os-release pam.conf pam.d passwd passwd- pip.conf polkit-1 postgresql postgresql-common"
        " profile profile.d protocols python3 rc.local rc0.d rc1.d rc2.d rc3.d rc4.d rc5.d rc6.d"
        " rcS.d redis resolv.conf rpc rsyslog.conf rsyslog.d salt securetty security selinux"
        " services shadow shadow- shells skel ssh ssl/certs ssl/openssl.cnf subgid subgid- subuid"
        " subuid- sudo.conf sudo_logsrvd.conf sudoers sudoers.d supervisor supervisord.conf"
        " sysctl.conf sysctl.d systemd sysusers.d terminfo timezone tmpfiles.d ucf.conf udev ufw"
        " update-motd.d uv vim X11 xattr.conf xdg"
    ).split()
) | frozenset(
    "/var/" + name
    for name in (
        "backups cache/apt cache/debconf cache/django cache/ldconfig cache/salt lib/apache2 lib/apt"
        " lib/dbus lib/dpkg lib/nginx lib/pam lib/polkit-1 lib/postgresql lib/private lib/python"
        " lib/redis lib/sudo lib/systemd lib/ucf local lock log mail run spool tmp"
    ).split()
)


def files(projects):
    """Rendered files: where they may be, and that their content fits their format."""
    owner = {}
    for name, project in projects.items():
        for file, entry in project["files"].items():
            key = f"files:{file}"
            problem = _place_problem(file) if file.startswith("/") else None
            if problem:
                yield name, key, problem
            elif _within(file, "/etc/django") and not _within(file, f"/etc/django/{name}"):
                yield name, key, f"expected a path below /etc/django/{name}"
            if file.startswith("/") and file in owner:
                yield name, key, f"expected a path of its own, this one is that of {owner[file]}"
            owner.setdefault(file, name)
            problem = _content_problem(entry["content"], django_project.file_format(file, entry))
            if problem:
                yield name, f"{key}:content", problem


def _place_problem(file):
    """Why a project's file must not be at an absolute path, or None."""
    inside = next((top for top in OWN_FILES if _within(file, top)), None)
    if inside:
        return f"expected a path outside {inside}, which the formula looks after"
    place = next((top for top in FILE_PLACES if file.startswith(top + "/")), None)
    if place is None or ".ssh" in file.split("/"):
        return f"expected a path below {', '.join(FILE_PLACES)}, the rest is the system's"
    inside = next((top for top in SYSTEM_FILES if _within(file, top)), None)
    if inside:
        return f"expected a path of the project's own, {inside} is the system's"
    if place == "/var" and file.count("/") < 4:
        return "expected a path in a folder of its own such as /var/lib/shop/shop.ini"
    return None


def _content_problem(content, kind):
    """Why a content cannot be written in a format, or None. Never quotes the content."""
    if isinstance(content, str) or kind in ("json", "yaml"):
        return None
    if kind == "text":
        return "expected text (or a format that can say a map or a list)"
    if not isinstance(content, dict):
        return f"expected a map or text, since the format is {kind}"
    if kind == "ini" and not all(isinstance(section, dict) for section in content.values()):
        return "expected a map of sections, each a map, since the format is ini"
    if kind in ("python", "env") and not all(map(str.isidentifier, content)):
        return f"expected names of letters, digits and underscores, since the format is {kind}"
    if kind == "toml" and _has_null(content):
        return "expected no null, since the format is toml"
    return None


def _has_null(value):
    if isinstance(value, dict):
        value = list(value.values())
    return value is None or isinstance(value, list) and any(map(_has_null, value))


def _within(path, top):
    return path == top or path.startswith(top + "/")
