import os
import signal
import socket
import time

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseFailure
from django.db import close_old_connections, connection, transaction
from django.db.models import F
from django.utils import timezone

from guestbook.models import Heartbeat


class Command(BaseCommand):
    help = "Keep running and record a sign of life every few seconds, until SIGTERM or SIGINT."

    def add_arguments(self, parser):
        parser.add_argument("--interval", type=float, default=10, help="seconds (default: 10)")
        parser.add_argument("--name", default="heartbeat", help="name of this process")
        parser.add_argument("--count", type=int, help="stop after so many beats")

    def handle(self, *, interval, name, count, verbosity, **options):
        if interval <= 0:
            raise CommandError("--interval must be more than 0.")
        self.stopping = False
        previous = {
            number: signal.signal(number, self.stop) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            self.run(interval, name, count, verbosity)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def stop(self, number, frame):
        self.stopping = True

    def run(self, interval, name, count, verbosity):
        self.say(f"started, pid {os.getpid()}, release {settings.RELEASE_ID}")
        started_at, done = timezone.now(), 0
        while not self.stopping:
            try:
                if not connection.in_atomic_block:  # a test's transaction keeps its connection
                    close_old_connections()
                seen_at = self.beat(name, started_at)
            except DatabaseFailure as error:
                # The database may be restarting: try again at the next beat.
                connection.close()
                self.stderr.write(f"not recorded: {type(error).__name__}")
            else:
                if verbosity > 1:
                    self.say(f"{seen_at:%Y-%m-%dT%H:%M:%SZ}")
            done += 1
            if count and done >= count:
                break
            self.sleep(interval)
        self.say(f"stopped after {done} beats")

    def beat(self, name, started_at):
        seen_at = timezone.now()
        values = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "release": settings.RELEASE_ID,
            "started_at": started_at,
            "seen_at": seen_at,
        }
        with transaction.atomic():
            Heartbeat.objects.get_or_create(name=name, defaults=values)
            Heartbeat.objects.filter(name=name).update(beats=F("beats") + 1, **values)
        return seen_at

    def sleep(self, seconds):
        """Sleep in short steps: a signal is noticed at once, whatever the interval."""
        end = time.monotonic() + seconds
        while not self.stopping and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))

    def say(self, line):
        self.stdout.write(line)
        self.stdout.flush()
