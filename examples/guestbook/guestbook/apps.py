from django.apps import AppConfig


class GuestbookConfig(AppConfig):
    name = "guestbook"
    verbose_name = "Guestbook"

    def ready(self):
        from guestbook import signals  # noqa: F401
