"""What is said at the end of a run."""

import collections
import errno
import os

from . import preflight, progress

FAILURES_SHOWN = 10
LINES_SHOWN = 12
LOGS = {"nginx": "/var/log/nginx/error.log", "apache": "/var/log/apache2/error.log"}
Summary = collections.namedtuple("Summary", "total changed would failed skipped warned")
# What an operator can do, by what failed; the first that fits.
ADVICE = (
    ("pkg.", "see that apt-get works on this server (network, disk, sources in /etc/apt)"),
    ("django.valid", "correct the pillar"),
    ("django.source_fetched", "check the source in the pillar, and that this server reaches it"),
    ("django.packages_installed", "check the requirements, and that the package index is reached"),
    ("django.tool_installed", "see that this server reaches the Python package index"),
    ("service.", "look at the service's own log"),
    ("", "put right what it says"),
)


def ordered(results):
    """The results of a highstate in the order in which its steps ran: ``[(tag, result)]``."""
    return sorted(results.items(), key=lambda item: item[1].get("__run_num__", 0))


def name(tag, result):
    """The ID of a step."""
    parts = tag.split("_|-")
    return result.get("__id__") or (parts[1] if len(parts) > 1 else tag)


def function(tag):
    """The state function of a step, such as ``pkg.installed``."""
    parts = tag.split("_|-")
    return f"{parts[0]}.{parts[-1]}"


def was_skipped(result):
    """Whether a step failed only because one before it did."""
    comment = str(result.get("comment", ""))
    return result["result"] is False and (
        result.get("__state_ran__") is False or comment.startswith("One or more requisite failed")
    )


def summary(results):
    """
    Names of steps by their outcome; ``failed`` holds (name, function, comment) of the roots, and
    ``warned`` (name, sentence).
    """
    groups = Summary(len(results), [], [], [], [], [])
    for tag, result in ordered(results):
        title = name(tag, result)
        if function(tag) != "django.valid":  # the pillar's are told before the run
            groups.warned.extend((title, warning) for warning in result.get("warnings", ()))
        word = progress.outcome(result["result"], result.get("changes"))
        if was_skipped(result):
            groups.skipped.append(title)
        elif word == progress.FAILED:
            groups.failed.append((title, function(tag), reason(result)))
        elif word == progress.CHANGED:
            groups.changed.append(title)
        elif word == progress.WOULD:
            groups.would.append((title, plain(result.get("comment", ""))))
    return groups


def reason(result):
    """Why a step failed: its comment, and what a command said on its way down."""
    changes = result.get("changes")
    said = [changes.get(key) for key in ("stdout", "stderr")] if isinstance(changes, dict) else []
    return "\n".join([plain(result.get("comment", "")), *(str(text) for text in said if text)])


def plain(comment):
    """A comment without a Python traceback: what is said before it, or else its last line."""
    text = str(comment).strip()
    said, traceback, _ = text.partition("Traceback (most recent call last)")
    if not traceback:
        return text
    said = said.strip()
    if not said or said.startswith("An exception occurred"):  # Salt's own words
        return f"unexpected error: {text.splitlines()[-1].strip()}"
    return said.split("\n\n")[0]  # then come those of an error that led to this one


def notes(groups):
    """Lines about what is well but not to be overlooked."""
    return [f"Note: {title}: {warning}" for title, warning in groups.warned]


def advice(function, comment=""):
    """What to do about a step that failed."""
    if os.strerror(errno.ENOSPC) in comment:
        return "make room on this server's disk"
    return next(text for beginning, text in ADVICE if function.startswith(beginning))


def failures(groups, log):
    """Lines about what failed, first causes first."""
    lines = ["", f"Failed: {_steps(len(groups.failed))}, {_rest(groups)}"]
    for title, kind, comment in groups.failed[:FAILURES_SHOWN]:
        told = [line for line in comment.splitlines() if line.strip()] or ["(it says nothing)"]
        if len(told) > LINES_SHOWN:
            # What failed comes first, and what to know besides comes last.
            told = [told[0], "...", *told[1 - LINES_SHOWN :]]
        lines += ["", f"  {title} ({kind})", *(f"      {line}" for line in told)]
        lines.append(f"    What to do: {advice(kind, comment)}.")
    if len(groups.failed) > FAILURES_SHOWN:
        lines += ["", f"  and {len(groups.failed) - FAILURES_SHOWN} more, all of them in the log"]
    lines += ["", *notes(groups)] if groups.warned else []
    return [*lines, "", f"Then run it again: it goes on from here. All details: {log}"]


def _rest(groups):
    done = groups.total - len(groups.failed) - len(groups.skipped)
    return f"{len(groups.skipped)} not run because of that, {done} well."


