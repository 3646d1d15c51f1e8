"""A test host as its operator and its visitors see it."""

import json
import re
import struct
import subprocess
import tempfile
import time
import zlib
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parent.parent.parent
CHECKOUT = "/root/django-formula"
PILLAR = "/etc/django-formula/pillar/site.sls"
SECRETS = "/etc/django-formula/secrets"
CHANGED = re.compile(r"^ *\d+/\d+  changed +(\S.*?)  \d", re.M)  # as ./bootstrap tells it
TOKEN = re.compile(r'name="?csrfmiddlewaretoken"?[^>]*? value="?(\w+)')


def repository_files():
    """Files of the working tree that git knows or would add."""
    argv = ["git", "-C", str(ROOT), "-c", "safe.directory=*", "ls-files", "-co", "-z"]
    listed = subprocess.run(
        [*argv, "--exclude-standard"], capture_output=True, text=True, check=True
    )
    return sorted(name for name in listed.stdout.split("\0") if (ROOT / name).is_file() and name)


def put_checkout(host, path=CHECKOUT):
    """Copy the repository, uncommitted files too, to a host."""
    with tempfile.TemporaryDirectory() as folder:
        copy(folder)
        Path(folder).chmod(0o755)
        host.put(folder, path)


def copy(folder):
    """Copy the repository's files into a folder of the builder."""
    argv = ["tar", "-C", str(ROOT), "--null", "--files-from=-", "-cf", "-"]
    names = "\0".join(repository_files()).encode()
    packed = subprocess.run(argv, input=names, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-C", str(folder), "-xf", "-"], input=packed, check=True)


def wait_for(condition, seconds=20):
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.1)


def told_of(answers):
    """What runs of the states changed and what failed (dict by server of two lists of IDs)."""
    found = {}
    for name, results in answers.items():
        assert isinstance(results, dict), f"{name}: {results}"
        each = results.values()
        changed = [item["__id__"] for item in each if item["result"] is None or item["changes"]]
        found[name] = changed, [item["__id__"] for item in each if item["result"] is False]
    return found


class Outcome:
    """What a run of the states did, or would do."""

    def __init__(self, returncode, stdout, stderr):
        self.returncode = returncode
        self.output = stdout + stderr
        try:
            results = json.loads(stdout)["local"]
        except (ValueError, KeyError):
            raise AssertionError(f"no results from Salt:\n{self.output}") from None
        if not isinstance(results, dict):
            raise AssertionError(f"nothing was run:\n{self.output}")
        self.results = sorted(results.values(), key=lambda result: result["__run_num__"])

    def _ids(self, fits):
        return [result["__id__"] for result in self.results if fits(result)]

    @property
    def changed(self):
        """IDs of the states that changed something, or would."""
        return self._ids(lambda result: result["result"] is None or result["changes"])

    @property
    def failed(self):
        """IDs of the states that failed, for lack of one before them too."""
        return self._ids(lambda result: result["result"] is False)

    def comment(self, state_id):
        """What a state said."""
        return next(each["comment"] for each in self.results if each["__id__"] == state_id)

    def told(self):
        """IDs with changes and comments of those that failed or changed, for a test's message."""
        lines = []
        for result in self.results:
            if result["result"] is not True or result["changes"]:
                lines.append(f"{result['__id__']}: {result['result']} {result['changes']}")
                lines.append(f"    {result['comment']}")
        return "\n".join(lines)


