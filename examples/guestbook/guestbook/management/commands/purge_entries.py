from datetime import timedelta

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from guestbook.models import Entry


class Command(BaseCommand):
    help = "Delete entries flagged as spam, with their pictures, once they are old enough."

    def add_arguments(self, parser):
        parser.add_argument("--days", type=int, default=30, help="minimum age (default: 30)")
        parser.add_argument("--dry-run", action="store_true", help="only say what would go")

    def handle(self, *, days, dry_run, **options):
        if not 0 <= days <= 36_500:
            raise CommandError("--days must be from 0 to 36500.")
        limit = timezone.now() - timedelta(days=days)
        entries = Entry.objects.filter(is_spam=True, created_at__lte=limit)
        if dry_run:
            self.stdout.write(f"entries to delete: {entries.count()}")
            return
        _, deleted = entries.delete()
        self.stdout.write(f"entries deleted: {deleted.get(Entry._meta.label, 0)}")
