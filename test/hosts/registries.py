"""What a host must know to reach the package registries that the builder reaches.

A user's server needs none of this. The builder may sit behind an own certificate authority, proxy
or mirror; whatever its apt, pip, uv and npm are told about that, those of a host are told too.
Indexes in local directories of the builder are left out.
"""

import configparser
import io
import os
import re
from pathlib import Path

from .builder import HostError, command

BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", re.DOTALL)
PIP_FILES = ("/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")
PIP_KEYS = ("index-url", "extra-index-url", "trusted-host", "cert", "timeout", "retries", "proxy")
NPM_KEYS = ("registry", "cafile", "proxy", "https-proxy", "noproxy")
APT_KEYS = re.compile(r'^Acquire::(?:https?::|ftp::|Check-|Retries)[^\s]* "[^"]*";$', re.MULTILINE)


def apt_options() -> str:
    """The builder's apt settings about reaching its sources, as an apt.conf."""
    return "".join(f"{line}\n" for line in APT_KEYS.findall(command("apt-config", "dump")))


def apt_mirrors() -> tuple[str, str]:
    """The URIs that the builder takes Debian and its security updates from."""
    files = [*Path("/etc/apt/sources.list.d").glob("*.sources"), *Path("/etc/apt").glob("*.list")]
    text = "\n".join(
        line for path in files for line in path.read_text().splitlines() if line[:1] != "#"
    )
    uris = [uri.rstrip("/") for uri in re.findall(r"https?://[^\s\]]+", text)]
    main = [uri for uri in uris if uri.endswith("/debian")]
    security = [uri for uri in uris if uri.endswith("/debian-security")]
    if not (main and security):
        raise HostError("this machine's apt has no source of Debian and its security updates")
    return main[0], security[0]


def apt_sources(suite: str) -> str:
    """The text of a debian.sources for a suite, such as `trixie`."""
    main, security = apt_mirrors()
    pools = ((main, f"{suite} {suite}-updates"), (security, f"{suite}-security"))
    return "\n".join(
        f"Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        for uri, suites in pools
    )


def reachable(value: str) -> str:
    """Those of an option's words that mean something outside the builder."""
    words = [
        word for word in value.split() if not re.match(r"file:|https?://(localhost|127\.)", word)
    ]
    return " ".join(words)


def pip_options() -> dict[str, str]:
    """The builder's pip settings, of files and environment, that also hold for a host."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(Path(path).expanduser() for path in PIP_FILES)
    options = dict(parser["global"]) if parser.has_section("global") else {}
    for key in PIP_KEYS:
        if value := os.environ.get("PIP_" + key.upper().replace("-", "_")):
            options[key] = value
    usable = {key: reachable(options[key]) for key in PIP_KEYS if key in options}
    return {key: value for key, value in usable.items() if value}


def pip_conf() -> str:
    """The text of a host's /etc/pip.conf."""
    parser = configparser.ConfigParser(interpolation=None)
    parser["global"] = pip_options()
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()


def uv_toml() -> str:
    """The text of a host's /etc/uv/uv.toml: uv does not read pip's configuration."""
    options = pip_options()
    text = "system-certs = true\n"
    for name in options.get("extra-index-url", "").split():
        text += f'\n[[index]]\nurl = "{name}"\n'
    if "index-url" in options:
        text += f'\n[[index]]\nurl = "{options["index-url"]}"\ndefault = true\n'
    return text


def npmrc() -> str:
    """The text of a host's npmrc: the builder's settings about its registry."""
    path = Path.home() / ".npmrc"
    lines = path.read_text().splitlines() if path.exists() else []
    kept = [line for line in lines if line.partition("=")[0].strip() in NPM_KEYS]
    return "".join(f"{line}\n" for line in kept)


def own_certificates(bundle: str) -> dict[str, str]:
    """Certificates that the builder trusts and this bundle lacks: {file name: PEM text}."""
    known = set(CERTIFICATE.findall(bundle))
    lacking = [pem for pem in CERTIFICATE.findall(BUNDLE.read_text()) if pem not in known]
    return {f"builder-{number}.crt": pem for number, pem in enumerate(lacking, 1)}


def files(suite: str) -> dict[str, str]:
    """The configuration files of a host, by path: those without content are left out."""
    texts = {
        "/etc/apt/apt.conf.d/99builder": apt_options(),
        "/etc/apt/sources.list.d/debian.sources": apt_sources(suite),
        "/etc/pip.conf": pip_conf(),
        "/etc/uv/uv.toml": uv_toml(),
        "/etc/npmrc": npmrc(),
    }
    return {path: text for path, text in texts.items() if text}


def install(root: Path, suite: str) -> None:
    """Put certificates and configuration into a new file system."""
    trusted = root / "usr/local/share/ca-certificates"
    bundle = root / BUNDLE.relative_to("/")
    for name, pem in own_certificates(bundle.read_text()).items():
        (trusted / name).write_text(pem)
    command("chroot", str(root), "/usr/sbin/update-ca-certificates")
    for path, text in files(suite).items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


def fingerprint(suite: str) -> str:
    """All that `install` puts into a file system, as one text that changes when any of it does."""
    return BUNDLE.read_text() + repr(files(suite))
