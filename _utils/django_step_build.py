"""
Steps from a source to a release: fetch it, give it its packages, build it, write its configuration.
"""

import contextlib
import os
import pathlib
import pwd
import re
import shutil
import time

import django_environment
import django_host_files
import django_layout
import django_live
import django_mod_wsgi
import django_process
import django_references
import django_running
import django_source
import django_twin
import django_venv
from django_deployment import GUNICORN_CONFIG, Outcome, StepError, unless_held
from django_run import CommandError, build_environment, run

UV = "/opt/django-formula/uv/bin/uv"
RESERVE_BYTES = 200 * 1024 * 1024
_SETTINGS = re.compile(r"""["']DJANGO_SETTINGS_MODULE["']\s*[,\]]\s*=?\s*["']([\w.]+)["']""")


@unless_held
def fetch(deployment):
    """The source of the wanted release lies in its folder."""
    if not deployment.test:
        deployment.layout.save_naming_key(deployment.key)
        _follow_user(deployment)
    if deployment.is_damaged:
        deployment.replace_damaged()
    release_id = deployment.release_id
    if deployment.fetched:
        comment = f"Release {release_id} of {_describe_revision(deployment)} is here."
        return _closed(deployment, deployment.layout.release(release_id), comment)
    # Without the project's secret, which a first run generates, its name is not known yet.
    name = release_id if deployment.key else "the first"
    changes = {"release": {"old": deployment.layout.live_release(), "new": name}}
    comment = f"Release {name} of {_describe_revision(deployment)}"
    if deployment.test:
        return Outcome(changes, f"{comment} would be fetched.")
    folder = deployment.layout.release(release_id)
    django_running.end_users_of(folder, deployment.uid)
    django_layout.remove_tree(folder)
    _require_space(deployment)
    folder.mkdir()
    django_layout.close_folder(folder, deployment.gid)
    deployment.layout.downloads.mkdir(mode=0o700, exist_ok=True)
    try:
        django_source.fetch(
            deployment.project["source"],
            deployment.revision,
            folder / "source",
            deployment.layout.downloads,
            deployment.deploy_key,
        )
    except (django_source.SourceError, OSError) as error:
        django_layout.remove_tree(folder)
        text = str(error)
        path = f"django:projects:{deployment.name}:" if text.startswith("source:") else ""
        raise StepError(deployment.redact(path + text)) from None
    if not pathlib.Path(deployment.source).is_dir():
        django_layout.remove_tree(folder)
        raise StepError(
            f"django:projects:{deployment.name}:source:subdirectory: the source has no folder "
            f"{deployment.project['source']['subdirectory']!r}"
        )
    deployment.give_to_user(folder / "source")
    deployment.layout.save_record(release_id, stage="fetched", revision=deployment.revision)
    return Outcome(changes, f"{comment} is fetched.")


@unless_held
def install(deployment):
    """The wanted release has a virtual environment with all its packages."""
    if not deployment.fetched:
        return Outcome({"venv": "of the new release"}, "Its packages would be installed.")
    try:
        wanted = _venv_inputs(deployment)
    except django_venv.VenvError as error:
        raise StepError(str(error)) from None
    old = deployment.linked_venv(deployment.release_id)
    name = _usable_venv(deployment, django_venv.name_of(wanted), old)
    whole = django_venv.is_intact(deployment.layout.venvs / name)
    if whole and old == name:
        folder = deployment.layout.venvs / name
        return _closed(deployment, folder, f"Environment {name} is complete.")
    changes = {"venv": {"old": old, "new": name}}
    about = f"Environment {name}: {django_venv.describe(wanted)}"
    if deployment.test:
        deployment.planned_venv = name
        return Outcome(changes, f"{about}, {'reused' if whole else 'would be built'}.")
    if not whole:
        _build_venv(deployment, name, wanted)
    link = deployment.layout.release(deployment.release_id) / "venv"
    django_layout.point(link, f"../../venvs/{name}")
    return Outcome(changes, f"{about}, {'reused' if whole else 'built'}.")


