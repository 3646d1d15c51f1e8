"""
The functions of ``django`` for ``salt-ssh``, whose servers have no Salt and no pillar of their own.

What a server's pillar means is worked out here, where its states are rendered. All other functions
are carried out on the server, by a state that goes there as those of ``state.apply`` do, with the
pillar and the formula's files.
"""

import pathlib
import re
import sys

import salt.client.ssh.wrapper

ROOT = pathlib.Path(__file__).resolve().parent.parent
UTILS = str(ROOT / "_utils")
if UTILS not in sys.path:  # to find it Salt sees for other modules than these
    sys.path.append(UTILS)

import django_access  # noqa: E402 - it needs the path

__virtualname__ = "django"

FUNCTION = re.compile(r"^def ([a-z]\w*)\(", re.M)


def __virtual__():
    return __virtualname__


def config():
    """
    The configuration of a server (dict), its secrets masked; see ``django.config`` there.

    CLI Example:

    .. code-block:: bash

        salt-ssh web1 django.config
    """
    here = {"cp.cache_file": __context__["fileclient"].cache_file, "config.get": __opts__.get}
    return django_access.Access(here, __pillar__, __grains__, __context__).public()


def _on_server(name):
    """A function that has the server carry out the one of this name, and returns its answer."""

    def ask(*arguments, **keywords):
        words = {key: value for key, value in keywords.items() if not key.startswith("__")}
        order = ["answered", {"arguments": list(arguments)}, {"keywords": words}]
        state = {name: {"django": order, "__sls__": "django", "__env__": "base"}}
        try:
            told = __salt__["state.high"](state)["local"]
        except salt.client.ssh.wrapper.SSHCommandExecutionError as error:
            if not isinstance(error.result, dict) or "return" not in error.result:
                raise
            told = error.result
            __context__["retcode"] = 1
        [result] = told["return"].values()
        return result["changes"].get("answer", result["comment"])

    return ask


for _path in sorted((ROOT / "_modules").glob("django*.py")):
    for _name in FUNCTION.findall(_path.read_text(encoding="utf-8")):
        globals().setdefault(_name, _on_server(_name))
