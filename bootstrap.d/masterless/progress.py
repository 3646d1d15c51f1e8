"""
What is shown while the highstate runs.

A terminal gets a line for each step that changed or failed, and below them one line that tells what
is being done. Anything else gets plain lines: the same, and one every ten seconds of a long step.
"""

import os
import shutil
import threading
import time

CHANGED, FAILED, UNCHANGED, WOULD = "changed", "failed", "unchanged", "would change"
COLOURS = {CHANGED: "\033[32m", WOULD: "\033[33m", FAILED: "\033[31m"}
PLAIN = "\033[0m"
CLEAR = "\r\033[K"
FRAME = 0.2
STILL = 10


def outcome(result, changes):
    """The outcome in a word, from a state's result and changes."""
    if result is None:
        return WOULD
    if not result:
        return FAILED
    return CHANGED if changes else UNCHANGED


def duration(seconds):
    """Seconds as people read them: ``0.4 s``, ``12 s``, ``3 min 5 s``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def shorten(text, width):
    """Text that fits into ``width`` columns."""
    return text if len(text) <= width else f"{text[: max(width - 3, 0)]}..."


class Progress:
    """
    stream
        Where to write; None writes nothing.
    terminal
        Whether lines can be updated in place.
    detail
        ``quiet``, ``normal`` or ``verbose``.
    test
        Whether nothing is changed: what would be is listed at the end.
    clock, columns
        Functions, for tests.
    """

    def __init__(
        self, stream, terminal, detail="normal", test=False, clock=time.monotonic, columns=None
    ):
        self.stream = None if detail == "quiet" else stream
        self.terminal = terminal
        self.colours = terminal and not os.environ.get("NO_COLOR")
        self.shown = {FAILED} if test else {CHANGED, FAILED}
        if detail == "verbose":
            self.shown = {CHANGED, FAILED, WOULD, UNCHANGED}
        self.clock = clock
        self.columns = columns or (lambda: shutil.get_terminal_size().columns)
        self.total = 0
        self.seen = set()
        self.current = None  # label, time it began, time of the last line about it
        self.doing = ""  # what of it
        self.ended_steps = []  # (count, word, label, seconds) of one label, not yet shown
        self.begun = clock()
        self.lock = threading.RLock()
        self.ended = threading.Event()
        self.thread = None

    # What the highstate tells

    def begin(self, total):
        """The number of steps is known."""
        with self.lock:
            self.total = total

    def step(self, key, label):
        """A step begins. The same key again (a watch, a retry) is not a step of its own."""
        with self.lock:
            if self.ended_steps and self.ended_steps[0][2] != label:
                self.flush()
            self.seen.add(key)
            now = self.clock()
            self.current, self.doing = (label, now, now), ""
            self.tick()

    def tell(self, doing):
        """The step that is under way is at this (str)."""
        with self.lock:
            self.doing = doing

    def done(self, result, changes, seconds):
        """The step has ended."""
        with self.lock:
            label, self.current = (self.current or ("", 0, 0))[0], None
            word = outcome(result, changes)
            if word in self.shown:
                if self.ended_steps and self.ended_steps[0][1:3] != (word, label):
                    self.flush()
                self.ended_steps.append((self.count(), word, label, seconds))

    def flush(self):
        """Show steps that have ended: those of one ID, which a list of names makes, in one line."""
        steps, self.ended_steps = self.ended_steps, []
        if steps:
            count, word, label, _ = steps[-1]
            times = f" ({len(steps)})" if len(steps) > 1 else ""
            took = duration(sum(step[3] for step in steps))
            self.line(f"{count}  {self.paint(word)}  {label}{times}  {took}")

    # Showing it

    def start(self):
        """Show from now on, every moment, what is being done."""
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def stop(self):
        """Show nothing more."""
        self.ended.set()
        if self.thread:
            self.thread.join()
        with self.lock:
            self.flush()
            if self.terminal:
                self.write(CLEAR)

    def _run(self):
        while not self.ended.wait(FRAME):
            with self.lock:
                self.tick()

    def tick(self):
        """Show that time passes."""
        if not self.current:
            return
        label, began, told = self.current
        now = self.clock()
        label = f"{label}: {self.doing}" if self.doing else label
        if self.terminal:
            head = f"  {self.count()}  "
            tail = f"  {duration(round(now - began))}, in all {duration(round(now - self.begun))}"
            width = self.columns() - 1 - len(head) - len(tail)
            self.write(f"{CLEAR}{head}{shorten(label, width)}{tail}")
        elif now - told >= STILL:
            self.current = (self.current[0], began, now)
            self.line(f"{self.count()}  still at it  {label}  {duration(now - began)}")

    def count(self):
        """Which step of how many."""
        total = str(max(self.total, len(self.seen)))
        return f"{len(self.seen):>{len(total)}}/{total}"

    def paint(self, word):
        """The outcome, all of one width, in its colour."""
        text = f"{word:<12}" if word == WOULD else f"{word:<9}"
        return f"{COLOURS[word]}{text}{PLAIN}" if self.colours and word in COLOURS else text

    def line(self, text):
        """A line that stays."""
        self.write(f"{CLEAR if self.terminal else ''}  {text}\n")

    def write(self, text):
        """Write, and go on without a screen when it is gone."""
        if self.stream is None:
            return
        try:
            self.stream.write(text)
            self.stream.flush()
        except (OSError, ValueError):
            self.stream = None
