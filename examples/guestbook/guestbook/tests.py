import hashlib
import os
import re
import shutil
import tempfile
from datetime import timedelta
from io import StringIO
from pathlib import Path
from unittest import mock

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.staticfiles import finders
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client, SimpleTestCase, TestCase, override_settings
from django.utils import timezone

from config import env
from guestbook.models import Entry, Heartbeat

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


class GuestbookTestCase(TestCase):
    """Keeps uploads, the cache and the static files of a test away from everything else."""

    def setUp(self):
        self.media = Path(tempfile.mkdtemp(prefix="guestbook-test-"))
        self.addCleanup(shutil.rmtree, self.media, ignore_errors=True)
        overrides = override_settings(
            MEDIA_ROOT=str(self.media),
            CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
            STORAGES={
                **settings.STORAGES,
                "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
            },
        )
        overrides.enable()
        self.addCleanup(overrides.disable)
        cache.clear()
        self.addCleanup(cache.clear)

    def sign(self, **data):
        with self.captureOnCommitCallbacks(execute=True):
            return self.client.post("/", {"name": "Ada", "message": "Hello there", **data})


class PageTests(GuestbookTestCase):
    def test_empty_book(self):
        response = self.client.get("/")
        self.assertContains(response, "Nobody has signed yet")
        self.assertContains(response, settings.RELEASE_ID)
        self.assertContains(response, str(os.getpid()))

    def test_signing(self):
        self.assertContains(self.client.get("/"), '<span id="entry-count">0</span>', html=True)
        response = self.sign()
        self.assertRedirects(response, "/#book", fetch_redirect_response=False)
        response = self.client.get("/")
        self.assertContains(response, "Hello there")
        self.assertContains(response, "Thank you, Ada.")
        self.assertContains(response, '<span id="entry-count">1</span>', html=True)

    def test_the_count_comes_from_the_cache(self):
        self.client.get("/")
        Entry.objects.bulk_create([Entry(name="Ada", message="Quiet")])  # sends no signal
        response = self.client.get("/")
        self.assertContains(response, "Quiet")
        self.assertContains(response, '<span id="entry-count">0</span>', html=True)

    def test_hits_are_counted(self):
        self.client.get("/")
        self.assertContains(self.client.get("/"), '<dd id="hits">2</dd>', html=True)

    def test_a_form_token_is_required(self):
        client = Client(enforce_csrf_checks=True)
        data = {"name": "Ada", "message": "Hello"}
        self.assertEqual(client.post("/", data).status_code, 403)
        token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', client.get("/").content.decode())
        data["csrfmiddlewaretoken"] = token.group(1)
        self.assertEqual(client.post("/", data).status_code, 302)

    def test_missing_message(self):
        response = self.sign(message="")
        self.assertContains(response, "This field is required.")
        self.assertFalse(Entry.objects.exists())

    def test_messages_are_escaped(self):
        self.sign(message="<script>alert(1)</script>")
        self.assertNotContains(self.client.get("/"), "<script>alert")

    def test_a_filled_trap_is_spam(self):
        self.sign(message="Buy now", homepage="https://spam.example")
        self.assertTrue(Entry.objects.get().is_spam)
        self.assertNotContains(self.client.get("/"), "Buy now")

    def test_pages(self):
        for number in range(11):
            Entry.objects.create(name="Ada", message=f"Message no. {number};")
        first, second = self.client.get("/"), self.client.get("/?page=2")
        self.assertContains(first, "?page=2")
        self.assertNotContains(first, "Message no. 0;")
        self.assertContains(second, "Message no. 0;")
        self.assertNotContains(second, "?page=3")
        for wrong in ("3", "0", "-1", "x", "9" * 30):
            self.assertEqual(self.client.get("/", {"page": wrong}).status_code, 404)

    @override_settings(GUESTBOOK_SERVER_PANEL=False)
    def test_the_panel_can_be_hidden(self):
        self.assertNotContains(self.client.get("/"), "This server")

    def test_static_files_exist(self):
        for name in ("favicon.svg", "guestbook.css", "guestbook.js"):
            self.assertTrue(finders.find(f"guestbook/{name}"))
        self.assertRedirects(
            self.client.get("/favicon.ico"),
            f"{settings.STATIC_URL}guestbook/favicon.svg",
            fetch_redirect_response=False,
        )

    def test_without_a_cache_the_page_still_works(self):
        self.sign()
        with (
            mock.patch("guestbook.counters.cache") as broken,
            self.assertLogs("guestbook.counters", "WARNING"),
        ):
            broken.get.side_effect = broken.add.side_effect = ConnectionError
            response = self.client.get("/")
        self.assertContains(response, "no answer")
        self.assertContains(response, '<span id="entry-count">1</span>', html=True)


