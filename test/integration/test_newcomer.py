"""
What a newcomer brings along: a project as startproject made it, a Python and keys of their own.
"""

import pytest

from .guestbook import ROOT as GUESTBOOK
from .server import CHECKOUT, SECRETS, documented

pytestmark = pytest.mark.proves(
    "one server",
    "startproject",
    "what a new project lacks is told, then it is served; pip, interpreters, an encrypted pillar",
    on=["Debian 12"],
)

SHOP = "/srv/src/shop"
FIVE_LINES = f"""\
django:
  projects:
    shop:
      source: {{git: {SHOP}, rev: v1.4.2}}
      domains: [shop.example.org]
"""
# What docs/pillar.md says that a project may read
SETTINGS = """
import os
from urllib.parse import urlsplit

DEBUG = False
SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = os.environ["ALLOWED_HOSTS"].split(",")
STATIC_ROOT = os.environ["STATIC_ROOT"]
MEDIA_ROOT = BASE_DIR / "media"
url = urlsplit(os.environ["DATABASE_URL"])
DATABASES["default"] = {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": url.path[1:],
    "USER": url.username,
    "PASSWORD": url.password,
    "HOST": url.hostname,
    "PORT": url.port,
}
"""
EXAMPLE = f"""\
django:
  projects:
    guestbook:
      source: {{path: {CHECKOUT}/examples/guestbook}}
      settings: config.settings
      health: {{path: /healthz/}}
      env: {{API_TOKEN_LENGTH: '1'}}
"""


@pytest.fixture(scope="module")
def shop(site):
    """A project in git, as startproject leaves it; `shop.commit` makes another v1.4.2."""
    git = f"git -C {SHOP} -c user.name=a -c user.email=a@b"
    python = f"{GUESTBOOK}/current/venv/bin/python"

    def commit(*changes):
        for change in changes:
            site.run(["sh", "-ec", f"cd {SHOP}\n{change}"])
        site.run(f"{git} add . && {git} commit -qm more && {git} tag -f v1.4.2")

    site.run(f"mkdir -p {SHOP} && {python} -m django startproject shop {SHOP}")
    site.run(f"git init -q {SHOP} && echo django >{SHOP}/requirements.txt")
    commit()
    site.commit = commit
    return site


def test_project_of_startproject_is_told_what_it_lacks_and_then_served(shop):
    """Five lines of pillar; everything that keeps it from going live is told in one run."""
    done = shop.bootstrap(pillar=FIVE_LINES, check=False)
    assert done.returncode == 1
    for words in (
        "DEBUG is on in shop.settings",
        "SECRET_KEY is the one that startproject made",
        "use SQLite as the database default",
        "DATABASE_URL",
    ):
        assert words in done.stdout, done.stdout
    assert "Traceback" not in done.stdout + done.stderr

    shop.host.write("/root/settings.py", SETTINGS)
    shop.commit("cat /root/settings.py >>shop/settings.py")
    done = shop.bootstrap(check=False)
    assert "Error loading psycopg" in done.stdout, done.stdout

    shop.commit("echo 'psycopg[binary]' >>requirements.txt")
    health = f"{FIVE_LINES}      health: {{path: /admin/login/, timeout: 20s}}\n"
    done = shop.bootstrap(pillar=health)
    assert "answers 200" in done.stdout, done.stdout
    assert "Note: shop: release is checked: MEDIA_ROOT is " in done.stdout, done.stdout
    assert shop.host.get("/admin/login/", host="shop.example.org").status == 200
    shop.assert_settled()


def test_answer_that_is_not_healthy_comes_with_a_hint(shop):
    before = shop.live("shop")
    wrong = f"{FIVE_LINES}      health: {{path: /none/, timeout: 2s}}\n"
    done = shop.bootstrap(pillar=wrong, check=False)
    assert done.returncode == 1
    assert "answered 404" in done.stdout and "health:path" in done.stdout, done.stdout
    assert shop.live("shop") == before


def test_pip_installs_where_the_pillar_says_so(site):
    site.pillar(
        f"{EXAMPLE}      python: {{installer: pip, constraints: [idna<3.8], packages: [idna]}}\n"
    )
    site.apply()
    venv = site.run(["readlink", "-f", f"{GUESTBOOK}/current/venv"]).stdout.strip()
    installed = site.run(f"cat {venv}/lib/python3*/site-packages/[iI]dna-*.dist-info/INSTALLER")
    assert installed.stdout.strip() == "pip"
    assert site.host.exists(f"{venv}/lib/python3.11/site-packages/idna-3.7.dist-info")
    assert site.host.get("/healthz/").status == 200
    site.assert_settled()


def test_project_has_an_interpreter_of_its_own(site):
    """One that is not there is told before anything is built."""
    before = site.live()
    site.pillar(f"{EXAMPLE}      python: {{interpreter: '3.99'}}\n")
    outcome = site.apply(check=False)
    assert "3.99" in outcome.comment(outcome.failed[0]), outcome.told()
    assert site.live() == before
    assert site.host.get("/healthz/").status == 200

    site.run("cp /usr/bin/python3.11 /usr/local/bin/python-of-guestbook")
    site.pillar(f"{EXAMPLE}      python: {{interpreter: /usr/local/bin/python-of-guestbook}}\n")
    site.apply()
    programs = site.run(["pgrep", "-u", "guestbook", "-f", "gunicorn"]).stdout.split()
    assert programs
    for number in programs:
        program = site.run(["readlink", f"/proc/{number}/exe"]).stdout.strip()
        assert program == "/usr/local/bin/python-of-guestbook"
    site.assert_settled()


def test_encrypted_pillar_as_documented(site):
    """The commands of docs/operations.md; the secret is in clear text in no file but its own."""
    site.run("apt-get install -qy --no-install-recommends gnupg", timeout=120)
    commands = documented("docs/operations.md", "quick-generate-key")
    commands = commands.replace("the secret", "canary-of-gpg").replace("apt-get install gnupg", "")
    said = site.run(["bash", "-ec", commands]).stdout
    message = said[said.index("-----BEGIN") :]
    text = "".join(f"          {line}\n" for line in message.splitlines())
    pillar = f"#!yaml|gpg\n{EXAMPLE}      secrets:\n        API_TOKEN: |\n{text}"
    done = site.bootstrap(pillar=pillar)
    assert "canary-of-gpg" not in done.stdout
    code = "import os; print(os.environ['API_TOKEN'])"
    said = site.run(["django-manage", "guestbook", "shell", "-c", code]).stdout
    assert said.splitlines()[-1] == "canary-of-gpg"
    site.assert_settled()
    found = site.run(
        "grep -rlsI canary-of-gpg /etc /var /srv /run /tmp", check=False
    ).stdout.split()
    live = site.live()[1]
    assert found and all(
        path.startswith((f"{GUESTBOOK}/instances/{live}/", SECRETS)) for path in found
    )
