"""
The benchmark: one job done by three contestants in turn, their times side by side.

    python3 -m test.benchmark.run [--repeat 3] [--rounds 5] [--only script,formula] [--serving]

Nothing is asked of the times. What is asked: that each contestant's site works, that a run with
nothing to do did nothing, and that a release of django-formula loses no request.
"""

import argparse
import signal
import statistics
import sys
import time
from dataclasses import dataclass, field

from test.hosts import boot

from . import contestants, images, measure, serving

COLD, NOOP, REDO, PING = "cold", "no-op", "no-op, all redone", "salt-call test.ping"
RELEASE, SERVED = "code-only release", "  until the new code serves"
PROGRAMS, MEMORY, FAILED = "programs started by a no-op", "memory of a no-op, MiB", "failed polls"
COST = ", processor"  # besides the time on the clock, which other work on the machine disturbs
# What django-formula is to reach, of which measure and by what it is divided; None: as it stands.
AIMS = (
    (COLD, "script", COLD, 1.2),
    (NOOP, "django-formula", PING, 3),
    (RELEASE, "script", RELEASE, 4),
    (FAILED, None, None, 0),
    (PROGRAMS, None, None, 40),
)


@dataclass
class Results:
    """All figures: ``{(measure, contestant): [figure, …]}``."""

    figures: dict = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def add(self, what, who, figure):
        """Enter a figure, and show it."""
        self.figures.setdefault((what, who), []).append(figure)
        shown = f"{figure:.2f} s" if isinstance(figure, float) else figure
        minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
        print(f"{minutes:3}:{seconds:02}  {who:<15} {what.strip():<28} {shown}", flush=True)

    def middle(self, what, who):
        """The median, or None where nothing was measured."""
        figures = self.figures.get((what, who))
        return statistics.median(figures) if figures else None

    def least(self, what, who):
        """The best of the repetitions: what other work on the machine disturbs least."""
        figures = self.figures.get((what, who))
        return min(figures) if figures else None

    def names(self):
        """The contestants, in their order."""
        known = {who for _, who in self.figures}
        return [each.name for each in contestants.ALL if each.name in known]

    def table(self):
        """Median (least to most) of each measure, and each as a ratio to the script's."""
        names = self.names()
        width, first = 26, 32
        lines = [" " * first + "".join(f"{name:>{width}}" for name in names)]

        def add(title, cells):
            lines.append(f"{title:<{first}}" + "".join(f"{cell:>{width}}" for cell in cells))

        for what in (COLD, NOOP, REDO, PING, RELEASE, SERVED, FAILED, PROGRAMS, MEMORY):
            for kind in (what, what + COST):
                if not any((kind, who) in self.figures for who in names):
                    continue
                add(kind, [self.cell(kind, who) for who in names])
                if what in (COLD, NOOP, RELEASE):
                    add("  ÷ script", [self.ratio(kind, who, kind, "script") for who in names])
                if what == NOOP:
                    base = kind.replace(NOOP, PING)
                    add("  ÷ its test.ping", [self.ratio(kind, who, base, who) for who in names])
        lines.append("Medians (least–most); ratios of medians, in brackets of the least.")
        return "\n".join(lines)

    def cell(self, what, who):
        """A measure in words."""
        figures = self.figures.get((what, who))
        if not figures:
            return "–"
        if isinstance(figures[0], float):
            middle = statistics.median(figures)
            return f"{middle:.2f} s ({min(figures):.2f}–{max(figures):.2f})"
        return " ".join(map(str, figures))

    def ratio(self, what, who, base, base_who):
        """One median divided by another, in words; in brackets the least ones."""
        parts = (self.middle(what, who), self.middle(base, base_who))
        least = (self.least(what, who), self.least(base, base_who))
        if None in parts or not parts[1]:
            return "–"
        return f"{parts[0] / parts[1]:.2f} ({least[0] / least[1]:.2f})"

    def verdicts(self):
        """What django-formula is to reach, and what it did."""
        lines = []
        for what, base_who, base, aim in AIMS:
            for kind in ("", COST):
                figure = self.middle(what + kind, "django-formula")
                if what == FAILED and not kind and figure is not None:
                    figure = max(self.figures[what, "django-formula"])  # one is too many
                divisor = self.middle(base + kind, base_who) if base else 1
                if figure is None or not divisor:
                    continue
                reached = figure / divisor
                word = "reached" if reached <= aim else "NOT reached"
                of = f" × {base} of {base_who}" if base else ""
                lines.append(f"{what + kind:<28} {reached:6.2f}{of}, aim ≤ {aim}: {word}")
        return "\n".join(lines)