class PictureTests(GuestbookTestCase):
    def upload(self, name, content):
        return self.sign(picture=SimpleUploadedFile(name, content))

    def test_upload(self):
        self.assertEqual(self.upload("Me.PNG", PNG).status_code, 302)
        entry = Entry.objects.get()
        self.assertRegex(entry.picture.name, r"^pictures/\d{4}/\d\d/[0-9a-f]{32}\.png$")
        self.assertEqual((self.media / entry.picture.name).read_bytes(), PNG)
        self.assertContains(self.client.get("/"), entry.picture.url)

    def test_refused(self):
        cases = {
            "page.html": b"<script>alert(1)</script>",
            "page.png": b"<script>alert(1)</script>",
            "picture.html": PNG,
            "picture.jpg": PNG,
            "empty.png": b"",
            "large.png": PNG + bytes(settings.GUESTBOOK_PICTURE_MAX_BYTES),
        }
        for name, content in cases.items():
            with self.subTest(name):
                response = self.upload(name, content)
                self.assertEqual(response.status_code, 200)
                self.assertTrue(response.context["form"].errors["picture"])
        self.assertFalse(Entry.objects.exists())
        self.assertEqual(list(self.media.rglob("*.*")), [])

    def test_the_file_goes_with_its_entry(self):
        self.upload("me.png", PNG)
        with self.captureOnCommitCallbacks(execute=True):
            Entry.objects.get().delete()
        self.assertEqual(list(self.media.rglob("*.*")), [])


class HealthTests(GuestbookTestCase):
    def test_healthy(self):
        response = self.client.get("/healthz/")
        self.assertEqual(response.status_code, 200)
        body = response.json()
        self.assertEqual(body["status"], "ok")
        self.assertTrue(body["checks"]["database"]["ok"])
        self.assertTrue(body["checks"]["cache"]["ok"])
        self.assertIn("no-store", response["Cache-Control"])

    def test_failing(self):
        for name in ("database", "cache"):
            with (
                self.subTest(name),
                mock.patch(f"guestbook.server.check_{name}", side_effect=OSError("secret")),
                self.assertLogs("guestbook.views", "ERROR"),
            ):
                response = self.client.get("/healthz/")
                self.assertEqual(response.status_code, 503)
                self.assertFalse(response.json()["checks"][name]["ok"])
                self.assertNotContains(response, "secret", status_code=503)


class AdminTests(GuestbookTestCase):
    def test_login_and_flag(self):
        get_user_model().objects.create_superuser("admin", password="a-long-password")
        entry = Entry.objects.create(name="Ada", message="Hello")
        response = self.client.post(
            "/admin/login/?next=/admin/", {"username": "admin", "password": "a-long-password"}
        )
        self.assertRedirects(response, "/admin/")
        self.client.post(
            "/admin/guestbook/entry/", {"action": "flag_as_spam", "_selected_action": [entry.pk]}
        )
        entry.refresh_from_db()
        self.assertTrue(entry.is_spam)
        self.assertEqual(self.client.get("/admin/guestbook/heartbeat/").status_code, 200)
        page = f"/admin/guestbook/entry/{entry.pk}/change/"
        self.assertEqual(self.client.get(page).status_code, 200)


