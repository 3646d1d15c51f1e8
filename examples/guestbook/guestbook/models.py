import uuid
import zlib
from pathlib import PurePosixPath

from django.db import models
from django.utils import timezone


def picture_path(entry, filename):
    """Where an uploaded picture goes. Of its own name, only the extension is kept."""
    suffix = PurePosixPath(filename).suffix.lower()
    return f"pictures/{timezone.now():%Y/%m}/{uuid.uuid4().hex}{suffix}"


class Entry(models.Model):
    name = models.CharField(max_length=60)
    message = models.TextField(max_length=500)
    picture = models.FileField(upload_to=picture_path, blank=True)
    is_spam = models.BooleanField("spam", default=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at", "-pk"]
        verbose_name_plural = "entries"
        indexes = [models.Index(fields=["is_spam", "-created_at"], name="guestbook_visible")]

    def __str__(self):
        return f"{self.name}, {self.created_at:%Y-%m-%d}"

    @property
    def initial(self):
        return self.name[:1].upper()

    @property
    def hue(self):
        """Which of the stylesheet's avatar colours stands in for a picture."""
        return zlib.crc32(self.name.encode()) % 6


class Heartbeat(models.Model):
    """The latest sign of life of a background process, one row for each name."""

    name = models.CharField(max_length=60, unique=True)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    release = models.CharField(max_length=200)
    beats = models.PositiveBigIntegerField(default=0)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()

    class Meta:
        ordering = ["name"]

    def __str__(self):
        return f"{self.name} on {self.host}"
