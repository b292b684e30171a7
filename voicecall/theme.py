"""How the admin looks, and what its navigation offers to whom."""

from __future__ import annotations

from django.http import HttpRequest
from django.urls import reverse_lazy


def _section(title: str, *items: tuple[str, str, str, bool]) -> dict[str, object]:
    return {"title": title, "items": [_link(*item) for item in items]}


def _link(title: str, icon: str, model: str, is_main: bool) -> dict[str, object]:
    app, name = model.split(".")

    def permission(request: HttpRequest) -> bool:
        return request.user.has_perm(f"{app}.view_{name}")

    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app}_{name}_changelist"),
        "permission": permission,
        # Staff's own pages show the main sections only.
        "in_staff_nav": is_main,
    }


def unfold(static_url: str) -> dict[str, object]:
    """The settings of the admin's theme."""
    return {
        "SITE_TITLE": "voicecall",
        "SITE_HEADER": "voicecall",
        "SITE_SYMBOL": "graphic_eq",
        "SITE_FAVICONS": [
            {"rel": "icon", "type": "image/svg+xml", "href": f"{static_url}calls/icon.svg"}
        ],
        # The admin is the site: there is no other to return to.
        "SITE_URL": None,
        "SHOW_VIEW_ON_SITE": False,
        "DASHBOARD_CALLBACK": "calls.home.add_to_index",
        "BORDER_RADIUS": "8px",
        "COLORS": {
            # White on 600 and 600 on white both keep a contrast of 5:1.
            "primary": {
                "50": "#eff6ff",
                "100": "#dbeafe",
                "200": "#bfdbfe",
                "300": "#93c5fd",
                "400": "#60a5fa",
                "500": "#3b82f6",
                "600": "#2563eb",
                "700": "#1d4ed8",
                "800": "#1e40af",
                "900": "#1e3a8a",
                "950": "#172554",
            },
        },
        "SIDEBAR": {
            "navigation": [
                _section(
                    "Calling",
                    ("Calls", "call", "calls.call", True),
                    ("Recipients", "group", "calls.recipient", True),
                    ("Agents", "support_agent", "calls.agent", True),
                    ("Recordings", "graphic_eq", "recordings.recording", False),
                ),
                _section(
                    "Rules",
                    ("Do not call", "phone_disabled", "calls.donotcall", False),
                    ("Dialling pauses", "pause_circle", "calls.dialingpause", False),
                    ("Prices", "payments", "calls.price", False),
                ),
                _section(
                    "Administration",
                    ("Stray callbacks", "report", "calls.quarantinedevent", False),
                    ("Users", "person", "auth.user", False),
                    ("Groups", "groups", "auth.group", False),
                ),
            ]
        },
    }
