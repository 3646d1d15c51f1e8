"""What a pillar says of a project arrives: locks, files, fixtures, build steps, deploy keys."""

import json

import pytest

from .guestbook import ROOT, SOURCE, develop, restore

pytestmark = pytest.mark.proves(
    "releases",
    "what a pillar says of a project",
    "locks, rendered files, fixtures, build steps, deploy keys",
    on=["Debian 12"],
)

SECRET = "canary0with 'quotes\" and % and \\ and ünïcode"
FILES = {
    "config/rendered.py": "VALUE = ",
    "config/rendered.json": '"VALUE": ',
    "config/rendered.yaml": "VALUE: ",
    "config/rendered.toml": "VALUE = ",
    "config/.env": "VALUE=",
}
PILLAR = """\
django:
  projects:
    guestbook:
      source: {%(source)s}
      settings: config.settings
      health: {path: /healthz/}
      env: {DJANGO_TEST_ENDPOINTS: '1'}
%(more)s
"""
RENDERED = f"""\
      secrets: {{token: {{value: {json.dumps(SECRET)}, export: false}}}}
      writable: [{{path: data, link: data}}]
      fixtures: [config/first.json]
      system_packages: {{build: [gettext]}}
      build:
        - mkdir -p built && date +%s%N >built/stamp
        - {{run: [msgfmt, --version], timeout: 30s}}
      files:
        config/rendered.py: {{content: {{VALUE: '@{{secrets.token}}', NUMBERS: [1, 2]}}}}
        config/rendered.json: {{content: {{VALUE: '@{{secrets.token}}', deep: [1, true]}}}}
        config/rendered.yaml: {{content: {{VALUE: '@{{secrets.token}}', deep: {{list: [1]}}}}}}
        config/rendered.toml: {{content: {{VALUE: '@{{secrets.token}}', deep: {{list: [1]}}}}}}
        config/.env: {{content: {{VALUE: '@{{secrets.token}}'}}}}
        /etc/guestbook/main.ini:
          content: {{main: {{VALUE: '@{{secrets.token}}'}}}}
          mode: '0600'
        /etc/guestbook/note.txt: {{content: "plain\\n", variable: NOTE}}
"""
FIXTURE = [
    {
        "model": "guestbook.entry",
        "pk": 4711,
        "fields": {"name": "Fixture", "message": "Loaded once.", "is_spam": False},
    }
]
READ = f"""\
import configparser, json, os, tomllib, shlex
os.chdir("{ROOT}/current/source")
from config import rendered
ini = configparser.ConfigParser()
ini.read("/etc/guestbook/main.ini") or ini.read_dict({{"main": {{"VALUE": ""}}}})
found = [
    rendered.VALUE,
    json.load(open("config/rendered.json"))["VALUE"],
    tomllib.load(open("config/rendered.toml", "rb"))["VALUE"],
    shlex.split(open("config/.env").read())[0].partition("=")[2],
    open(os.environ["NOTE"]).read(),
]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def server(site):
    develop(site)
    site.host.write(f"{SOURCE}/config/first.json", json.dumps(FIXTURE))
    site.run(f"{site.git} add . && {site.git} commit -qm fixture && {site.git} tag -f v1")
    return site


def configure(server, more="", source=f"path: {SOURCE}"):
    server.pillar(PILLAR % {"source": source, "more": more})


def test_rendered_files_links_fixtures_and_build_steps(server):
    configure(server, RENDERED)
    done = server.run("salt-call state.apply -l debug 2>&1", timeout=300)
    assert "canary0" not in done.stdout
    server.assert_settled()
    said = server.run(["django-manage", "guestbook", "shell", "-c", READ]).stdout
    assert json.loads(said.splitlines()[-1]) == [SECRET] * 4 + ["plain\n"]
    for path in FILES:
        assert server.mode(f"{ROOT}/current/source/{path}") == "640 root:guestbook", path
    assert server.mode("/etc/guestbook/main.ini") == "600 root:guestbook"
    assert server.mode("/etc/guestbook/note.txt") == "640 root:guestbook"
    ini = server.host.read("/etc/guestbook/main.ini")
    assert "canary0" in ini
    server.run("chmod 644 /etc/guestbook/main.ini; rm /etc/guestbook/note.txt")
    server.assert_mended("guestbook: release is configured")
    assert server.mode("/etc/guestbook/main.ini") == "600 root:guestbook"
    link = server.run(["readlink", f"{ROOT}/current/source/data"]).stdout.strip()
    assert link == f"{ROOT}/shared/data"
    assert server.host.exists(f"{ROOT}/current/source/built/stamp")
    query = "SELECT name FROM guestbook_entry WHERE id = 4711"
    assert server.psql(query, "guestbook") == ["Fixture"]


def test_fixture_is_loaded_once(server):
    server.psql("DELETE FROM guestbook_entry WHERE id = 4711", "guestbook")
    assert server.apply().changed == []


def test_build_step_that_fails(server):
    before = server.live()
    configure(
        server, RENDERED.replace("mkdir -p built", "echo no flux >&2; exit 3; mkdir -p built")
    )
    outcome = server.apply(check=False)
    comment = outcome.comment("guestbook: release is built")
    assert "Build step 1 failed" in comment and "no flux" in comment and "build.log" in comment
    assert server.live() == before
    configure(server)
    server.apply()
    server.assert_settled()


def test_requirement_files_in_a_folder_with_constraints(server):
    server.run(f"mkdir {SOURCE}/requirements")
    server.host.write(f"{SOURCE}/requirements/base.txt", "-r ../requirements.txt\n")
    server.host.write(f"{SOURCE}/requirements/main.txt", "-r base.txt\nidna\n")
    python = "      python: {requirements: [requirements/main.txt], constraints: [idna<3.8]}\n"
    configure(server, python)
    server.apply()
    assert version(server, "idna").startswith("3.7")
    venvs = set(server.run(["ls", f"{ROOT}/venvs"]).stdout.split())
    server.host.write(f"{SOURCE}/README.md", "Another text.\n")
    server.apply()
    assert set(server.run(["ls", f"{ROOT}/venvs"]).stdout.split()) == venvs
    server.host.write(f"{SOURCE}/requirements/base.txt", "-r ../requirements.txt\nsix\n")
    server.apply()
    assert set(server.run(["ls", f"{ROOT}/venvs"]).stdout.split()) > venvs
    server.assert_settled()
    restore(server)


def version(server, package):
    code = f"import importlib.metadata as m; print(m.version('{package}'))"
    said = server.run(["django-manage", "guestbook", "shell", "-c", code]).stdout
    return said.splitlines()[-1]


def test_locked_project(server):
    listed = server.host.read(f"{SOURCE}/requirements.txt").splitlines()
    needed = [line.partition(";")[0].strip() for line in listed if line[:1].isalpha()]
    server.host.write(
        f"{SOURCE}/pyproject.toml",
        '[project]\nname = "guestbook"\nversion = "1"\nrequires-python = ">=3.10"\n'
        f"dependencies = {json.dumps([*needed, 'idna<3.8'])}\n",
    )
    uv = "UV_PYTHON_DOWNLOADS=never /opt/django-formula/uv/bin/uv"
    server.run(f"cd {SOURCE} && {uv} lock -q", timeout=120)
    server.run(["rm", f"{SOURCE}/requirements.txt"])
    configure(server)
    server.apply()
    assert version(server, "idna").startswith("3.7")
    assert server.host.get("/healthz/").status == 200
    server.assert_settled()


def test_project_described_without_a_lock(server):
    """The project of the test before without its lock: pyproject.toml alone."""
    server.run(["rm", f"{SOURCE}/uv.lock"])
    text = server.host.read(f"{SOURCE}/pyproject.toml").replace("idna<3.8", "idna<3.7")
    server.host.write(f"{SOURCE}/pyproject.toml", text)
    server.apply()
    assert version(server, "idna").startswith("3.6")
    assert server.host.get("/healthz/").status == 200
    server.assert_settled()
    restore(server)


def test_git_over_ssh_with_a_deploy_key(server):
    """The key is used, and is nowhere to be seen."""
    server.run("apt-get install -qy --no-install-recommends openssh-server", timeout=120)
    server.run("systemctl start ssh && useradd -m -s /bin/sh git", check=False)
    server.run("ssh-keygen -q -t ed25519 -N '' -f /root/deploy")
    server.run("install -D -o git -m 600 /root/deploy.pub /home/git/.ssh/authorized_keys")
    server.run("chown -R git: /home/git && git clone -q --bare /srv/src/guestbook /home/git/g.git")
    server.run("chown -R git: /home/git")
    key = server.host.read("/root/deploy")
    source = f"git: 'git@127.0.0.1:g.git', rev: v1, deploy_key: {json.dumps(key)}"
    configure(server, source=source)
    done = server.run("salt-call state.apply -l debug 2>&1", timeout=300)
    secret = key.splitlines()[3]  # the lines before are the same in every key
    assert secret not in done.stdout
    server.assert_settled()
    assert server.host.get("/healthz/").status == 200
    places = "/var /srv /opt /run /tmp /home"
    found = server.run(f"grep -rlsI '{secret}' {places}", check=False).stdout.split()
    for path in found:
        assert server.mode(path) in ("600 root:root", "400 root:root"), path
