import logging
import os

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponseRedirect, JsonResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from guestbook import server
from guestbook.counters import count_entries, count_hit, visible_entries
from guestbook.forms import EntryForm

logger = logging.getLogger(__name__)

PAGE_SIZE = 10


def page_number(request):
    try:
        number = int(request.GET.get("page", "1"))
    except ValueError:
        raise Http404("No such page.") from None
    if not 1 <= number <= 10_000:
        raise Http404("No such page.")
    return number


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def index(request):
    number = page_number(request)
    if request.method == "POST":
        form = EntryForm(request.POST, request.FILES)
        if form.is_valid():
            entry = form.save()
            messages.success(request, f"Thank you, {entry.name}. Your message is in the book.")
            return HttpResponseRedirect(reverse("guestbook:index") + "#book")
    else:
        form = EntryForm()

    # One entry more than fits tells whether there is another page.
    start = (number - 1) * PAGE_SIZE
    entries = list(visible_entries()[start : start + PAGE_SIZE + 1])
    if not entries and number > 1:
        raise Http404("No such page.")

    context = {
        "form": form,
        "entries": entries[:PAGE_SIZE],
        "count": count_entries(),
        "newer": number - 1,
        "older": number + 1 if len(entries) > PAGE_SIZE else None,
        "hits": count_hit(),
        "server": server.describe() if settings.GUESTBOOK_SERVER_PANEL else None,
    }
    return render(request, "guestbook/index.html", context)


@never_cache
@require_safe
def healthz(request):
    ok, checks = server.health()
    if not ok:
        failed = ", ".join(name for name, check in checks.items() if not check["ok"])
        logger.error("Health check failed: %s.", failed)
    body = {
        "status": "ok" if ok else "failing",
        "checks": checks,
        "release": settings.RELEASE_ID,
        "pid": os.getpid(),
    }
    return JsonResponse(body, status=200 if ok else 503)


@require_safe
def favicon(request):
    return redirect(static("guestbook/favicon.svg"))