class CommandTests(GuestbookTestCase):
    def test_heartbeat(self):
        for _ in range(2):
            call_command("heartbeat", count=2, interval=0.01, stdout=StringIO())
        heartbeat = Heartbeat.objects.get()
        self.assertEqual((heartbeat.name, heartbeat.beats), ("heartbeat", 4))
        self.assertEqual(heartbeat.pid, os.getpid())
        self.assertContains(self.client.get("/"), "beating, 4 so far")

    def test_a_silent_heartbeat_shows(self):
        call_command("heartbeat", count=1, interval=0.01, stdout=StringIO())
        Heartbeat.objects.update(seen_at=timezone.now() - timedelta(hours=2))
        self.assertContains(self.client.get("/"), "silent for")

    def test_purge(self):
        old = timezone.now() - timedelta(days=8)
        Entry.objects.create(name="Kept", message="old", created_at=old)
        Entry.objects.create(name="Kept", message="new spam", is_spam=True)
        Entry.objects.create(name="Gone", message="old spam", is_spam=True, created_at=old)
        out = StringIO()
        call_command("purge_entries", days=7, dry_run=True, stdout=out)
        self.assertIn("entries to delete: 1", out.getvalue())
        self.assertEqual(Entry.objects.count(), 3)
        call_command("purge_entries", days=7, stdout=out)
        self.assertIn("entries deleted: 1", out.getvalue())
        self.assertEqual(set(Entry.objects.values_list("name", flat=True)), {"Kept"})
        with self.assertRaises(CommandError):
            call_command("purge_entries", days=-1)

    def test_no_migration_is_missing(self):
        call_command("makemigrations", check=True, dry_run=True, stdout=StringIO())


class DiagnosticsTests(GuestbookTestCase):
    def test_off_by_default(self):
        if settings.TEST_ENDPOINTS:
            self.skipTest("DJANGO_TEST_ENDPOINTS is set")
        for path in ("/slow/", "/echo/", "/whoami/"):
            self.assertEqual(self.client.get(path).status_code, 404)

    @override_settings(ROOT_URLCONF="guestbook.diagnostics")
    def test_answers(self):
        client = Client(enforce_csrf_checks=True)
        self.assertEqual(client.get("/slow/?seconds=0").json()["slept"], 0)
        for wrong in ("31", "-1", "nan", "x"):
            self.assertEqual(client.get("/slow/", {"seconds": wrong}).status_code, 400)
        content = os.urandom(200_000)
        response = client.post("/echo/", content, content_type="application/octet-stream")
        expected = {"length": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        self.assertEqual(response.json(), expected)
        self.assertEqual(client.get("/echo/").status_code, 405)
        body = client.get("/whoami/").json()
        self.assertEqual(body["code_directory"], str(settings.BASE_DIR))
        self.assertEqual((body["scheme"], body["host"]), ("http", "testserver"))


class EnvironmentTests(SimpleTestCase):
    def test_values(self):
        values = {"ON": "Yes", "OFF": "0", "LIST": " a, b,,", "URL": "/static"}
        with mock.patch.dict(os.environ, values):
            self.assertTrue(env.flag("ON"))
            self.assertFalse(env.flag("OFF"))
            self.assertEqual(env.words("LIST"), ["a", "b"])
            self.assertEqual(env.url_path("URL", "/"), "/static/")
            with self.assertRaises(ImproperlyConfigured):
                env.flag("LIST")
            with self.assertRaises(ImproperlyConfigured):
                env.text("GUESTBOOK_NO_SUCH_VARIABLE")

    def test_cache(self):
        def backend(url):
            with mock.patch.dict(os.environ, {"SOME_CACHE": url}):
                return env.cache("SOME_CACHE", "x")["BACKEND"].rpartition(".")[2]

        self.assertEqual(backend(""), "LocMemCache")
        self.assertEqual(backend("redis://:secret@localhost:6379/1"), "RedisCache")
        self.assertEqual(backend("pymemcache:///run/a.sock"), "PyMemcacheCache")
        with self.assertRaises(ImproperlyConfigured) as caught:
            backend("memcache://:secret@localhost")
        self.assertNotIn("secret", str(caught.exception))
