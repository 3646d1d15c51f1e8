"""
How this repository is registered with the Salt of a server: configuration and pillar folder.

On a server that is a minion of a master already, its configuration is left alone and ours lies in a
directory of its own, which ``salt-call -c`` names.
"""

import glob
import os
import pathlib
import shutil
import tempfile

import yaml

HEADER = "# Written by the bootstrap command of django-formula, which undoes changes to it.\n"
SALT = pathlib.Path("/etc/salt")
OURS = "django-formula.conf"  # in minion.d; known by its name, whichever version wrote it
OWN = pathlib.Path("/etc/django-formula/salt")
PILLAR = pathlib.Path("/etc/django-formula/pillar")
TOP = "# Which pillar files apply to which server.\nbase:\n  '*':\n    - site\n"
# Options by which somebody else has said where this server's states or pillar come from.
TELLING = (
    "ext_pillar",
    "file_client",
    "file_roots",
    "fileserver_backend",
    "master",
    "master_type",
    "module_dirs",
    "pillar_roots",
    "saltenv",
    "states_dirs",
    "utils_dirs",
)
# What is shown of a run.
OUTPUT = {"state_output": "changes", "state_verbose": False}
SERVICES = (
    "etc/systemd/system/multi-user.target.wants/salt-minion.service",
    "etc/rc[2-5].d/S*salt-minion",
)


def has_systemd(root="/"):
    """Whether systemd runs this server."""
    return pathlib.Path(root, "run/systemd/system").is_dir()


def settings(repository, systemd, pillar=PILLAR):
    """
    Options of a masterless minion that serves this repository (dict).

    systemd
        Whether systemd runs this server.
    """
    repository = str(repository)
    return {
        "file_client": "local",
        "file_roots": {"base": [f"{repository}/salt", repository]},
        "pillar_roots": {"base": [str(pillar)]},
        # Modules and states are loaded from the repository itself, so nothing has to be synced.
        "module_dirs": [f"{repository}/_modules"],
        "states_dirs": [f"{repository}/_states"],
        "utils_dirs": [f"{repository}/_utils"],
        "autoload_dynamic_modules": False,
        # Where the files beside the states are, for a pillar: {{ opts.django_formula }}
        "django_formula": repository,
        **tuning(systemd),
        **OUTPUT,
        # A pillar that is no YAML, or whose Jinja is wrong, is no reason for a traceback with lines
        # of it: django.validate says where.
        "log_granular_levels": {"salt.pillar": "quiet", "salt.utils.templates": "quiet"},
    }


def tuning(systemd):
    """
    Options (dict) of any minion on which the states of this formula run.

    systemd
        Whether systemd runs this server.
    """
    # A third of the time of a run that changes nothing goes into what these leave out. Grains are
    # not cached: memory, cores and addresses must be this minute's.
    options = {
        "lazy_loader_strict_matching": True,
        "enable_gpu_grains": False,
        "enable_fqdns_grains": False,
    }
    if not systemd:
        # Where systemctl is installed and systemd does not run, Salt takes the server for an image
        # that is being built, and service.running does nothing and calls that a success.
        options["disable_modules"] = ["systemd_service"]
    return options


def own_settings(minion_id=None):
    """What ``settings`` needs beside it in a directory of our own (dict)."""
    apart = {
        "pki_dir": str(OWN / "pki"),
        "cachedir": "/var/cache/django-formula/salt",
        "sock_dir": "/run/django-formula/salt",
        "log_file": "/var/log/django-formula/salt.log",
        "gpg_keydir": str(SALT / "gpgkeys"),
    }
    return {**apart, "id": minion_id} if minion_id else apart


def render(options):
    """The text of a configuration file."""
    return HEADER + yaml.safe_dump(options, default_flow_style=False, sort_keys=True)


def managed_by(root="/"):
    """
    Why the Salt configuration of this server is not ours to change (str), or None when it is.

    root
        The server's file system, for tests.
    """
    root = pathlib.Path(root)
    salt = root / SALT.relative_to("/")
    if (salt / "pki/minion/minion_master.pub").exists():
        return "it has a master's key"
    for path in [salt / "minion", *sorted(salt.glob("minion.d/*.conf"))]:
        try:
            text = path.read_text(encoding="utf-8")
            options = {} if path.name == OURS else yaml.safe_load(text)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, yaml.YAMLError):
            return f"{path} cannot be read"
        said = [name for name in TELLING if isinstance(options, dict) and name in options]
        if said:
            return f"{path} sets {' and '.join(said)}"
    if any(glob.glob(pattern, root_dir=root) for pattern in SERVICES):
        return "its service salt-minion is enabled"
    return None


