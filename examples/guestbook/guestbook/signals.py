from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from guestbook.counters import forget_entries
from guestbook.models import Entry


@receiver([post_save, post_delete], sender=Entry)
def entries_changed(**kwargs):
    transaction.on_commit(forget_entries)


@receiver(post_delete, sender=Entry)
def remove_picture(instance, **kwargs):
    if instance.picture:
        storage, name = instance.picture.storage, instance.picture.name
        transaction.on_commit(lambda: storage.delete(name))
