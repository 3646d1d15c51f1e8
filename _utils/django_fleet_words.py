"""What operators read of a fleet: tables, and what to type when a deploy has halted."""

GAP = "  "
NOTHING = "-"


def table(headings, rows):
    """
    Lines (list of str) of a table: each column as wide as its widest entry.

    headings
        Of the columns (sequence of str).
    rows
        Sequences of as many values; None and an empty text are a dash.
    """
    texts = [[_text(value) for value in row] for row in rows]
    widths = [max(len(row[at]) for row in [headings, *texts]) for at in range(len(headings))]
    lines = []
    for row in [headings, *texts]:
        lines.append(GAP.join(text.ljust(width) for text, width in zip(row, widths)).rstrip())
    return lines


def _text(value):
    if value in (None, ""):
        return NOTHING
    return value if isinstance(value, str) else str(value)


def listed(names, most=8):
    """Names in a sentence, not more than ``most`` of them."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def summary(data):
    """
    The table at the end of a deploy (list of lines).

    data
        By server (dict) ``before``, ``now``, ``seconds`` and ``result``.
    """
    keys = ("before", "now", "seconds", "result")
    rows = [(name, *(item[key] for key in keys)) for name, item in data.items()]
    return table(("server", *keys), rows)


def halted(project, step, failures, now, again, before=None, more=""):
    """
    What to say (list of lines) of a deploy or rollback that stopped.

    step
        What was being done (str).
    failures
        What each server said that failed (dict of str).
    now
        Releases that serve, by server (dict).
    again
        The command (str) that goes on where this one stopped.
    before : None
        Releases that served before (dict), where some servers may have to go back to them.
    more
        What an operator has said of how servers are reached, to be said again (str).
    """
    lines = [f"{project}: halted at: {step}"]
    for name, reason in failures.items():
        lines += indented(f"{name}: {reason}")
    lines.append("What serves:")
    for release in sorted({each or "" for each in now.values()}):
        names = sorted(name for name in now if (now[name] or "") == release)
        lines.append(f"  {release or 'nothing'} on {listed(names)}")
    lines.append("Type next:")
    commands = {again: "once the cause is mended: it goes on"}
    if before is not None and any(before[name] and before[name] != now[name] for name in now):
        old = set(before.values())
        named = f" release={old.pop()}" if len(old) == 1 else ""
        commands[f"salt-run django.rollback {project}{named}{more}"] = (
            "to be back at what was before"
        )
    commands[f"salt-run django.status {project}{more}"] = "what runs"
    width = max(map(len, commands))
    return lines + [f"  {command:<{width}}  {what}" for command, what in commands.items()]


def indented(text):
    """A text's lines (list), the first a little to the right and the others more."""
    first, *rest = text.splitlines() or [""]
    return [f"  {first}", *(f"    {line}" for line in rest)]


def history(entries):
    """
    Table (list of lines) of what went live where, the newest last.

    entries
        ``[{host, time, release, revision}]`` of all servers.
    """
    rows = [
        (entry["time"], entry["server"], entry["release"], _short(entry["revision"]))
        for entry in sorted(entries, key=lambda entry: (entry["time"], entry["server"]))
    ]
    return table(("time", "server", "release", "revision"), rows)


def _short(revision):
    """A revision as people write it: of a commit or a digest its first characters."""
    text = str(revision or "")
    is_digest = len(text) >= 40 and not set(text) - set("0123456789abcdef")
    return text[:12] if is_digest else text


def _balanced(pool):
    """How many of a balancer's servers (dict) get requests (str)."""
    serve = [each for each in pool.values() if each["state"] == "UP" and not each["drained"]]
    return f"{len(serve)} of {len(pool)} get requests"


def status(answers):
    """
    Table (list of lines) of what runs, and what is wrong below it.

    answers
        By server (dict), by project (dict) what ``django.status`` says, or why there is no answer
        (str).
    """
    rows, wrong = [], []
    for name, said in sorted(answers.items()):
        if isinstance(said, str):
            rows.append((name, None, None, None, None, "no answer"))
            wrong.append(f"{name}: {said}")
            continue
        for project, state in sorted(said.items()):
            if "pool" in state:
                rows.append((name, project, None, None, None, _balanced(state["pool"])))
            if "processes" not in state:  # a balancer's pool, or what is no project's
                continue
            processes = state["processes"].values()
            up = sum(1 for process in processes if process.upper() in ("RUNNING", "ACTIVE"))
            health = "healthy" if state["healthy"] else "NOT healthy"
            rows.append(
                (
                    name,
                    project,
                    state["release"],
                    _short(state.get("revision")),
                    f"{up}/{len(processes)}",
                    "held back" if state["healthy"] and state.get("held") else health,
                )
            )
            for key in ("problem", "held"):
                if state.get(key):
                    wrong.append(f"{name}: {project}: {state[key]}")
    lines = table(("server", "project", "release", "revision", "processes", "health"), rows)
    return lines + [line for text in wrong for line in indented(text)]
