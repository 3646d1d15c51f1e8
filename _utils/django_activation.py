"""
The steps from a built release to one that serves: check, static files, migrations, tasks, the
switch of the web process and of the others, and the removal of what is no longer needed.

Whatever fails before the switch leaves the old release serving.
"""

import json
import os
import pathlib
import socket
import time

import django_deployment
import django_environment
import django_health
import django_layout
import django_process
import django_static
from django_deployment import Outcome, StepError
from django_run import CommandError, run

TASKS = "salt://django/app/files/tasks.py"
CHECK_TIMEOUT = 300
COLLECT_TIMEOUT = 1800
LEVELS = {"error": 40, "warning": 30}
STARTING = ("STARTING", "start", "activating")  # as supervisord and systemd say it
START_SECONDS = 5  # for a program that came up a moment ago, as after a restart of its manager
DRAIN_SECONDS = 10


class Activation(django_deployment.Deployment):
    """A :class:`~django_deployment.Deployment` with the steps that need the built release."""

    _database = None  # what the database said last in this run

    def check(self):
        """Django's checks pass in the wanted instance, and its settings are fit to go live."""
        instance = self.instance
        if instance is None:
            return Outcome({"checked": "the new release"}, "The new release would be checked.")
        if self.layout.instance_record(instance).get("facts"):
            return Outcome({}, f"Instance {instance} has passed its checks.")
        changes = {"checked": instance}
        if self.test:
            return Outcome(changes, f"Instance {instance} would be checked.")
        rules = self.project["release"]
        tasks = [{"do": "inspect"}]
        if rules["check"] != "none":
            tasks.append({"do": "check", "deploy": rules["deploy_check"]})
        if self.project["migrate"]["enabled"]:
            tasks.append(self._question())
        answer = self.django(tasks, CHECK_TIMEOUT, "The release does not start")
        problems = self._unfit(answer)
        if problems:
            raise StepError(self.redact("\n".join(problems)))
        self._database = answer.get("applied")
        self.layout.save_instance_record(instance, facts=answer["inspect"])
        return Outcome(changes, f"Instance {instance} passes its checks.")

    def collect(self):
        """The static files of the wanted release are published."""
        if not self.project["static"]["enabled"]:
            return Outcome({}, "The project has no static files to publish.")
        release_id = self.release_id
        collected = self.record.get("static")
        if collected is None and not self._ready():
            return Outcome({"static": "of the new release"}, "Static files would be published.")
        if collected == "" or (collected is None and not self._facts()["staticfiles"]):
            return Outcome({}, "The project does not use django.contrib.staticfiles.")
        missing = django_static.unpublished(collected, self.layout.static) if collected else []
        if collected and not missing:
            return Outcome({}, f"The static files of release {release_id} are published.")
        changes = {"static": release_id}
        if self.test:
            return Outcome(changes, "Static files would be published.")
        if not collected:
            root = self._facts()["static_root"] or self.names()["path.static"]
            self._collect_into(pathlib.Path(root))
            self.layout.save_record(release_id, static=root)
            missing = django_static.unpublished(root, self.layout.static)
            collected = root
        compress = self.project["static"]["compress"]
        django_static.publish(collected, self.layout.static, missing, compress)
        return Outcome(changes, f"{len(missing)} static files of release {release_id} published.")

    def migrate(self):
        """Every migration of the wanted release is applied."""
        rules = self.project["migrate"]
        if not rules["enabled"]:
            return Outcome({}, "Migrations are left to the operator (migrate:enabled is false).")
        if not self._ready():
            return Outcome({"migrations": "of the new release"}, "Migrations would be applied.")
        instance = self.instance
        try:
            pending = self._pending()
        except StepError as error:
            if self.test:  # a run may start the database before it asks
                return Outcome({}, str(error))
            raise
        stamped = self.layout.instance_record(instance).get("migrated")
        if stamped and not pending:
            return Outcome({}, "Every migration is applied.")
        changes = {"migrations": _as_names(pending) or {"none pending for": instance}}
        if self.test:
            return Outcome(changes, "Migrations would be applied." if pending else "None pending.")
        if pending:
            task = {
                "do": "migrate",
                "databases": rules["databases"],
                "wait": rules["timeout"],
                "lock_timeout": rules["lock_timeout"],
                "statement_timeout": rules["statement_timeout"],
            }
            answer = self.django(
                [task], rules["timeout"], "The migration failed; the old release serves on"
            )
            self._database = None
            changes = {"migrations": _as_names(answer["migrate"])}
        # Django may never apply some that are on disk, such as those of a router's other database.
        unused = self._pending() if pending else {}
        self.layout.save_instance_record(instance, migrated=True, unused=unused)
        count = sum(len(names) for names in pending.values())
        return Outcome(changes, f"{count} migrations applied." if count else "None was pending.")

    def superuser(self):
        """The project's superuser is in the database; its password is set only when it is new."""
        wanted = self.project["superuser"]
        if not wanted:
            return Outcome({}, "The pillar names no superuser.")
        try:
            there = self._has_superuser(wanted["username"])
        except (StepError, OSError) as error:  # the source may be on its way, or the database
            if self.test:
                return Outcome({}, str(error))
            raise
        if there:
            return Outcome({}, f"Superuser {wanted['username']} is there.")
        changes = {"superuser": wanted["username"]}
        if self.test or not self._ready():
            return Outcome(changes, f"Superuser {wanted['username']} would be created.")
        task = {
            "do": "superuser",
            "username": wanted["username"],
            "email": wanted["email"],
            "fields": wanted["fields"],
        }
        extra = {"DJANGO_SUPERUSER_PASSWORD": self.secrets["superuser.password"]}
        answer = self.django([task], CHECK_TIMEOUT, "The superuser cannot be created", extra)
        made = "created" if answer["superuser"]["created"] else "made a superuser again"
        return Outcome(changes, f"{wanted['username']} is {made}.")

    def tasks(self, when):
        """
        The project's tasks of a kind are done: ``first`` once in the project's life, ``before`` and
        ``after`` (the switch) once for each release.
        """
        entries = [entry for entry in self.project["tasks"] if entry["when"] == when]
        if when == "first":
            loads = [
                {"name": f"load {name}", "manage": ["loaddata", name], "timeout": CHECK_TIMEOUT}
                for name in self.project["fixtures"]
            ]
            entries = loads + entries
        done = self._done(when)
        left = [entry for entry in entries if entry["name"] not in done]
        if not left:
            return Outcome({}, f"{len(entries)} tasks of this kind, all done.")
        changes = {"tasks": [entry["name"] for entry in left]}
        if self.test or not self._ready():
            return Outcome(changes, f"{len(left)} tasks would be carried out.")
        failed = [entry["name"] for entry in left if not self._carry_out(entry, when)]
        comment = f"{len(left)} tasks carried out."
        if failed:
            comment += f" Failed, as the pillar allows: {', '.join(failed)}."
        return Outcome(changes, comment)

    def go_live(self):
        """The wanted instance, and no other, serves the project's web requests."""
        instance = self.instance
        if instance is None:
            return Outcome({"live": "the new release"}, "The new release would go live.")
        definition = self.definitions["web"]
        name = django_process.program_name(self.name, "web", instance)
        changes, others, problem = self._web_differences(instance, name, definition)
        if not changes and not problem:
            return Outcome({}, f"Instance {instance} serves.")
        if self.test:
            return Outcome(changes, problem or f"Instance {instance} would serve.")
        if "started" in changes:
            self._start_web(instance, name, definition)
        elif problem:
            self._await_web(instance, name, definition, restart="restarted" in changes)
        django_layout.point(self.layout.socket, self.layout.instance_socket(instance))
        django_layout.point(self.layout.current, f"releases/{self.release_id}")
        django_layout.point(self.layout.live, f"instances/{instance}")
        for other in others:
            self._retire_web(other, definition)
        left, _, problem = self._web_differences(instance, name, definition)
        if left or problem:
            raise StepError(f"After the switch these are still not as wanted: {left or problem}")
        self._remember(instance)
        return Outcome(changes, f"Instance {instance} serves.")

    def run_processes(self):
        """The project's other processes run from the wanted instance, and no others do."""
        instance = self.instance
        if instance is None:
            names = sorted(self.project["processes"])
            changes = {"started": names} if names else {}
            return Outcome(changes, "The processes of the new release would be started.")
        wanted = {
            django_process.program_name(self.name, process, instance): definition
            for process, definition in self.definitions.items()
            if process != "web"
        }
        programs = self.manager.programs()
        strangers = [
            name
            for name in programs
            if name not in wanted and self._process(name) not in (None, "web")
        ]
        starting = [
            name
            for name, definition in wanted.items()
            if not programs.get(name, {}).get("running") or self.manager.differs(name, definition)
        ]
        changes = {
            key: sorted(names)
            for key, names in (("started", starting), ("stopped", strangers))
            if names
        }
        if not changes:
            return Outcome({}, f"{len(wanted)} processes run from instance {instance}.")
        if self.test:
            return Outcome(changes, "Processes would be started or stopped.")
        for name in strangers:
            self.manager.stop(name, self._stop_timeout(self._process(name)))
        for name in starting:
            self._start(name, wanted[name])
        return Outcome(changes, f"{len(wanted)} processes run from instance {instance}.")

    def prune(self):
        """Only the newest releases, and what they and the live one need, are kept."""
        live = self.layout.live_release()
        if live is None:
            return Outcome({}, "No release is live yet.")
        history = django_layout.read_json(self.layout.history).get("entries", [])
        served = [entry["instance"].split("-")[0] for entry in reversed(history)]
        releases = self.layout.release_ids()
        newest = [name for name in dict.fromkeys([live, *served]) if name in releases]
        coming = self.test and self.release_id != live
        kept = {*newest[: self.project["release"]["keep"] - coming], live, self.release_id}
        used = {self.linked_venv(name) for name in kept - {self.release_id}}
        used.add(pathlib.PurePath(self.venv).name)
        instances = [name for name in self.layout.instance_ids() if name.split("-")[0] not in kept]
        venvs = [entry.name for entry in os.scandir(self.layout.venvs) if entry.name not in used]
        gone = sorted(set(releases) - kept)
        roots = [self.layout.record(name).get("static") for name in kept]
        roots = [root for root in roots if root]
        stale = django_static.stale(self.layout.static, roots) if roots else []
        changes = {
            key: names
            for key, names in (
                ("releases", gone),
                ("instances", sorted(instances)),
                ("venvs", sorted(venvs)),
                ("static", stale),
            )
            if names
        }
        if not changes or self.test:
            return Outcome(changes, f"{len(kept)} releases are kept.")
        for name in gone:
            django_layout.remove_tree(self.layout.release(name))
        for name in instances:
            django_layout.remove_tree(self.layout.instance(name))
        for name in venvs:
            django_layout.remove_tree(self.layout.venvs / name)
        django_static.remove(self.layout.static, stale)
        return Outcome(changes, f"{len(kept)} releases are kept.")

    # Running Django

    def django(self, tasks, timeout, failure, extra=None, instance=None):
        """
        Carry out ``tasks`` in one Django process of an instance (the wanted one by default) and
        return its answers by task name (dict).

        extra
            More environment variables (dict of str), for a secret that only this task needs.
        """
        instance = instance or self.instance
        record = self.layout.instance_record(instance)
        environment = self._environment_of(instance)
        names = self._names(record["release"], record["venv"], instance)
        argv = [f"{record['venv']}/bin/python", "-", json.dumps({"tasks": tasks})]
        try:
            done = run(
                argv,
                user=self.user,
                env={**environment, **(extra or {})},
                cwd=names["path.project"],
                timeout=timeout,
                stdin=self.read_file(TASKS),
                check=False,
                umask=0o027,
            )
        except CommandError as error:
            raise StepError(self.redact(f"{failure}: {error}")) from None
        try:
            answer = json.loads(done.stdout or "{}")
        except ValueError:
            answer = {}
        if done.returncode != 0 or "error" in answer or not answer:
            lines = done.stderr.strip().splitlines()[-8:]
            reason = answer.get("error") or f"exit status {done.returncode}"
            where = f" ({answer['where']})" if answer.get("where") else ""
            text = "\n".join([f"{failure}. {reason}{where}", *lines])
            raise StepError(self.redact(text))
        return answer

    def _environment_of(self, instance):
        text = (self.layout.instance(instance) / "environment").read_text(encoding="utf-8")
        return django_environment.parse_shell_file(text)

    def _ready(self):
        """Whether the wanted instance has passed its checks, so that its facts are known."""
        instance = self.instance
        return bool(instance and self.layout.instance_record(instance).get("facts"))

    def _facts(self):
        return self.layout.instance_record(self.instance)["facts"]

    def _unfit(self, answer):
        """Reasons (list of str) why these settings must not go live."""
        facts, rules = answer["inspect"], self.project["release"]
        problems = []
        expected = self.project["settings"]
        if expected and facts["settings"] != expected:
            problems.append(
                f"The settings are {facts['settings']}, but the pillar names {expected}."
            )
        if facts["debug"] and not rules["allow_debug"]:
            problems.append(f"DEBUG is on in {facts['settings']}.")
        if facts["secret_key"]:
            problems.append(f"SECRET_KEY {facts['secret_key']}.")
        level = LEVELS.get(rules["check"], 1000)
        for message in answer.get("check", []):
            if message["level"] >= level:
                hint = f" ({message['hint']})" if message["hint"] else ""
                problems.append(f"{message['id'] or 'check'}: {message['message']}{hint}")
        return problems

    # The database

    def _asked(self, instance):
        """What the database says now, through the settings of ``instance`` (dict)."""
        facts = self.layout.instance_record(instance)["facts"]
        answer = self.django(
            [self._question(facts["user"])],
            CHECK_TIMEOUT,
            "The database cannot be asked",
            instance=instance,
        )
        return answer["applied"]

    def _question(self, user_columns=None):
        """The task that asks for applied migrations and for the superuser."""
        task = {"do": "applied", "databases": self.project["migrate"]["databases"]}
        if self.project["superuser"]:
            task["user"] = {**(user_columns or {}), "name": self.project["superuser"]["username"]}
        return task

    def _pending(self):
        """Migrations that are not applied: ``{alias: [[app, name], …]}``."""
        if self._database is None:
            self._database = self._asked(self.instance)
        record = self.layout.instance_record(self.instance)
        unused = record.get("unused") or {}
        pending = {}
        for alias, applied in self._database["migrations"].items():
            left = [
                key
                for key in record["facts"]["migrations"]
                if key not in applied and key not in unused.get(alias, [])
            ]
            if left:
                pending[alias] = left
        return pending

    def _has_superuser(self, name):
        instance = self.instance if self._ready() else self.layout.live_instance()
        if instance is None or not self.layout.instance_record(instance).get("facts"):
            return False
        if self._database is None:
            self._database = self._asked(instance)
        return self._database["users"].get(name, False)

    # Static files

    def _collect_into(self, root):
        release = self.layout.release(self.release_id)
        own = root.is_relative_to(release)
        if own:
            root.mkdir(parents=True, exist_ok=True)
            self._give_to_user(root)
        task = {"do": "collectstatic", "ignore": self.project["static"]["ignore"]}
        self.django([task], COLLECT_TIMEOUT, "The static files cannot be collected")
        for entry in self.project["tasks"]:
            if entry["when"] == "static":
                self._carry_out(entry, "static")
        if own:
            django_layout.seal(root, self._gid)

    # Tasks

    def _tasks_record(self, when):
        if when == "first":
            return self.layout.root / "first.json"
        return self.layout.release(self.release_id) / "tasks.json"

    def _done(self, when):
        if when == "first":
            return django_layout.read_json(self._tasks_record(when))
        if not self._ready():
            return {}
        return django_layout.read_json(self._tasks_record(when))

    def _carry_out(self, entry, when):
        """Run one task; returns whether it succeeded. A failure that is not allowed raises."""
        instance = self.instance
        names = self.names(instance)
        own = django_environment.variables(entry.get("environment", {}), names)
        environment = {**self._environment_of(instance), **own}
        source, log = names["path.project"], self._log("tasks")
        skip = entry.get("unless") and (
            run(
                django_process.command_argv({"command": entry["unless"]}, self.project, names),
                user=self.user,
                env=environment,
                cwd=source,
                timeout=entry["timeout"],
                check=False,
            ).returncode
            == 0
        )
        succeeded = True
        if not skip:
            try:
                run(
                    django_process.command_argv(entry, self.project, names),
                    user=self.user,
                    env=environment,
                    cwd=source,
                    timeout=entry["timeout"],
                    log=log,
                    umask=0o027,
                )
            except CommandError as error:
                if not entry.get("allow_failure"):
                    text = f"Task {entry['name']} failed ({log} has all of it). {error}"
                    raise StepError(self.redact(text)) from None
                succeeded = False
        if when != "static":
            path = self._tasks_record(when)
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            django_layout.write_json(path, {**django_layout.read_json(path), entry["name"]: stamp})
        return succeeded

    # Processes

    def _process(self, program):
        """Name of the process that ``program`` runs, or None when it is not the project's."""
        parsed = django_process.parse_program(program, self.name)
        return parsed[0] if parsed else None

    def _stop_timeout(self, process):
        spec = self.project["processes"].get(process.rpartition("_")[0] or process) or {}
        return spec.get("stop_timeout", self.project["app"]["graceful_timeout"] + 5)

    def _start(self, name, definition):
        django_layout.claim_log(definition["stdout_logfile"], self._gid)
        self.manager.start(name, definition)
        deadline = time.monotonic() + definition["startsecs"] + 10
        while True:
            program = self.manager.programs().get(name, {})
            failure = self.manager.failure(name)
            if program.get("running") and failure is None:
                return
            if failure or time.monotonic() > deadline:
                reason = failure or f"{name} does not run: {program.get('state')}"
                raise StepError(self.redact(f"{reason}\n{self._log_tail(definition)}"))
            time.sleep(0.2)

    def _await_web(self, instance, name, definition, restart):
        """Give a running process the time to become healthy; start it again if that is of use."""
        path = self.layout.instance_socket(instance)
        reason = django_health.wait(path, self.project["health"])
        if reason is None:
            return
        if not restart:
            raise StepError(self.redact(f"Instance {instance} runs but is not healthy: {reason}"))
        self.manager.stop(name, definition["stopwaitsecs"])
        self._start_web(instance, name, definition)

    def _start_web(self, instance, name, definition):
        path = self.layout.instance_socket(instance)
        log = definition["stdout_logfile"]
        django_layout.claim_log(log, self._gid)
        before = os.path.getsize(log)
        try:
            self.manager.start(name, definition)
            reason = django_health.wait(
                path, self.project["health"], lambda: self.manager.failure(name)
            )
        except (CommandError, StepError) as error:
            reason = str(error)
        if reason is None:
            return
        output = self._log_tail(definition, before)
        if self.layout.live_instance() != instance:
            self.manager.discard(name)
            path.unlink(missing_ok=True)
        raise StepError(
            self.redact(
                f"The new release is not healthy and does not go live: {reason}\n{output}".rstrip()
            )
        )

    @staticmethod
    def _log_tail(definition, start=0):
        try:
            with open(definition["stdout_logfile"], encoding="utf-8", errors="replace") as stream:
                size = os.fstat(stream.fileno()).st_size
                stream.seek(max(start if start <= size else 0, size - 4096))
                return "\n".join(stream.read().splitlines()[-15:])
        except OSError:
            return ""

    def _web_differences(self, instance, name, definition):
        """
        What keeps ``instance`` from being the one that serves, the programs of others, and why it
        is not healthy although it runs (None when it is). A wrong answer may come from a database
        that starts with this run; only a process that does not answer at all is started again.
        """
        programs = self._settled(name)
        others = [other for other in programs if other != name and self._process(other) == "web"]
        changes = {}
        path = self.layout.instance_socket(instance)
        running = programs.get(name, {}).get("running") and not self.manager.differs(
            name, definition
        )
        health = {**self.project["health"], "timeout": START_SECONDS}
        problem = django_health.wait(path, health) if running else None
        if not running:
            changes["started"] = name
        elif problem and problem.startswith(django_health.NO_ANSWER):
            changes["restarted"] = name
        links = (
            (self.layout.socket, str(path)),
            (self.layout.current, f"releases/{self.release_id}"),
            (self.layout.live, f"instances/{instance}"),
        )
        for link, target in links:
            now = django_layout.target_of(link)
            if now != target:
                changes[link.name] = {"old": now, "new": target}
        if others:
            changes["stopped"] = sorted(others)
        return changes, others, problem

    def _settled(self, name):
        """The project's programs, once one that its manager is just starting has come up or not."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            programs = self.manager.programs()
            starting = programs.get(name, {}).get("state") in STARTING
            if not starting or time.monotonic() > deadline:
                return programs
            time.sleep(0.1)

    def _retire_web(self, name, definition):
        """Stop an old web process once its socket has no connection waiting to be accepted."""
        _, instance = django_process.parse_program(name, self.name)
        path = str(self.layout.instance_socket(instance))
        deadline = time.monotonic() + DRAIN_SECONDS
        while _waiting(path) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.manager.stop(name, definition["stopwaitsecs"])
        pathlib.Path(path).unlink(missing_ok=True)

    def _remember(self, instance):
        history = django_layout.read_json(self.layout.history).get("entries", [])
        if history and history[-1]["instance"] == instance:
            return
        entry = {
            "instance": instance,
            "revision": self.revision,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "host": socket.gethostname(),
        }
        django_layout.write_json(self.layout.history, {"entries": [*history, entry][-200:]})


def _as_names(migrations):
    """Migrations by database as Django writes them: ``{alias: ["app.0001_name", …]}``."""
    return {alias: [".".join(key) for key in keys] for alias, keys in migrations.items() if keys}


def _waiting(path):
    """Number of connections to the Unix socket ``path`` that nobody has accepted yet."""
    try:
        lines = pathlib.Path("/proc/net/unix").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    # State 02 is a connection under way (SS_CONNECTING): it waits in the listener's queue.
    return sum(1 for line in lines if line.endswith(f" {path}") and line.split()[5] == "02")
