"""What both load clients do with a WebSocket's frames."""

from __future__ import annotations

from typing import Any

import orjson
import picows


def message_in(transport: picows.WSTransport, frame: picows.WSFrame) -> dict[str, Any] | None:
    """The JSON object that a text frame holds; None for any other frame. Answers a close."""
    if frame.msg_type == picows.WSMsgType.TEXT:
        message: dict[str, Any] = orjson.loads(frame.get_payload_as_memoryview())
        return message
    if frame.msg_type == picows.WSMsgType.CLOSE:
        transport.send_close(frame.get_close_code())
        transport.disconnect()
    return None
