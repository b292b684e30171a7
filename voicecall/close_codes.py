"""Lets Daphne close a WebSocket with the code that tells what is wrong, such as 1008.

Daphne hands the code to Autobahn's `sendClose`, which takes 1000 and 3000-4999 only and raises for
every other: the peer would see no close frame at all. RFC 6455, section 7.4.1, gives 1008 and 1011
to servers for just this.
"""

from __future__ import annotations

from daphne.ws_protocol import WebSocketProtocol

NORMAL = 1000


def _server_close(self: WebSocketProtocol, code: int | None = None) -> None:
    if self.state == self.STATE_OPEN:
        self.sendCloseFrame(code=NORMAL if code is None else code)


def allow_all_close_codes() -> None:
    """Once per process, before the first socket; of no effect under another server."""
    WebSocketProtocol.serverClose = _server_close
