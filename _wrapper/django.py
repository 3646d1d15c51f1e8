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
import salt.fileclient
import salt.state

ROOT = pathlib.Path(__file__).resolve().parent.parent
UTILS = str(ROOT / "_utils")
if UTILS not in sys.path:  # to find it Salt sees for other modules than these
    sys.path.append(UTILS)

import django_access  # noqa: E402 - it needs the path
from django_fleet_orders import CROSSED  # noqa: E402

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


def up_to(state_id, sls="django"):
    """
    Apply the state of this ID and all that it requires, as ``state.sls_id`` does on a server with
    Salt. (That of ``salt-ssh`` applies it without what it requires.)

    Not while states are being applied there already: that is said, and nothing is done.

    CLI Example:

    .. code-block:: bash

        salt-ssh web1 django.up_to 'shop: static files are published'
    """
    at_work = __salt__["state.running"]()
    if at_work:
        return _failed(at_work)
    high = __salt__["state.show_sls"](sls)
    if not isinstance(high, dict):  # mistakes; Salt has noted that it failed
        return high
    if state_id not in high:
        return _failed(f"There is no state {state_id!r} in the SLS {sls}")
    needed = _needed(high, state_id)
    # Rendering has closed it.
    __context__["fileclient"] = salt.fileclient.FSClient(__context__["fileclient"].opts)
    told = __salt__["state.high"]({name: high[name] for name in high if name in needed})
    return told if told["local"]["return"] else _failed(CROSSED)


def _failed(answer):
    """The answer of a function that failed: Salt does not look at anything else."""
    __context__["retcode"] = 1
    return answer


def _needed(high, state_id):
    """IDs (set) of a state and of all that it requires, and that those do, of an SLS's states."""
    compiler = salt.state.Compiler(__opts__, {})
    chunks, _ = compiler.compile_high_data(high)
    needed, found = set(), {state_id}
    while found:
        needed |= found
        found = {
            required["__id__"]
            for chunk in chunks
            if chunk["__id__"] in needed
            for _, required in compiler.dependency_dag.get_dependencies(chunk)
        } - needed
    return needed


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
        if not told["return"]:
            return _failed(CROSSED)
        [result] = told["return"].values()
        return result["changes"].get("answer", result["comment"])

    return ask


for _path in sorted((ROOT / "_modules").glob("django*.py")):
    for _name in FUNCTION.findall(_path.read_text(encoding="utf-8")):
        globals().setdefault(_name, _on_server(_name))
