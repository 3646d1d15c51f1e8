"""The step that asks Django whether the new release is fit to go live."""

import os

import django_database
from django_deployment import Outcome, StepError, unless_held

CHECK_TIMEOUT = 300
LEVELS = {"error": 40, "warning": 30}
# Caches that lose what they keep, by a part of their backend's path.
LOSING = {".memcached.": "Memcached", ".locmem.": "the memory of each process"}
VENDORS = {"postgresql": "PostgreSQL", "mysql": "MySQL", "sqlite": "SQLite"}


@unless_held
def check(deployment):
    """
    Django's checks pass in the wanted instance, and its settings are fit to go live. Where static
    files alone are served, the settings are looked at.
    """
    missing = _missing_certificates(deployment)
    if missing:
        raise StepError("\n".join(missing))
    instance = deployment.instance
    if instance is None:
        return Outcome({"checked": "the new release"}, "The new release would be checked.")
    facts = deployment.layout.instance_record(instance).get("facts")
    if facts:
        told = _doubts(deployment, facts)
        return Outcome({}, f"Instance {instance} has passed its checks.", told)
    changes = {"checked": instance}
    if deployment.test:
        return Outcome(changes, f"Instance {instance} would be checked.")
    rules = deployment.project["release"]
    tasks = [{"do": "inspect", "after_switch": deployment.project["migrate"]["after_switch"]}]
    tasks[0]["uploads"] = bool(deployment.project["media"]["s3"])
    if rules["check"] != "none" and not deployment.static_only:
        tasks.append({"do": "check", "deploy": rules["deploy_check"]})
    if deployment.project["migrate"]["enabled"] and not deployment.static_only:
        tasks.append(django_database.question(deployment))
    failure = None
    try:
        answer = deployment.django(tasks, CHECK_TIMEOUT, "The release does not start")
    except StepError as error:
        answer, failure = error.answers, error
    # Settings that are unfit are often why the database cannot be asked, and say more.
    problems = _unfit(deployment, answer) if "inspect" in answer else []
    if problems:
        raise StepError(deployment.redact("\n".join(problems)), blames_release=True)
    if failure:
        raise failure
    deployment.database = answer.get("applied")
    deployment.layout.save_instance_record(instance, facts=answer["inspect"])
    told = _doubts(deployment, answer["inspect"])
    return Outcome(changes, f"Instance {instance} passes its checks.", told)


def _missing_certificates(deployment):
    """What the web server would miss once the release is live (list of str)."""
    project, roles = deployment.project, deployment.host["roles"]
    rendered = {entry["path"] for entry in project["files"]}
    own, static = project["web"]["tls"], project["static_site"].get("tls")
    found = {
        tls[key]: f"{part}:tls:{key}: there is no file {tls[key]} on this host"
        for part, role, tls in (
            ("web" if static == own else "static", "static", static),
            ("web", "web", own),
        )
        if tls and role in roles
        for key in ("certificate", "key")
        if tls[key] not in rendered and not os.path.isfile(tls[key])
    }
    return [f"django:projects:{deployment.name}:{text}" for text in found.values()]


def _doubts(deployment, facts):
    """What is allowed but likely a mistake (tuple of str)."""
    if deployment.static_only:
        return ()
    doubts = []
    store = facts.get("sessions") or ""
    lost = next((text for kind, text in LOSING.items() if kind in store), None)
    if lost:
        advice = "django.contrib.sessions.backends.cached_db keeps them in the database, too"
        doubts.append(
            f"Sessions are kept in {lost} only, which may drop them at any time: {advice}."
        )
    if facts.get("uploads_refused"):
        doubts.append(
            f"MEDIA_ROOT is {facts['uploads_refused']}, where the project may not write: no file"
            " can be uploaded. The settings may take it from the variable MEDIA_ROOT, or the pillar"
            " may put a link there (writable: [{path: media, link: media}])."
        )
    return tuple(doubts)


def _unfit(deployment, answer):
    """Reasons (list of str) why these settings must not go live."""
    facts, rules = answer["inspect"], deployment.project["release"]
    problems = []
    expected = deployment.project["settings"]
    if expected and facts["settings"] != expected:
        problems.append(f"The settings are {facts['settings']}, but the pillar names {expected}.")
    if facts["debug"] and not rules["allow_debug"]:
        problems.append(f"DEBUG is on in {facts['settings']}.")
    if facts["secret_key"]:
        problems.append(f"SECRET_KEY {facts['secret_key']}.")
    if facts.get("uploads_on_disk"):
        problems.append(
            "The settings keep uploads on this host, and not in the bucket that the pillar has for"
            " them: STORAGES may take its default from MEDIA_STORAGE."
        )
    if deployment.project["static_site"] and not facts["staticfiles"]:
        problems.append(
            "The settings do not use django.contrib.staticfiles, so static:domains have no files."
        )
    problems += _strange_databases(deployment.project["databases"], facts["databases"])
    level = LEVELS.get(rules["check"], 1000)
    for message in answer.get("check", []):
        if message["level"] >= level:
            hint = f" ({message['hint']})" if message["hint"] else ""
            problems.append(f"{message['id'] or 'check'}: {message['message']}{hint}")
    return problems


def _strange_databases(wanted, found):
    """Databases (list of str) that are of another kind in the settings than in the pillar."""
    problems = []
    for alias, database in wanted.items():
        used = found.get(alias)
        engine = database["engine"]
        if used not in VENDORS or engine not in VENDORS or used == engine:
            continue
        key, variable = f"databases:{alias}", f"@{{databases.{alias}.url}}"
        if alias == "default":
            key, variable = "database", "DATABASE_URL"
        problems.append(
            f"The settings use {VENDORS[used]} as the database {alias}, and not what the pillar has"
            f" for it, {VENDORS[engine]}: they may read {variable}, or the pillar may"
            f" say {key}:engine (none when the settings say it all)."
        )
    return problems