class Registration:
    """
    What this server's Salt shall know.

    repository
        Path of this repository.
    managed
        Why the configuration in /etc/salt is somebody else's, see :func:`managed_by`.
    salt_call
        Path of the program ``salt-call`` to use.
    """

    def __init__(self, repository, managed, salt_call="salt-call"):
        self.repository = pathlib.Path(repository)
        self.managed = managed
        self.salt_call = salt_call

    @property
    def directory(self):
        """The configuration directory for ``salt-call -c``."""
        return OWN if self.managed else SALT

    @property
    def master_file(self):
        """The file that Salt is to read first; in /etc/salt it need not be there."""
        return self.directory / "minion"

    @property
    def command(self):
        """The command by which an operator calls Salt."""
        found = shutil.which("salt-call")
        is_it = found and os.path.realpath(found) == os.path.realpath(self.salt_call)
        program = "salt-call" if is_it else self.salt_call
        return f"{program} -c {OWN}" if self.managed else program

    def options(self, minion_id=None, pillar=PILLAR):
        """All options of this registration (dict), with the pillar in that folder."""
        options = settings(self.repository, has_systemd(), pillar)
        return {**options, **own_settings(minion_id)} if self.managed else options

    def minion_id(self):
        """The name that this server has as somebody else's minion (str or None)."""
        try:
            return (SALT / "minion_id").read_text(encoding="utf-8").strip() or None
        except OSError:
            return None

    @property
    def file(self):
        """Path of the configuration file that is ours."""
        return OWN / "minion" if self.managed else SALT / "minion.d" / OURS

    def pillar_folder(self):
        """The folder (path) that is registered as this server's pillar, as long as it is there."""
        try:
            options = yaml.safe_load(self.file.read_text(encoding="utf-8"))
            folder = pathlib.Path(options["pillar_roots"]["base"][0])
        except (OSError, ValueError, TypeError, LookupError, yaml.YAMLError):
            return PILLAR
        return folder if folder.is_dir() else PILLAR

    def write(self, pillar=PILLAR):
        """Write the configuration; returns the paths of files that changed."""
        ours = SALT / "minion.d" / OURS
        changed = []
        if not self.managed:
            path, options = ours, self.options(pillar=pillar)
        else:
            path, options = self.file, self.options(self.minion_id(), pillar)
            if ours.exists():
                ours.unlink()
                changed.append(str(ours))
        path.parent.mkdir(parents=True, exist_ok=True)
        if write(path, render(options), 0o644):
            changed.append(str(path))
        return changed


def candidate(folder, pillar):
    """
    Make ``folder`` the pillar as it would be with the file ``pillar`` as its site.sls: a copy of
    the registered one for all else.
    """
    folder = pathlib.Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    if PILLAR.is_dir():
        shutil.copytree(PILLAR, folder)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    complete(folder, pathlib.Path(pillar).read_bytes())


def install(pillar):
    """Make the file the pillar of this server; returns the paths of files that changed."""
    PILLAR.mkdir(parents=True, exist_ok=True)
    PILLAR.chmod(0o700)
    return complete(PILLAR, pathlib.Path(pillar).read_bytes())


def set_aside():
    """
    Give the pillar file that does not count any more another name, so that nobody changes it and
    wonders; returns its new path (list).
    """
    site = PILLAR / "site.sls"
    if not site.exists():
        return []
    aside = site.with_suffix(".before")
    site.replace(aside)
    return [str(aside)]


def complete(folder, content):
    """Write site.sls, and top.sls when there is none; returns the paths of files that changed."""
    changed = [folder / "site.sls"] if write(folder / "site.sls", content, 0o600) else []
    if not (folder / "top.sls").exists():
        write(folder / "top.sls", TOP, 0o600)
        changed.append(folder / "top.sls")
    return [str(path) for path in changed]


def differs(path, content, mode):
    """Whether a file has not this content (str or bytes) and mode."""
    content = content.encode() if isinstance(content, str) else content
    try:
        return path.read_bytes() != content or path.stat().st_mode & 0o7777 != mode
    except OSError:
        return True


def write(path, content, mode):
    """Put the content (str or bytes) there in one step; returns whether anything changed."""
    content = content.encode() if isinstance(content, str) else content
    if not differs(path, content, mode):
        return False
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            os.fchmod(stream.fileno(), mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return True