@unless_held
def build(deployment):
    """The wanted release holds its rendered files and the results of its build steps."""
    if deployment.record.get("stage") == "built":
        return Outcome({}, f"Release {deployment.release_id} is built.")
    changes = {"built": deployment.release_id}
    if deployment.test:
        return Outcome(changes, f"Release {deployment.release_id} would be built.")
    # Steps are never done twice in a tree: a run that ends here begins with a new one.
    deployment.layout.save_record(deployment.release_id, stage="building")
    try:
        _make(deployment)
    except (StepError, CommandError, OSError):
        django_layout.remove_tree(deployment.layout.release(deployment.release_id))
        raise
    return Outcome(changes, f"Release {deployment.release_id} is built.")


def _make(deployment):
    folder = deployment.layout.release(deployment.release_id)
    deployment.give_to_user(folder / "source")
    _detect(deployment)
    for name, text in deployment.files("release", deployment.names()).items():
        path = _inside(deployment, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        entry = deployment.project_file(name)
        django_layout.write_atomic(
            path, text, int(entry["mode"], 8), deployment.uid, deployment.gid
        )
    for link in deployment.project["links"]:
        path = _inside(deployment, link["link"])
        if path.is_dir() and not path.is_symlink():
            django_layout.remove_tree(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        django_layout.point(path, link["target"])
    deployment.give_to_user(folder / "source")
    log = deployment.log("build")
    for number, step in enumerate(deployment.project["build"], 1):
        _build_step(deployment, number, step, log)
    compile_all = [
        f"{deployment.venv}/bin/python",
        "-m",
        "compileall",
        "-q",
        "-j0",
        deployment.source,
    ]
    run(compile_all, user=deployment.user, env=build_environment(), check=False)
    django_layout.seal(folder / "source", deployment.gid)
    deployment.layout.save_record(
        deployment.release_id,
        stage="built",
        tree=django_layout.fingerprint(folder / "source"),
        built_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )


@unless_held
def configure(deployment):
    """
    The wanted instance's environment and the files on the host are written. One that served before
    and whose programs still finish their work is left to them: another one like it is to serve.
    """
    instance = deployment.instance
    if instance is None:
        return Outcome({"instance": "of the new release"}, "Its configuration would be written.")
    if instance != deployment.layout.live_instance() and django_twin.is_needed(
        deployment, instance
    ):
        deployment.next_generation()
        instance = deployment.instance
    folder = deployment.layout.instance(instance)
    environments = deployment.environments(instance)
    wanted = {
        str(folder / name): (text, 0o400, deployment.uid, deployment.gid)
        for name, text in environments.items()
    }
    if deployment.project["app"]["server"] == "gunicorn":
        text = deployment.read_file(GUNICORN_CONFIG)
        wanted[str(folder / django_process.GUNICORN_CONFIG)] = (text, 0o440, 0, deployment.gid)
    files, copies = django_host_files.wanted(deployment, instance)
    wanted.update(files)
    wanted.update(copies)
    differing = [
        path for path, entry in wanted.items() if django_layout.file_differences(path, *entry)
    ]
    record = {
        "release": deployment.release_id,
        "venv": deployment.venv,
        "definitions": deployment.definitions_of(instance),
        "files": django_host_files.record(deployment),
        "outside": django_live.describe(deployment.project, deployment.host),
        "likeness": deployment.likeness,
    }
    recorded = record.items() <= deployment.layout.instance_record(instance).items()
    if recorded and not differing:
        comment = f"The configuration of instance {instance} is in place."
        return _closed(deployment, folder, comment)
    shown = [path for path in differing if path not in copies]
    changes = {"instance": instance, "files": sorted(shown)}
    changed = _changed_variables(deployment, environments["environment"])
    if changed:
        changes["variables"] = changed
    if deployment.test:
        return Outcome(changes, f"Instance {instance} would be configured.")
    folder.mkdir(exist_ok=True)
    django_layout.close_folder(folder, deployment.gid)
    for path in differing:
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        django_layout.write_atomic(path, *wanted[path])
    deployment.layout.save_instance_record(instance, **record)
    return Outcome(changes, f"Instance {instance} is configured.")


def _closed(deployment, folder, comment):
    """The outcome where a folder is there and whole: the project may read it and not change it."""
    differing = django_layout.folder_differences(folder, deployment.gid)
    if not differing:
        return Outcome({}, comment)
    if not deployment.test:
        django_layout.close_folder(folder, deployment.gid)
    words = f"{' and '.join(differing)} of {folder} {'would be' if deployment.test else 'are'}"
    return Outcome({str(folder): differing}, f"{comment} The {words} put right.")


def _follow_user(deployment):
    """Give what the project has written to its user, when that was another until now."""
    layout = deployment.layout
    wanted = {"user": deployment.user, "group": deployment.project["group"]}
    before = django_layout.read_json(layout.owner)
    if before == wanted:
        return
    if before:
        # What environments share with it is root's and the former group's, and stays so for them.
        django_layout.remove_tree(layout.cache / django_venv.UV_CACHE)
    former = before.get("user", deployment.name)
    if former != deployment.user:
        with contextlib.suppress(KeyError):  # there is no such user, so nothing is theirs
            account = pwd.getpwnam(former)
            # What the web server may read has its group in any case, and keeps it.
            is_own = former != django_mod_wsgi.EMBEDDED_USER
            old, new = (
                (account.pw_uid, account.pw_gid if is_own else None),
                (deployment.uid, deployment.gid),
            )
            for key in ("cache", "shared", "media", "private"):
                folder = deployment.project["paths"][key]
                if os.path.isdir(folder):
                    django_layout.hand_over(folder, old, new)
    django_layout.write_json(layout.owner, wanted)


def _describe_revision(deployment):
    source = deployment.project["source"]
    if source["kind"] == "pypi":
        return deployment.revision
    rev = source.get("rev")
    return " ".join(filter(None, (source["kind"], rev, deployment.revision[:12])))


def _venv_inputs(deployment):
    inputs = django_venv.inputs(
        deployment.project["python"],
        deployment.source,
        deployment.interpreter(),
        deployment.revision,
        _own_package(deployment),
    )
    return {**inputs, **deployment.readers}


def _own_package(deployment):
    source = deployment.project["source"]
    if source["kind"] != "pypi":
        return None
    extras = f"[{','.join(source['extras'])}]" if source.get("extras") else ""
    return f"{source['package']}{extras}=={source['version']}"


def _usable_venv(deployment, name, linked):
    """
    The folder name to use for the environment ``name``: the one that is linked if it is intact.
    One whose packages were changed by hand is never mended under a running process; a new one
    takes its place.
    """
    venvs = deployment.layout.venvs
    if linked and linked.split("-")[0] == name and django_venv.is_intact(venvs / linked):
        return linked
    candidate, number = name, 1
    while (venvs / candidate / django_venv.MARKER).exists():
        if django_venv.is_intact(venvs / candidate):
            return candidate
        number += 1
        candidate = f"{name}-{number}"
    return candidate


def _build_venv(deployment, name, wanted):
    folder = deployment.layout.venvs / name
    django_running.end_users_of(folder, deployment.uid)
    django_layout.remove_tree(folder)
    folder.mkdir(mode=0o750)
    os.chown(folder, deployment.uid, deployment.gid)
    python = deployment.project["python"]
    environment = django_venv.environment(
        django_environment.variables(python["environment"], deployment.names()),
        folder,
        deployment.layout.cache,
        deployment.secrets,
    )
    constraints = django_venv.constraint_file(folder, wanted)
    if constraints:
        django_layout.write_atomic(*constraints)
    log = deployment.log("build")
    try:
        for argv in django_venv.commands(wanted, python, deployment.source, folder, UV):
            run(
                argv,
                user=deployment.user,
                env=environment,
                cwd=deployment.source,
                timeout=python["timeout"],
                log=log,
                redact=deployment.redact,
            )
    except CommandError as error:
        django_layout.remove_tree(folder)
        raise StepError(deployment.redact(f"The packages cannot be installed. {error}")) from None
    finally:
        if constraints:
            os.unlink(constraints[0])
    django_layout.seal(folder, deployment.gid)
    django_layout.write_json(
        folder / django_venv.MARKER,
        {"inputs": wanted, "installed": django_venv.installed(folder)},
    )


def _build_step(deployment, number, step, log):
    argv = step["command"]
    argv = argv if isinstance(argv, list) else ["/bin/sh", "-ec", argv]
    names = deployment.names()
    argv = [django_references.expand_text(word, names) for word in argv]
    extra = django_environment.variables(step["environment"], names)
    environment = {
        **build_environment(),
        **deployment.variables(),
        **extra,
        "HOME": str(deployment.layout.cache),
    }
    try:
        run(
            argv,
            user=deployment.user,
            env=environment,
            cwd=os.path.join(deployment.source, step.get("directory") or ""),
            timeout=step["timeout"],
            log=log,
            redact=deployment.redact,
        )
    except CommandError as error:
        raise StepError(
            deployment.redact(f"Build step {number} failed ({log} has all of it). {error}")
        ) from None


def _detect(deployment):
    """Find the settings module and the WSGI entry point where the pillar names none."""
    found = {}
    source = pathlib.Path(deployment.source)
    entries = [path for depth in ("", "*/", "*/*/") for path in source.glob(f"{depth}wsgi.py")]
    entries = [path for path in entries if "node_modules" not in path.parts]
    if len(entries) == 1:
        parts = entries[0].relative_to(source).with_suffix("").parts
        found["wsgi"] = ".".join(parts)
    manage = source / deployment.project["manage"]["value"]
    for path in [*entries[:1], manage]:
        text = path.read_text(errors="replace") if path.is_file() else ""
        match = _SETTINGS.search(text)
        if match and "settings" not in found:
            found["settings"] = match.group(1)
    problems = []
    if not (deployment.project["settings"] or found.get("settings")):
        problems.append("settings: the source does not tell the settings module; name it")
    app = deployment.project["app"]
    if app["server"] != "command" and not (app["module"] or found.get("wsgi")):
        problems.append(f"app:module: the source has {len(entries)} wsgi.py; name the entry point")
    if problems:
        raise StepError("\n".join(f"django:projects:{deployment.name}:{line}" for line in problems))
    deployment.layout.save_record(deployment.release_id, **found)


def _inside(deployment, name):
    """A path in the project's folder of the release; a link must not lead out of it."""
    path = pathlib.Path(deployment.source, name)
    if not path.parent.resolve().is_relative_to(pathlib.Path(deployment.source).resolve()):
        raise StepError(f"{name} leads out of the release through a link in the source")
    return path


def _require_space(deployment):
    """A release needs what the live one takes, its environment too, and a reserve."""
    layout = deployment.layout
    live = layout.live_release()
    like = 0
    if live:
        venv = deployment.linked_venv(live)
        like = django_layout.size(layout.release(live))
        like += django_layout.size(layout.venvs / venv) if venv else 0
    needed = RESERVE_BYTES + like
    free = shutil.disk_usage(layout.releases).free
    if free < needed:
        raise StepError(
            f"Only {free // 2**20} MiB are free below {layout.releases}; a release needs "
            f"{needed // 2**20} MiB, as the live one takes {like // 2**20}. Nothing was changed."
        )


def _changed_variables(deployment, environment):
    live = deployment.layout.live_instance()
    if live is None:
        return []
    try:
        text = (deployment.layout.instance(live) / "environment").read_text(encoding="utf-8")
    except OSError:
        return []
    old = django_environment.parse_shell_file(text)
    new = django_environment.parse_shell_file(environment)
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