def prediction(groups):
    """Lines about what a run would change."""
    would = groups.would + [(title, "") for title in groups.changed]
    if not would:
        return [f"Nothing would change: {_steps(groups.total)} looked at.", *notes(groups)]
    lines = [f"{len(would)} of {_steps(groups.total)} would change something:"]
    titles = collections.Counter(title for title, _ in would)
    comments = {}
    for title, comment in would:
        comments.setdefault(title, comment)
    for title, comment in comments.items():
        first = comment.splitlines()[0] if comment else ""
        if first.endswith(":"):  # a list of files follows, of which one says enough
            first = comment.splitlines()[1] if len(comment.splitlines()) > 1 else first
        times = f" ({titles[title]})" if titles[title] > 1 else ""
        lines.append(progress.shorten(f"  {title}{times}" + (f": {first}" if first else ""), 160))
    return lines + notes(groups)


def _steps(count):
    return f"{count} step" if count == 1 else f"{count} steps"


def served(config):
    """The projects of a host that browsers reach: ``{name: project}``."""
    names = front(config).get("sites", [])
    return {name: config["projects"][name] for name in names if name in config["projects"]}


def front(config):
    """What is said of the front door of a host (dict), Nginx or Apache."""
    return config["nginx"] or config["apache"]


def _otherwise(name, config):
    """What a host that is no front door does for a project, in words."""
    project = config["projects"][name]
    if project["static_only"]:
        return f"{project['static']['url']}   static files alone"
    return _passed_on(name, config) or "(not served from this host)"


def _passed_on(name, config):
    """What a balancer does for a project, in words; empty on other hosts."""
    for project in config["balancer"].get("projects", ()):
        if project["name"] == name:
            hosts = ", ".join(member["name"] for member in project["members"])
            return f"{config['projects'][name]['url']}/   passed on to {hosts}"
    return ""


def _statistics(config):
    """A line about the page of a balancer, where it has one."""
    statistics = config["haproxy"].get("statistics")
    if not statistics:
        return []
    given, store = statistics["password"], f"{config['paths']['secrets']}/haproxy.statistics.json"
    words = "the pillar's" if given else f"password in {store}"
    page = f"http://127.0.0.1:{statistics['port']}/"
    return [("statistics", f"{page}   {statistics['user']}, password: {words}")]


def stack(config):
    """What runs on the host, in words."""
    parts = []
    if config["postgresql"]:
        parts.append(f"PostgreSQL {config['postgresql']['version']}")
    if config["redis"]:
        parts.append("Redis")
    if config["memcached"]:
        parts.append("Memcached")
    if config["supervisord"]:
        parts.append("Supervisord")
    if config["varnish"]:
        parts.append("Varnish")
    if config["haproxy"]:
        parts.append("HAProxy")
    parts += [name for key, name in preflight.FRONTS.items() if config[key]]
    return ", ".join(parts)


def conclusion(groups, config, answers, seconds, command, pillar):
    """
    Lines about what there is now.

    groups
        From :func:`summary`.
    config
        The public configuration of this host.
    answers
        How sites answer: ``{project: (is well, words)}``.
    seconds
        How long it all took.
    command
        How an operator calls Salt.
    pillar
        Path of the pillar of this server.
    """
    took = progress.duration(seconds)
    if groups.changed:
        count = f"{len(groups.changed)} of {_steps(groups.total)} changed something"
        lines = [f"Done in {took}: {count}."]
    else:
        lines = [f"No changes in {took}: {_steps(groups.total)} looked at, all as the pillar says."]
    rows = []
    runs = [name for name in config["released"] if not config["projects"][name]["static_only"]]
    for title, project in config["projects"].items():
        paths, sites = project["paths"], served(config)
        if title in sites:
            rows.append(
                (title, f"{project['url']}/   {answers.get(title, (True, ''))[1]}".rstrip())
            )
        else:
            rows.append((title, _otherwise(title, config)))
        secrets = f"{config['paths']['secrets']}/{title}.json"
        if title in runs and project.get("superuser"):
            user = project["superuser"]["username"]
            given = "value" in project["secret_specs"].get("superuser.password", {})
            word = "the pillar's" if given else f"superuser.password in {secrets}"
            rows.append(("  admin", f"{user}, password: {word}"))
        if title in config["released"]:
            rows.append(("  releases", f"{paths['releases']} ({paths['current']} is live)"))
        if project["secret_specs"]:
            rows.append(("  secrets", f"{secrets} (only root)"))
        if title in config["released"]:
            rows.append(("  logs", paths["log"]))
    rows += _statistics(config)
    rows.append(("running", stack(config)))
    rows.append(("pillar", pillar))
    width = max(len(head) for head, _ in rows) + 2
    lines += ["", *(f"  {head:<{width}}{text}" for head, text in rows if text)]
    after = [
        (f"{command} state.apply", "apply the pillar again, after a change to it"),
        (f"{command} django.status", "what is live, and how it is"),
    ]
    lines += ["", *notes(groups)] if groups.warned else []
    unwell = [title for title, (well, _) in answers.items() if not well]
    if unwell:
        log = LOGS["nginx" if config["nginx"] else "apache"]
        lines += ["", f"NOT WELL: {', '.join(unwell)}. Its logs and {log} say why."]
    if runs:
        after.append((f"django-manage {runs[0]} COMMAND", "run a management command"))
    width = max(len(words) for words, _ in after) + 2
    return [*lines, "", "Next:", *(f"  {words:<{width}}{text}" for words, text in after)]
