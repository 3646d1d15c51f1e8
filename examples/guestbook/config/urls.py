from django.conf import settings
from django.conf.urls.static import static
from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("guestbook.urls")),
    path("admin/", admin.site.urls),
]

if settings.TEST_ENDPOINTS:
    urlpatterns += [path("", include("guestbook.diagnostics"))]

# With DEBUG off this adds nothing: the web server hands out uploaded files.
urlpatterns += static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT)
