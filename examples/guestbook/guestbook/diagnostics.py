"""Endpoints that help to test a deployment, added only with DJANGO_TEST_ENDPOINTS=1."""

import hashlib
import os
import platform
import pwd
import socket
import sys
import time

import django
from django.conf import settings
from django.http import HttpResponseBadRequest, JsonResponse
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

SLOW_MAX = 30


def user_name():
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


@never_cache
@require_GET
def slow(request):
    """Answer after a while: is a request that is under way finished when the server reloads?"""
    try:
        seconds = float(request.GET.get("seconds", "2"))
    except ValueError:
        return HttpResponseBadRequest("seconds must be a number\n")
    if not 0 <= seconds <= SLOW_MAX:
        return HttpResponseBadRequest(f"seconds must be from 0 to {SLOW_MAX}\n")
    time.sleep(seconds)
    return JsonResponse({"slept": seconds, "release": settings.RELEASE_ID, "pid": os.getpid()})


@csrf_exempt
@never_cache
@require_POST
def echo(request):
    """How many bytes arrived, and their SHA-256."""
    # Read as a stream: bodies of any size that the web server lets through are fine.
    digest, length = hashlib.sha256(), 0
    while chunk := request.read(64 * 1024):
        digest.update(chunk)
        length += len(chunk)
    return JsonResponse({"length": length, "sha256": digest.hexdigest()})


@never_cache
@require_GET
def whoami(request):
    """Which release answers, and how Django sees the request."""
    return JsonResponse(
        {
            "release": settings.RELEASE_ID,
            "release_marker": settings.RELEASE_MARKER,
            "pid": os.getpid(),
            "user": user_name(),
            "hostname": socket.gethostname(),
            "python_prefix": sys.prefix,
            "python_version": platform.python_version(),
            "django_version": django.get_version(),
            "code_directory": str(settings.BASE_DIR),
            "settings_module": os.environ.get("DJANGO_SETTINGS_MODULE", ""),
            "remote_addr": request.META.get("REMOTE_ADDR", ""),
            "forwarded_for": request.headers.get("X-Forwarded-For", ""),
            "forwarded_proto": request.headers.get("X-Forwarded-Proto", ""),
            "scheme": request.scheme,
            "is_secure": request.is_secure(),
            "host": request.get_host(),
        }
    )


urlpatterns = [
    path("slow/", slow),
    path("echo/", echo),
    path("whoami/", whoami),
]
