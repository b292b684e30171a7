"""The ASGI application that Daphne serves: pages, webhooks and both kinds of WebSocket."""

from __future__ import annotations

import os

from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, Scope
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voicecall.settings")
http_application = get_asgi_application()

# Their modules need the app registry that the line above fills.
from calls.live import CallPageConsumer  # noqa: E402
from realtime.consumers import MediaStreamConsumer  # noqa: E402
from realtime.journal import journal  # noqa: E402
from voicecall.close_codes import allow_all_close_codes  # noqa: E402

allow_all_close_codes()
from voicecall.start import refuse_misfits  # noqa: E402

refuse_misfits()

_doors = ProtocolTypeRouter(
    {
        "http": http_application,
        "websocket": URLRouter(
            [
                # Twilio authenticates by signature: no session, no origin.
                path("api/twilio/_ws/stream", MediaStreamConsumer.as_asgi()),
                path(
                    "ws/calls/<uuid:call_id>",
                    AllowedHostsOriginValidator(AuthMiddlewareStack(CallPageConsumer.as_asgi())),
                ),
            ]
        ),
    }
)


async def application(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Every door of the process.

    Daphne tells of no start. So the first knock, a health check as a rule, starts the journal,
    which brings in what an earlier process left on disk; nobody waits for that.
    """
    journal()
    await _doors(scope, receive, send)
