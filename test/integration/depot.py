"""A small project that takes uploads, and services beside it that stand in for AWS."""

import json

SOURCE = "/srv/src/depot"
MOTO = "/opt/moto"
MOTO_VERSION = "5.2.5"
API = "http://aws.test:5000"
ACCESS_KEY, SECRET_KEY = "AKIADEPOT", "the-depot's-own-secret-key"

FILES = {
    "requirements.txt": "Django==5.2.19\n",
    "manage.py": """\
import os, sys
from django.core.management import execute_from_command_line
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "depot.settings")
execute_from_command_line(sys.argv)
""",
    "depot/__init__.py": "",
    "depot/wsgi.py": """\
import os
from django.core.wsgi import get_wsgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "depot.settings")
application = get_wsgi_application()
""",
    "depot/settings.py": """\
import json, os
from pathlib import Path

SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = os.environ["ALLOWED_HOSTS"].split(",")
ROOT_URLCONF = "depot.urls"
INSTALLED_APPS = [f"django.contrib.{name}" for name in
                  ("contenttypes", "auth", "sessions", "staticfiles")]
MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware",
              "django.contrib.auth.middleware.AuthenticationMiddleware"]
if "WHITENOISE" in os.environ:
    MIDDLEWARE.insert(0, "whitenoise.middleware.WhiteNoiseMiddleware")
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3",
                         "NAME": os.environ["DATABASE_NAME"]}}
STATIC_URL, STATIC_ROOT = os.environ["STATIC_URL"], os.environ["STATIC_ROOT"]
STATICFILES_DIRS = [Path(__file__).parent.parent / "assets"]
MEDIA_URL, MEDIA_ROOT = os.environ["MEDIA_URL"], os.environ["MEDIA_ROOT"]
STORAGES = {
    "default": json.loads(os.environ["MEDIA_STORAGE"]),
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
}
""",
    "depot/urls.py": """\
import os
from urllib.parse import quote

from django.contrib.auth import authenticate, login
from django.core.files.storage import FileSystemStorage, default_storage
from django.http import HttpResponse, HttpResponseNotFound, JsonResponse
from django.templatetags.static import static
from django.urls import path


def home(request):
    return JsonResponse({"style": static("site.css"), "version": 1})


def upload(request):
    file = request.FILES["file"]
    name = default_storage.save(file.name, file)
    return JsonResponse({"name": name, "url": default_storage.url(name)})


def enter(request):
    user = authenticate(request, username=request.POST["name"], password=request.POST["password"])
    login(request, user)
    return HttpResponse("welcome")


def keep(request):
    file = request.FILES["file"]
    store = FileSystemStorage(location=os.environ["PRIVATE_MEDIA_ROOT"])
    return HttpResponse(store.save(f"{request.user.username}/{file.name}", file))


def hand_out(request, owner, name):
    if request.user.username != owner:
        return HttpResponseNotFound()
    response = HttpResponse()
    del response["Content-Type"]
    response["X-Accel-Redirect"] = os.environ["PRIVATE_MEDIA_URL"] + quote(f"{owner}/{name}")
    return response


urlpatterns = [
    path("", home),
    path("upload/", upload),
    path("enter/", enter),
    path("keep/", keep),
    path("kept/<owner>/<path:name>", hand_out),
]
""",
    "assets/site.css": "@font-face { font-family: d; src: url(letter.woff2) }\n",
    "assets/letter.woff2": "letters",
    "assets/robots.txt": "User-agent: *\n",
}


def put_source(server):
    """Put the project on the host."""
    for name, text in FILES.items():
        write(server, name, text)


def write(server, name, text):
    """Write a file of the source."""
    path = f"{SOURCE}/{name}"
    server.run(["mkdir", "-p", path.rpartition("/")[0]])
    server.host.write(path, text)


def install_emulator(server, packages=f"'moto[s3,cloudfront,server]=={MOTO_VERSION}'"):
    """Install moto, which answers as S3 and CloudFront do, and as others need no more packages."""
    uv = "/opt/django-formula/uv/bin/uv"
    server.run(f"{uv} venv -q --system-certs {MOTO}")
    server.run(f"{uv} pip install -q --system-certs --python {MOTO}/bin/python {packages}")


def start_emulator(server):
    """Start it, with nothing in it, under the name that the pillar has for AWS."""
    name_emulator(server, "127.0.0.1")
    server.run(
        ["systemd-run", "--quiet", "--unit=moto", f"--working-directory={MOTO}"]
        + ["--setenv=S3_IGNORE_SUBDOMAIN_BUCKETNAME=true"]  # aws.test is no bucket
        + [f"{MOTO}/bin/moto_server", "-H", "127.0.0.1", "-p", "5000"]
    )
    listens = "ss -Hltn sport = :5000 | grep -q ."
    server.run(f"for n in $(seq 300); do {listens} && exit; sleep 0.2; done; exit 1")


def name_emulator(server, address):
    """Let the host take the emulator for this address."""
    server.run(f"sed -i '/ aws.test$/d' /etc/hosts && echo {address} aws.test >> /etc/hosts")


def demand_keys(server, demanded):
    """Let the emulator refuse keys that it has not made, which are all, or take any."""
    program = f"""\
from urllib.request import Request, urlopen
url, plain = "{API}/moto-api/reset-auth", {{"Content-Type": "text/plain"}}
urlopen(Request(url, {b"0" if demanded else b"inf"!r}, plain), timeout=30)
"""
    server.run([f"{MOTO}/bin/python", "-"], input=program)


def at_emulator(server, script):
    """
    What a Python script at the emulator leaves in ``answer``; ``client(service)`` is there for it.
    """
    program = f"""\
import boto3, json
def client(service):
    return boto3.client(service, endpoint_url={API!r}, region_name="us-east-1",
        aws_access_key_id={ACCESS_KEY!r}, aws_secret_access_key={SECRET_KEY!r})
{script}
print(json.dumps(answer))
"""
    return json.loads(server.run([f"{MOTO}/bin/python", "-"], input=program).stdout)
