"""Salt, called in this process. The only module here that imports it."""

import logging
import pathlib
import re
import tempfile

import django_progress
from session import Busy, Refused

from . import syntax


class Engine:
    """
    A masterless minion in this process.

    registration
        A :class:`masterless.registration.Registration`.
    pillar
        Folder of the pillar to work with.
    test
        Whether nothing may be changed; Salt's own caches then lie in a folder that is removed.
    """

    def __init__(self, registration, pillar, test):
        import salt.client
        import salt.config

        quiet_down()
        self.scratch = tempfile.TemporaryDirectory(prefix="django-formula-") if test else None
        options = salt.config.minion_config(
            str(registration.master_file), ignore_config_errors=True, cache_minion_id=not test
        )
        options.update(registration.options())
        options["pillar_roots"] = {"base": [str(pillar)]}
        # As in salt-call: the pillar is rendered once, not once more by the highstate.
        options["__cli"] = "salt-call"
        options["pillar_safe_render_error"] = False
        if self.scratch:
            root = self.scratch.name
            options.update({"cachedir": f"{root}/cache", "pki_dir": f"{root}/pki"})
            options.update({"sock_dir": f"{root}/run", "extension_modules": f"{root}/extmods"})
        minion_id = registration.managed and registration.minion_id()
        if minion_id:
            options["id"] = minion_id
        for key in ("cachedir", "pki_dir"):
            pathlib.Path(options[key]).mkdir(parents=True, exist_ok=True, mode=0o700)
        self.caller = salt.client.Caller(mopts=options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.scratch:
            self.scratch.cleanup()

    def call(self, function, *arguments, **keywords):
        """Call an execution module's function."""
        return self.caller.cmd(function, *arguments, **keywords)

    def check_pillar(self, title):
        """
        The configuration that the pillar gives (dict); raises Refused with all that is wrong.

        title
            Path of the pillar.
        """
        pillar = self.caller.sminion.opts["pillar"]
        if pillar.get("_errors"):
            raise Refused(
                *(
                    f"{title}: {rendering_error(error)}{where(title, error)}"
                    for error in pillar["_errors"]
                )
            )
        told = self.call("django.validate")
        if not told["valid"]:
            raise Refused(*(f"{title}: {error}" for error in told["errors"]))
        return self.call("django.config")

    def highstate(self, progress, test):
        """Apply or test the highstate; its results by step (dict). Raises Refused when none ran."""
        follow(progress)
        try:
            answer = self.call("state.highstate", test=test)
        except Exception as error:
            if type(error).__module__ == "salt.exceptions":
                raise Refused(str(error)) from error
            raise
        if isinstance(answer, dict) and all(
            isinstance(result, dict) and "result" in result for result in answer.values()
        ):
            return answer
        problems = answer if isinstance(answer, list) else [str(answer)]
        if any("is running as PID" in str(line) for line in problems):
            raise Busy("another Salt run is under way on this server: wait for its end")
        raise Refused(*(rendering_error(line) for line in problems))


def where(pillar, error):
    """
    Where the file that an error of Salt's is about is not YAML (str), or nothing where that is not
    known.

    pillar
        Path of the pillar, a file or a folder.
    """
    path = pathlib.Path(pillar)
    if path.is_dir():
        named = re.search(r"SLS '([\w./-]+)'", str(error))
        below = named.group(1).replace(".", "/") if named else "top"
        path = next(
            (path / f for f in (f"{below}.sls", f"{below}/init.sls") if (path / f).is_file()), None
        )
    place = path and syntax.place(path.read_text(encoding="utf-8", errors="replace"))
    return f"; {place}" if place else ""


def rendering_error(error):
    """
    What Salt says about a file that it cannot render, without the lines of that file; of a
    traceback (a pillar in Python) only its last line.
    """
    text, traceback, rest = str(error).split("\n---\n")[0].partition("Traceback (most recent call")
    if traceback:
        said = [line for line in rest.splitlines() if line and not line.startswith((" ", ";"))]
        text += said[-1]
    text = " ".join(text.split())
    return text.replace(" on the salt master", "").replace("render error: ", "")


def quiet_down():
    """Take Salt's own first handlers away: only ours write, and only to the log."""
    for handler in logging.root.handlers[:]:
        if not isinstance(handler, logging.FileHandler):
            logging.root.removeHandler(handler)


def follow(progress):
    """
    Let every state that Salt executes in this process tell ``progress``.

    Salt's log has the names of states only, and counting them beforehand means rendering everything
    twice; so the two methods that all states go through are wrapped.
    """
    import salt.state

    call, call_chunks = salt.state.State.call, salt.state.State.call_chunks

    def counting(self, chunks, *arguments, **keywords):
        progress.begin(len(chunks))
        return call_chunks(self, chunks, *arguments, **keywords)

    def telling(self, low, *arguments, **keywords):
        if low.get("__prereq__"):
            return call(self, low, *arguments, **keywords)
        key = tuple(str(low.get(part)) for part in ("state", "__id__", "name"))
        progress.step(key, str(low.get("__id__") or low.get("name")))
        result = call(self, low, *arguments, **keywords)
        progress.done(result.get("result"), result.get("changes"), seconds(result))
        return result

    salt.state.State.call, salt.state.State.call_chunks = telling, counting
    logging.getLogger(django_progress.LOGGER).addHandler(Listener(progress.tell))


class Listener(logging.Handler):
    """Calls a function with the text of each record."""

    def __init__(self, heard):
        super().__init__(logging.INFO)
        self._heard = heard

    def emit(self, record):
        self._heard(record.getMessage())


def seconds(result):
    """How long a state took (float)."""
    try:
        return float(result.get("duration") or 0) / 1000
    except (TypeError, ValueError):
        return 0.0