class Benchmark:
    """One run of the benchmark."""

    def __init__(self, entered, repeat, rounds):
        self.entered, self.repeat, self.rounds = entered, repeat, rounds
        self.results = Results()
        self.hosts = {}

    def run(self):
        """Measure everything; hosts of the last cold round serve the other measures."""
        image = images.ensure()
        for number in range(self.repeat):
            for contestant in self.entered:
                host = boot(f"bench-{type(contestant).__name__.lower()}", image=image)
                self.hosts[contestant.name] = host
                self.cold(contestant, host)
                if number < self.repeat - 1:
                    self.hosts.pop(contestant.name).destroy()
        for contestant in self.entered:
            self.counts(contestant)
        for _ in range(self.rounds):
            for contestant in self.entered:
                self.noop(contestant)
        for number in range(1, self.rounds + 1):
            for contestant in self.entered:
                self.release(contestant, number)
        return self.results

    def close(self):
        """Remove the hosts."""
        while self.hosts:
            self.hosts.popitem()[1].destroy()

    def cost(self, what, contestant, run):
        """Enter the processor time that the host has used since a run began."""
        used = measure.processor(self.hosts[contestant.name]) - run.before
        self.results.add(what + COST, contestant.name, used)

    def cold(self, contestant, host):
        """From a bare server to the site's first answer."""
        contestant.put(host)
        run = measure.timed(host, contestant.cold)
        answered = contestant.wait_until_works(host)
        self.results.add(COLD, contestant.name, max(run.ended, answered) - run.began)
        self.cost(COLD, contestant, run)

    def counts(self, contestant):
        """Programs and memory of a no-op; the first one after the cold run is not counted."""
        host = self.hosts[contestant.name]
        measure.timed(host, contestant.noop)
        programs = measure.programs(host, contestant.noop)
        contestant.assert_nothing_done(host)
        self.results.add(PROGRAMS, contestant.name, programs)
        self.results.add(MEMORY, contestant.name, round(measure.memory(host, contestant.noop)))

    def noop(self, contestant):
        """A run with nothing to do, and what it is compared with."""
        host, name = self.hosts[contestant.name], contestant.name
        run = measure.timed(host, contestant.noop)
        self.results.add(NOOP, name, run.seconds)
        self.cost(NOOP, contestant, run)
        contestant.assert_nothing_done(host)
        for what, argv in ((REDO, contestant.redo), (PING, contestant.ping)):
            if argv:
                run = measure.timed(host, argv)
                self.results.add(what, name, run.seconds)
                self.cost(what, contestant, run)

    def release(self, contestant, number):
        """A release of changed code, under polls."""
        host, name = self.hosts[contestant.name], contestant.name
        text = contestant.write_version(host, number)
        with measure.Polls(host, text) as polls:
            run = measure.timed(host, contestant.release)
            polls.wait()
        contestant.assert_works(host, number)
        assert polls.seen, f"{name}: never saw {text!r}, but {polls.last}"
        self.results.add(RELEASE, name, max(run.ended, polls.seen) - run.began)
        self.cost(RELEASE, contestant, run)
        self.results.add(SERVED, name, polls.seen - run.began)
        self.results.add(FAILED, name, polls.failed)


def main(words):
    """Run, print, and return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmark", description=__doc__.split("\n\n")[0])
    parser.add_argument("--repeat", type=int, default=3, help="cold runs of each")
    parser.add_argument("--rounds", type=int, default=5, help="no-ops and releases of each")
    parser.add_argument("--only", default="script,stock,formula", help="who takes part")
    parser.add_argument("--serving", action="store_true", help="also measure what requests cost")
    options = parser.parse_args(words)
    known = dict(zip(("script", "stock", "formula"), contestants.ALL))
    entered = [known[name]() for name in options.only.split(",")]
    benchmark = Benchmark(entered, options.repeat, options.rounds)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # hosts are removed all the same
    try:
        results = benchmark.run()
        print(f"\n{results.table()}\n\n{results.verdicts()}", flush=True)
        host = benchmark.hosts.get(contestants.Formula.name)
        if options.serving and host:
            print(f"\n{serving.report(host)}", flush=True)
        lost = results.figures.get((FAILED, contestants.Formula.name), [])
        assert not any(lost), f"releases of django-formula lost requests: {lost}"
    finally:
        benchmark.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
