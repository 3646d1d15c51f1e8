"""
The process managers of a host as one: new programs go to the one that the project has chosen, and
those that another still runs for it are seen and can be stopped. So a project changes its manager
by an ordinary switch.
"""


class Managers:
    """
    A chosen process manager and others.

    chosen, *others
        Adapters: :class:`django_systemd.Manager`, :class:`django_supervisor_manager.Manager`.
    """

    def __init__(self, chosen, *others):
        self._chosen = chosen
        self._others = others
        self.kind = chosen.kind
        # Named here for what only the chosen one does.
        self.differs, self.start, self.failure = chosen.differs, chosen.start, chosen.failure

    @property
    def test(self):
        """Whether only is said what would be done."""
        return self._chosen.test

    @test.setter
    def test(self, value):
        self._chosen.test = value
        for other in self._others:
            other.test = True  # one that is not there is no error

    def programs(self):
        """Programs of the project in all managers: ``{name: {running, state, pid, leaving}}``."""
        found = {}
        for manager in (*self._others, self._chosen):
            found.update(manager.programs())
        return found

    def stop(self, name, timeout):
        """Stop a program, waiting up to ``timeout`` seconds, and forget it."""
        self._owner(name).stop(name, timeout)

    def dismiss(self, name):
        """Ask a program to end, and not to come back, without waiting for it."""
        self._owner(name).dismiss(name)

    def discard(self, name):
        """End a program that never served, at once, and forget it."""
        self._owner(name).discard(name)

    def _owner(self, name):
        return next((other for other in self._others if name in other.programs()), self._chosen)