def documented(page, word):
    """The block of a page of the documentation that has a word in it."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", (ROOT / page).read_text(), re.S | re.M)
    return next(block for block in blocks if word in block)


class Server:
    """A host with the repository on it."""

    def __init__(self, host):
        self.host = host
        self.run = host.run

    def bootstrap(self, *words, pillar=None, check=True, timeout=900):
        """Run ./bootstrap, with a pillar file of this text."""
        if pillar is not None:
            self.host.write("/root/my-pillar.sls", pillar)
            words = ["/root/my-pillar.sls", *words]
        argv = ["sh", "-c", f'cd {CHECKOUT} && exec ./bootstrap "$@"', "bootstrap", *words]
        return self.host.run(argv, check=check, timeout=timeout)

    def bootstrap_as_predicted(self, pillar):
        """What ./bootstrap changes (list of titles), which is what ``--test`` said before."""
        said = self.bootstrap("--test", pillar=pillar).stdout.splitlines()
        predicted = [line for line in said if line.startswith("  ") and ": " in line]
        made = CHANGED.findall(self.bootstrap(pillar=pillar).stdout)
        for title in made:
            assert any(line.startswith(f"  {title}: ") for line in predicted), title
        assert len(made) == len(predicted), predicted
        return made

    def apply(self, *words, check=True, cwd="/", timeout=900):
        """Run ``salt-call state.apply``; with ``check`` it must end well."""
        script = f'cd {cwd} && exec salt-call state.apply "$@" --out json --log-level warning'
        done = self.host.run(["sh", "-c", script, "apply", *words], check=False, timeout=timeout)
        outcome = Outcome(done.returncode, done.stdout, done.stderr)
        if check:
            assert not outcome.failed and outcome.returncode == 0, outcome.told()
        return outcome

    def predict(self):
        """Run ``salt-call state.apply test=True``."""
        return self.apply("test=True")

    def call(self, *words):
        """The answer of an execution function."""
        done = self.host.run(["salt-call", *words, "--out", "json", "--log-level", "error"])
        return json.loads(done.stdout)["local"]

    def assert_settled(self):
        """A run changes nothing, and a test says so."""
        outcome = self.apply()
        assert outcome.changed == [], outcome.told()
        outcome = self.predict()
        assert outcome.changed == [], outcome.told()

    def assert_mended(self, *expected, exactly=True):
        """
        A test predicts changes, a run makes exactly these (or not all of them, where one brings
        back what another looks at), and then nothing is left to do.
        """
        predicted = self.predict()
        for state_id in expected:
            assert state_id in predicted.changed, predicted.told()
        mended = self.apply()
        as_predicted = mended.changed == predicted.changed
        if not exactly:
            as_predicted = set(mended.changed) <= set(predicted.changed)
        assert mended.changed and as_predicted, (
            f"predicted:\n{predicted.told()}\n\nmade:\n{mended.told()}"
        )
        self.assert_settled()

    def pillar(self, text):
        """Write the registered pillar."""
        self.host.write(PILLAR, text, mode=0o600)

    def secret(self, project, name):
        """A generated secret."""
        return json.loads(self.host.read(f"{SECRETS}/{project}.json"))[name]

    def psql(self, sql, database="postgres"):
        """Ask PostgreSQL directly; the answer's rows."""
        argv = ["psql", "--no-psqlrc", "-AtX", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql]
        return self.host.run(argv, user="postgres").stdout.splitlines()

    def mode(self, path):
        """Mode, owner and group of a file: ``750 root:shop``."""
        return self.host.run(["stat", "-c", "%a %U:%G", path]).stdout.strip()

    def live(self, project="guestbook"):
        """Ids of the release and the instance that serve now."""
        root = f"/srv/django/{project}"
        links = self.host.run(["readlink", f"{root}/current", f"{root}/live"]).stdout.split()
        return tuple(link.rsplit("/", 1)[-1] for link in links)


class NamedTLS(requests.adapters.HTTPAdapter):
    """TLS to an address under a site's name, as if the name were in the DNS."""

    def __init__(self, domain):
        self.domain = domain
        super().__init__()

    def init_poolmanager(self, *words, **options):
        """Name the site in every handshake."""
        super().init_poolmanager(*words, server_hostname=self.domain, **options)


class Browser:
    """A visitor from outside, with cookies, who fills in forms."""

    def __init__(self, host, domain=None, scheme="http"):
        self.base = f"{scheme}://{host.address}"
        self.origin = f"{scheme}://{domain or host.address}"
        self.domain = domain
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = False
        self.session.mount("https://", NamedTLS(domain))

    def get(self, path="/", **options):
        """Ask for a page; redirects are followed."""
        return self._send("GET", path, **options)

    def _send(self, method, path, **options):
        headers = {**({"Host": self.domain} if self.domain else {}), **options.pop("headers", {})}
        url = path if path.startswith("http") else self.base + path
        options = {"timeout": 20, **options}
        return self.session.request(method, url, headers=headers, **options)

    def submit(self, path, fields, page=None, **options):
        """Fill in the form of a page and send it, with its CSRF token and as a browser would."""
        form = self.get(page or path)
        assert form.status_code == 200, f"{form.status_code} for {page or path}\n{form.text[:2000]}"
        token = TOKEN.search(form.text)
        assert token, f"no form on {path}:\n{form.text[:2000]}"
        headers = {"Origin": self.origin, "Referer": self.origin + path}
        data = {"csrfmiddlewaretoken": token.group(1), **fields}
        options.setdefault("allow_redirects", False)
        return self._send("POST", path, data=data, headers=headers, **options)

    def login(self, path, username, password):
        """Log in at Django's own form, and return the answer."""
        return self.submit(path, {"username": username, "password": password, "next": "/next/"})


def picture(size=8):
    """A valid PNG of one colour."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\x20\x80\x40" * size) * size)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks
