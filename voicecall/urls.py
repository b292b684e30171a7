"""Every HTTP address of the product, by the app that answers it."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    # Browsers ask for it of their own accord where a page names no icon.
    path("favicon.ico", RedirectView.as_view(url=f"{settings.STATIC_URL}calls/icon.svg")),
    path("", include("calls.urls")),
    path("", include("realtime.urls")),
    path("", include("recordings.urls")),
    path(f"{settings.ADMIN_PATH}/", admin.site.urls),
]
