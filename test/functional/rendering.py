"""Render the state tree as a host with given grains and pillar would, by real Salt."""

import copy

import salt.state

SYSTEMS = {
    "Debian-12": {"os": "Debian", "osrelease": "12.11", "osmajorrelease": 12},
    "Debian-13": {"os": "Debian", "osrelease": "13.1", "osmajorrelease": 13},
    "Ubuntu-22.04": {"os": "Ubuntu", "osrelease": "22.04", "osmajorrelease": 22},
    "Ubuntu-24.04": {"os": "Ubuntu", "osrelease": "24.04", "osmajorrelease": 24},
}


def grains(system="Debian-12", init="systemd", cores=2, memory=4096, **more):
    """Grains of a host of a claimed system."""
    return {
        "id": "host1",
        "host": "host1",
        "fqdn": "host1.example.org",
        "kernel": "Linux",
        "os_family": "Debian",
        "init": init,
        "num_cpus": cores,
        "mem_total": memory,
        "ipv4": ["127.0.0.1", "10.0.0.11"],
        "ipv6": ["::1"],
        **SYSTEMS[system],
        **more,
    }


class Rendering:
    """
    The state tree, rendered: ``low`` (list of dict), ``errors``, ``modules`` and ``states``, for a
    host without a master, or for one that has one.
    """

    def __init__(self, opts, grains, pillar, sls="django", has_master=False):
        opts = copy.deepcopy(opts)
        opts["grains"] = grains
        # Not closed: its modules and their file client serve the templates later.
        highstate = salt.state.HighState(opts, pillar_override=pillar)
        state = highstate.state
        self.modules, self._opts = state.functions, state.opts
        self.states = state.states
        if has_master:
            # Whose files are here all the same: what reads them has done so by then.
            self.modules["django.config"]()
            state.opts["file_client"] = "remote"
        self.high, self.errors = highstate.render_highstate({"base": [sls]})
        self.low = []
        if not self.errors:
            high, errors = state.reconcile_extend(copy.deepcopy(self.high))
            self.errors += errors + state.verify_high(high)
            high, errors = state.requisite_in(high)
            self.errors += errors
        if not self.errors:
            self.low, errors = state.compile_high_data(high)
            self.errors += errors

    def ids(self):
        """IDs of the states, each once, in their order."""
        return list(dict.fromkeys(chunk["__id__"] for chunk in self.low))

    def files(self):
        """Contents of the rendered files by path (dict of str)."""
        return {
            chunk["name"]: self.content(chunk)
            for chunk in self.low
            if (chunk["state"], chunk["fun"]) == ("file", "managed") and "source" in chunk
        }

    def content(self, chunk):
        """What a ``file.managed`` would write."""
        if "template" not in chunk:
            path = self.modules["cp.cache_file"](chunk["source"])
        else:
            target = f"{self._opts['cachedir']}/rendered{chunk['name']}"
            path = self.modules["cp.get_template"](
                chunk["source"],
                target,
                makedirs=True,
                context=chunk.get("context", {}),
                grains=self._opts["grains"],
            )
        assert path, f"{chunk['name']}: {chunk['source']} does not render"
        with open(path, encoding="utf-8") as stream:
            return stream.read()
