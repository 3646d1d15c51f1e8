"""
A release on several servers, in its order: prepared everywhere at once, migrated on one, then
server by server (or in batches) kept out of the balancer, switched, asked for its health and put
back; servers with workers alone, then those with static files alone, which serve both releases'
files from the beginning; what had to wait for all of them; what is left to do.

Each part is what ``state.apply`` does, up to a state that is named here, so that a deploy which is
cut off anywhere leaves servers as a cut off ``state.apply`` does: the next of either goes on. The
first batch with a failure is the last one.
"""

import time

import django_fleet
import django_fleet_words
from django_fleet_orders import changed

SLS = "django"
PREPARED = "{}: static files are published"
SWITCHED = "{}: what runs is verified"
NOT_REACHED, THERE, DONE = "not reached", "was there already", "done"


class Halted(Exception):
    """
    Servers failed, and nothing further is done.

    step
        What was being done (str).
    failures
        Why, by server (dict of str).
    """

    def __init__(self, step, failures):
        super().__init__(step)
        self.step, self.failures = step, failures


class Rollout:
    """
    orders
        How servers are asked (:class:`django_fleet_orders.Orders`).
    say
        Called with a step and a line about it, as things happen.
    project, hosts
        The project's name, and the map of servers (``{name: [roles]}``).
    before
        Releases that serve now, by server (dict).
    batch
        How many web servers at a time, as of :func:`django_fleet.size`.
    note
        The held lock's :class:`django_fleet_lock.Note`.
    """

    def __init__(self, orders, say, project, hosts, before, batch, note):
        self._orders, self._say, self._note = orders, say, note
        self.project, self.hosts, self.batch = project, hosts, batch
        self.members = django_fleet.members(hosts)
        self.front = [name for name in self.members if {"app", "web"} & set(hosts[name])]
        self.balancers = django_fleet.having(hosts, "balancer")
        self.out = set()  # web servers that an operator keeps out of the balancers
        self.before, self.wanted = before, None
        self.seconds = {}
        self.ahead = {}  # migrations that the code of a server, gone back, does not know
        self.results = dict.fromkeys(self.members, NOT_REACHED)

    def deploy(self):
        """Bring what the pillar means to every server; :class:`Halted` at the first failure."""
        self._clean_up()
        plans = self._prepare()
        self._migrate()
        there = [name for name in self.members if plans[name]["target"] == plans[name]["instance"]]
        self.results.update(dict.fromkeys(there, THERE))
        rest = [name for name in self.members if name not in there]
        if there and rest:
            self._switch("look", there)
        if rest:
            self._in_turn(rest, self._switch)
            self._all("late", [self.members[0]], "django.apply_late_migrations", self.project)
        self._finish(plans)
        self._back_or_halt("finish", self._left_out())

    def go_back(self, release, names, others):
        """
        Let servers (list) serve ``release`` again, in batches, and ``others`` (list), which do so,
        keep it.
        """
        self.wanted = release
        self._clean_up()
        self.results.update(dict.fromkeys(others, THERE))
        if others:
            self._all("hold", others, "django.release_hold", self.project)

        def back(step, batch):
            words = [release] if release else []
            answers = self._all(step, batch, "django.rollback", self.project, *words)
            self.ahead.update({name: answers[name].value["database_is_ahead_by"] for name in batch})

        self._in_turn(names, back)
        self._back_or_halt("finish", self._left_out())

    def now(self):
        """Releases that serve, by server (dict), as each server tells."""
        answers = self._orders.ask(self.members, "django.rollout", self.project)
        return {
            name: answer.value.get("release") if not answer.problem else "no answer"
            for name, answer in answers.items()
        }

    def data(self, now):
        """What became of each server (dict): ``before``, ``now``, ``seconds``, ``result``."""
        found = {}
        for name in self.members:
            reached = self.results[name]
            if reached == NOT_REACHED and self.wanted and now.get(name) == self.wanted:
                reached = DONE
            seconds = round(self.seconds[name]) if name in self.seconds else None
            found[name] = {
                "before": self.before.get(name),
                "now": now.get(name),
                "seconds": seconds,
                "result": reached,
            }
        return found

    def table(self, now):
        """The same as lines (list of str)."""
        return django_fleet_words.summary(self.data(now))

    # Steps

    def _prepare(self):
        """Everything before the switch, on all servers at once; what each is to run (dict)."""
        self._states("prepare", self.members, PREPARED)
        plans = self._all("prepare", self.members, "django.stand_by", self.project, quiet=True)
        plans = {name: answer.value for name, answer in plans.items()}
        releases = sorted({plan["release"] for plan in plans.values()})
        self.wanted = releases[0]
        if len(releases) > 1:
            told = {name: f"would serve release {plan['release']}" for name, plan in plans.items()}
            why = "servers do not have the same source, or the same Python"
            if len({plan["named_by"] for plan in plans.values()}) > 1:
                why = (
                    "servers name releases by different keys, as their first SECRET_KEY was not the"
                    f" same. On all of them: rm /srv/django/{self.project}/names.json (those with"
                    " another name build anew)"
                )
            raise Halted(f"prepare: {why}", told)
        self._say("prepare", f"release {self.wanted} is ready on {len(plans)} servers")
        return plans

    def _migrate(self):
        self._all("migrate", [self.members[0]], "django.apply_migrations", self.project)

    def _in_turn(self, names, switch):
        """Web servers batch by batch, then those with workers, then those of static files alone."""
        front = [name for name in self.front if name in names]
        workers = [name for name in names if name not in front and "worker" in self.hosts[name]]
        static = [name for name in names if name not in (*front, *workers)]
        size = django_fleet.size(self.batch, len(self.front) or 1)
        parts = [front[start : start + size] for start in range(0, len(front), size)]
        for number, part in enumerate(parts, 1):
            self._turn(f"batch {number}/{len(parts)}", part, switch)
        for step, part in (("workers", workers), ("static files", static)):
            if part:
                self._turn(step, part, switch)

    def _turn(self, step, names, switch):
        """A batch: out of the balancer, switched, healthy, and back in whatever became of it."""
        away = self._drain(step, names)
        try:
            switch(step, names)
        except Halted as error:
            for name, reason in self._undrain(step, away).items():
                error.failures[name] = f"{error.failures.get(name, '')}\n{reason}".lstrip()
            raise
        except BaseException:  # as an operator's Ctrl-C
            self._undrain(step, away)
            raise
        self.results.update(dict.fromkeys(names, DONE))
        self._back_or_halt(step, away)

    def _switch(self, step, names):
        """The prepared release serves and works on servers, and says that it is healthy."""
        begun = time.monotonic()
        self._states(step, names, SWITCHED, quiet=True)
        answers = self._orders.ask(names, "django.health", self.project)
        failures = {
            name: (answer.value or {}).get("problem") or answer.problem
            if isinstance(answer.value, dict)
            else answer.problem
            for name, answer in answers.items()
            if answer.problem
        }
        if failures:
            raise self._halted(f"{step}: health", failures)
        for name in names:
            took = time.monotonic() - begun
            self._say(step, f"{name}: {self.wanted} serves and is healthy ({took:.0f} s)")

    def _finish(self, plans):
        """What is left to do once all servers have the release, on all at once."""
        self._say("finish", "old releases, timers, front doors …")
        left = {name: list(plans[name]["finish"]) for name in self.members}
        while any(left.values()):
            ids = sorted({found[0] for found in left.values() if found})
            names = [name for name, found in left.items() if found and found[0] == ids[0]]
            for name, answer in self._states("finish", names, ids[0], quiet=True).items():
                left[name].pop(0)
                for state_id in changed(answer):
                    self._say("finish", f"{name}: {state_id}")

    # Balancers

    def _look_at_balancers(self):
        """Who is out of the balancers by an operator's order stays out."""
        answers = self._orders.ask(self.balancers, "django.drained") if self.balancers else {}
        failures = {name: each.problem for name, each in answers.items() if each.problem}
        if failures:
            raise self._halted("balancers are asked who is drained", failures)
        out = {name for each in answers.values() for name in each.value}
        self.out = out - set(self._note.drained)
        if self.out:
            self._say("balancer", f"{django_fleet_words.listed(sorted(self.out))}: stay drained")

    def _drain(self, step, names):
        """
        Keep web servers out of the balancers, unless nobody would be left; those (list). One that
        a balancer cannot spare, as the others are not healthy, is switched all the same: that
        drops no request, and may be what mends them.
        """
        web = set(django_fleet.having(self.hosts, "web")) - self.out
        away = [name for name in names if name in web]
        if not self.balancers or not away or web <= set(away):
            return []
        self._note.write({*self._note.drained, *away})
        for name in away:
            answers = self._orders.ask(self.balancers, "django.drain", name)
            refused = [each.problem for each in answers.values() if each.problem]
            self._say(step, f"{name}: {f'not drained: {refused[0]}' if refused else 'drained'}")
        return away

    def _undrain(self, step, names):
        """Put web servers back into the balancers; why some are not taken back (dict)."""
        failures = {}
        for name in names:
            answers = self._orders.ask(self.balancers, "django.undrain", name)
            wrong = [f"{who}: {each.problem}" for who, each in answers.items() if each.problem]
            if wrong:
                failures[name] = "\n".join(["stays out of the balancer:", *wrong])
                continue
            self._note.write(other for other in self._note.drained if other != name)
            self._say(step, f"{name}: back in the balancer")
        return failures

    def _back_or_halt(self, step, names):
        failures = self._undrain(step, names)
        if failures:
            raise self._halted(f"{step}: back into the balancer", failures)

    def _clean_up(self):
        """Put back what was left out, if it is healthy by now; it may be what is to be mended."""
        self._note.write(self._left_out())
        self._look_at_balancers()
        self._undrain("clean up", self._left_out())

    def _left_out(self):
        """Servers (list) that a deploy which was cut off had taken out of the balancers."""
        return [name for name in self._note.drained if self.balancers and name in self.hosts]

    # Orders

    def _states(self, step, names, state_id, quiet=False):
        """Apply states up to one, with all that it requires, on servers at once."""
        state_id = state_id.format(self.project)
        return self._all(step, names, "state.sls_id", state_id, SLS, quiet=quiet)

    def _all(self, step, names, function, *arguments, quiet=False):
        """Answers (dict) of servers at once; :class:`Halted` when one of them failed."""
        begun = time.monotonic()

        def heard(name, answer):
            took = time.monotonic() - begun
            self.seconds[name] = self.seconds.get(name, 0) + took
            if answer.problem:
                self._say(step, f"{name}: FAILED after {took:.0f} s")
            elif not quiet:
                self._say(step, f"{name}: {_told(function, answer)} ({took:.0f} s)")

        if not (quiet and step in ("prepare", "finish")):
            self._say(step, f"{django_fleet_words.listed(names)} …")
        answers = self._orders.ask(names, function, *arguments, heard=heard)
        failures = {name: each.problem for name, each in answers.items() if each.problem}
        if failures:
            raise self._halted(step, failures)
        return answers

    def _halted(self, step, failures):
        """The exception for a failure, which is what became of those servers."""
        for name in [name for name in failures if name in self.results]:
            self.results[name] = f"FAILED at {step}"
        return Halted(step, failures)


def _told(function, answer):
    """What to say of a server that did what it was told (str)."""
    if function == "state.sls_id":
        ids = changed(answer)
        return f"{len(ids)} changes" if ids else "nothing to do"
    if isinstance(answer.value, dict) and answer.value.get("comment"):
        return str(answer.value["comment"]).splitlines()[0].partition(". ")[0]
    return "done"
