"""The example tree of pillars for staging and production, on the master of test hosts."""

import json
import re

from .server import ROOT, documented

OPERATIONS = "docs/operations.md"
TREE = ROOT / "examples/environments"
# The secrets of the tree by the files that they are in, as they call themselves.
KEPT = {
    "application": {"key", "token"},
    "superuser": {"password-0"},
    "database": {"password-1"},
    "cache": {"password-2", "password-3"},
}
SECRET = re.compile(r"(staging|production)-change-this-([a-z]+(?:-\d)?)[a-z-]*")


def held(pillar):
    """The secrets of the tree in a pillar (set of their environment and name)."""
    return set(SECRET.findall(str(pillar)))


def write(master, folder, own, words):
    """
    The tree in a folder of the master, its secrets encrypted by the documented commands.

    own
        What a fleet has to say in the place of files (dict of texts by path).
    words
        And in the place of words (dict).
    """
    generate, encrypt = documented(OPERATIONS, "quick-generate-key").split("printf", 1)
    master.run(["bash", "-ec", generate.replace("install gnupg", "install -qy gnupg")])

    def message(found):
        script = "printf" + encrypt.replace("the secret", found[0])
        return json.dumps(master.run(["bash", "-ec", script]).stdout)

    for path in TREE.rglob("*.sls"):
        name = str(path.relative_to(TREE))
        text = own.get(name) or path.read_text()
        for word, ours in words.items():
            text = text.replace(word, ours)
        if path.parent.name == "secrets":
            text = "#!yaml|gpg\n" + SECRET.sub(message, text)
        master.host.write(f"{folder}/{name}", text, mode=0o600)


def serve(master):
    """Let the master serve the tree as documented."""
    block = documented(OPERATIONS, "staging: [/srv/pillar/staging")
    path = re.search(r"# (/etc/salt/master.d/\S+\.conf)", block)[1]
    master.host.write(path, block)
    master.run("systemctl restart salt-master")
