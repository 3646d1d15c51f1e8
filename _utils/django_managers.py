"""
The process managers of a host as one: new programs go to the one that the project has chosen, and
those that another still runs for it are seen and can be stopped. So a project changes its manager
by an ordinary switch.
"""

import django_mod_wsgi


class Managers:
    """
    A chosen process manager, others, and Apache, which runs what is defined for it.

    chosen, *others, slots, embedded
        Adapters: :class:`django_systemd.Manager`, :class:`django_supervisor_manager.Manager`;
        :class:`django_slots.Manager`; :class:`django_embedded.Manager`.
    """

    def __init__(self, chosen, *others, slots, embedded):
        self._chosen = chosen
        self._others = (*others, slots, embedded)
        self.slots, self.embedded = slots, embedded
        self.kind = chosen.kind

    @property
    def test(self):
        """Whether only is said what would be done."""
        return self._chosen.test

    @test.setter
    def test(self, value):
        self._chosen.test = value
        for other in self._others:
            other.test = True  # one that is not there is no error

    def differs(self, name, definition):
        """Whether a program is not defined as ``definition`` says."""
        return self._of(definition).differs(name, definition)

    def comes_back(self, name, definition):
        """Whether a program that does not run needs no start but that of its manager."""
        manager = self._of(definition)
        return manager is self._chosen and manager.comes_back(name, definition)

    def start(self, name, definition):
        """Define and start a program."""
        self._of(definition).start(name, definition)

    def failure(self, name):
        """Why a program is not running (str), or None when it runs."""
        inside = [each for each in (self.slots, self.embedded) if name in each.programs()]
        return (inside or [self._chosen])[0].failure(name)

    def activate(self, name, definition):
        """Let a program that was started and is healthy serve, where no link makes it serve."""
        if django_mod_wsgi.is_embedded(definition):
            self.embedded.activate(name)

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

    def _of(self, definition):
        if django_mod_wsgi.is_embedded(definition):
            return self.embedded
        return self.slots if django_mod_wsgi.is_spoken(definition) else self._chosen

    def _owner(self, name):
        return next((other for other in self._others if name in other.programs()), self._chosen)
