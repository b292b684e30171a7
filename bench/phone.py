"""A phone network: opens Media Streams at the server under test as Twilio does, many at a time.

Frames leave every 20 ms by a clock that does not drift; what arrives is played in real time, marks
come back when the audio before them was played, and a clear empties the queue.

Source: Twilio, "Media Streams - WebSocket Messages".
"""

from __future__ import annotations

import asyncio
import binascii
import hashlib
import sys
from collections import deque
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import picows

from bench import records, script
from bench.frames import message_in
from bench.orders import now, orders, run, say
from bench.tickets import Ticket

CONNECT_S = 10.0
CLOSE_S = 5.0
_TEXT = picows.WSMsgType.TEXT
# A line's frames leave in the slot of its own, so that the calls spread over the 20 ms.
_SLOTS = script.FRAME_MS


class Line(picows.WSListener):
    """One call."""

    def __init__(self, ticket: Ticket, pulses: frozenset[int]) -> None:
        self.call = records.PhoneCall(ticket.name)
        self.is_open = False
        self._ticket = ticket
        self._pulses = pulses
        self._transport: picows.WSTransport | None = None
        self._sequence = 0
        self._listener = script.Listener(script.PCMU, quiet_ms=script.HEAD_MS * 2)
        self._marks: deque[tuple[float, str]] = deque()
        self._played_until = 0.0
        self._is_hanging_up = False
        digest = hashlib.md5(ticket.call_sid.encode(), usedforsecurity=False).hexdigest()
        self._stream_sid = f"MZ{digest}"

    # -- the socket ------------------------------------------------------------------------------
    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """The handshake was accepted: `connected` and `start` follow at once."""
        self._transport = transport
        self._send({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        start = {
            "streamSid": self._stream_sid,
            "accountSid": self._ticket.account_sid,
            "callSid": self._ticket.call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": self._ticket.parameters,
        }
        self._sequence = 1
        self._send({"event": "start", **self._head(), "start": start})
        self.call.started_at = now()
        self.is_open = True

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """The server says something."""
        at = now()
        message = message_in(transport, frame)
        if message is None:
            return
        event = message["event"]
        if event == "media":
            self._play(binascii.a2b_base64(message["media"]["payload"]), at)
        elif event == "mark":
            self._marks.append((max(self._played_until, at), message["mark"]["name"]))
        elif event == "clear":
            self.call.cleared_at.append(at)
            self._played_until = at
            self._return_marks(float("inf"))
        else:
            self.call.faults.append(f"unknown event {event}")

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        """The socket is gone."""
        self.is_open = False
        if not self._is_hanging_up:
            self.call.faults.append("the server ended the stream")

    # -- audio -----------------------------------------------------------------------------------
    def _play(self, ulaw: bytes, at: float) -> None:
        self._played_until = max(self._played_until, at) + len(ulaw) / 8000
        self._listener.hear(ulaw)
        self.call.media_at.append(at)
        self.call.media_bytes.append(self._listener.position)

    def send_frame(self, at: float) -> None:
        """The next 20 ms of the person, and the receipts that have come due."""
        if not self.is_open or self._transport is None:
            return
        if self._marks:
            self._return_marks(at)
        index = len(self.call.sent_at)
        is_loud = index in self._pulses or index - 1 in self._pulses
        self._sequence += 1
        payload = script.PULSE_FRAME if is_loud else script.SILENT_FRAME
        text = (
            f'{{"event":"media","sequenceNumber":"{self._sequence}",'
            f'"streamSid":"{self._stream_sid}",'
            f'"media":{{"track":"inbound","chunk":"{index + 1}",'
            f'"timestamp":"{index * script.FRAME_MS}","payload":"{payload}"}}}}'
        )
        self.call.sent_at.append(now())
        self._transport.send(_TEXT, text.encode())

    def _return_marks(self, at: float) -> None:
        while self._marks and self._marks[0][0] <= at:
            _, name = self._marks.popleft()
            self._sequence += 1
            self._send({"event": "mark", **self._head(), "mark": {"name": name}})

    # -- the end ---------------------------------------------------------------------------------
    async def hang_up(self) -> None:
        """The person puts the phone down."""
        if not self.is_open or self._transport is None:
            return
        self._is_hanging_up = True
        self.is_open = False
        self._sequence += 1
        ids = {"accountSid": self._ticket.account_sid, "callSid": self._ticket.call_sid}
        self._send({"event": "stop", **self._head(), "stop": ids})
        self._transport.send_close(picows.WSCloseCode.OK)
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._transport.wait_disconnected()
        except TimeoutError:
            self.call.faults.append("the server did not close the stream")
            self._transport.disconnect()

    def finish(self) -> records.PhoneCall:
        """What was written down."""
        self.call.heads = self._listener.onsets
        return self.call

    def _head(self) -> dict[str, str]:
        return {"sequenceNumber": str(self._sequence), "streamSid": self._stream_sid}

    def _send(self, message: dict[str, Any]) -> None:
        if self._transport is not None:
            self._transport.send(_TEXT, orjson.dumps(message))


class Network:
    """All lines, and the clock that drives them."""

    def __init__(self, tickets: list[Ticket], *, longest_s: float) -> None:
        frames = int(longest_s * 1000 / script.FRAME_MS)
        pulses = frozenset(script.pulse_frames(frames))
        self.lines = [Line(ticket, pulses) for ticket in tickets]
        self.lateness = records.Lateness()

    async def call(self, line: Line, ticket: Ticket) -> None:
        """Open one stream."""
        parts = urlsplit(ticket.url)
        try:
            async with asyncio.timeout(CONNECT_S):
                await picows.ws_connect(
                    lambda: line,
                    ticket.url,
                    extra_headers=ticket.headers(),
                    # Twilio sends no Origin and offers no compression.
                    logger_name="phone",
                    max_frame_size=1 << 20,
                )
        except (OSError, TimeoutError, picows.WSError) as exc:
            line.call.faults.append(f"no stream at {parts.netloc}: {exc!r}"[:200])

    async def tick(self) -> None:
        """Send every line's frame in its millisecond of each 20."""
        start = now()
        slots = [self.lines[first::_SLOTS] for first in range(_SLOTS)]
        step = 0
        while True:
            due = start + step / 1000
            wait = due - now()
            if wait > 0:
                await asyncio.sleep(wait)
            at = now()
            lines = slots[step % _SLOTS]
            if lines:
                self.lateness.samples.append(at - due)
            for line in lines:
                line.send_frame(at)
            step += 1


async def main(orders_fd: int, config: dict[str, Any]) -> None:
    """Warm up, call everybody, talk until told to stop, write the records."""
    tickets = [Ticket(**ticket) for ticket in config["tickets"]]
    network = Network(tickets, longest_s=config["longest_s"])
    clock = asyncio.create_task(network.tick())
    warm_up, *others = list(zip(network.lines, tickets, strict=True))
    async with asyncio.timeout(config["longest_s"]):
        async for order in orders(orders_fd):
            if order == "warm up":
                await network.call(*warm_up)
                await asyncio.sleep(config["warm_up_s"])
                await warm_up[0].hang_up()
                say("warm")
            elif order == "call":
                network.lateness.samples.clear()
                await _call_all(network, others, config["calls_per_s"])
                say("called")
            elif order == "hang up":
                await asyncio.gather(*(line.hang_up() for line, _ in others))
                break
    clock.cancel()
    records.write(Path(config["out"]), [line.finish() for line, _ in others], network.lateness)
    say("written")


async def _call_all(network: Network, whom: list[tuple[Line, Ticket]], per_s: float) -> None:
    start = now()
    async with asyncio.TaskGroup() as group:
        for i, (line, ticket) in enumerate(whom):
            await asyncio.sleep(max(start + i / per_s - now(), 0))
            group.create_task(network.call(line, ticket))


if __name__ == "__main__":
    run(main(int(sys.argv[1]), orjson.loads(Path(sys.argv[2]).read_bytes())))
