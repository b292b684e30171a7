"""The agent's voice on its way to the phone: converted, in whole frames, with receipts."""

from __future__ import annotations

from calls.core.brief import AudioFormat, Brief
from realtime.core.audio import PhoneEncoder
from realtime.core.effects import ToPhone
from realtime.core.media_streams import BYTES_PER_MS, PhoneWriter
from realtime.core.playout import Cut, Piece, Playout
from realtime.core.realtime_events import AudioDelta

PCM_BYTES_PER_MS = 48
# Twilio keeps ten minutes; no answer on the phone should come near that.
MAX_UNPLAYED_MS = 300_000


class Mouth:
    """Takes the model's audio, gives Twilio's messages, and knows what was heard of it."""

    def __init__(self, brief: Brief, stream_sid: str) -> None:
        self._encoder = PhoneEncoder() if brief.audio_format is AudioFormat.PCM else None
        self._phone = PhoneWriter(stream_sid)
        self.playout = Playout()
        self.item_id = ""  # whose audio came last

    def speak(self, delta: AudioDelta, now: float) -> list[ToPhone]:
        """A piece of an item's audio, in the session's format."""
        before: list[ToPhone] = []
        if delta.item_id != self.item_id:
            # An item that another follows is whole, whether or not that was said.
            before = self.complete(self.item_id, now)
            if self._encoder is not None:
                self._encoder.reset()
        self.item_id = delta.item_id
        ulaw = delta.audio if self._encoder is None else self._encoder.encode(delta.audio)
        length_ms = self.length_ms(delta.audio)
        pieces = self.playout.send(delta.item_id, delta.response_id, ulaw, length_ms, now)
        return before + self._messages(pieces)

    def complete(self, item_id: str, now: float) -> list[ToPhone]:
        """The item is whole: its tail, the last frame padded, and the last receipt."""
        is_current = item_id == self.item_id and self._encoder is not None
        tail = self._encoder.flush() if is_current and self._encoder is not None else b""
        return self._messages(self.playout.complete(item_id, tail, now))

    def complete_all(self, now: float) -> list[ToPhone]:
        """Nothing more will come: the tail of what was being said, and its last receipt."""
        return self.complete(self.item_id, now)

    def complete_response(self, response_id: str, now: float) -> list[ToPhone]:
        """The response ended, whether or not it said so of each of its items."""
        return [
            message
            for item_id in self.playout.items_of(response_id)
            for message in self.complete(item_id, now)
        ]

    def length_ms(self, audio: bytes) -> float:
        """How long audio of the model is."""
        return len(audio) / (BYTES_PER_MS if self._encoder is None else PCM_BYTES_PER_MS)

    def stop(self, now: float) -> tuple[list[ToPhone], list[Cut]]:
        """Silence at once: the clear, and what was heard of each item that it cuts."""
        is_silent = self.playout.is_proven_idle()
        cuts = self.playout.cut(now)
        self.item_id = ""
        return ([] if is_silent else [ToPhone(self._phone.clear)]), cuts

    def is_too_far_ahead(self, now: float) -> bool:
        """Whether more is waiting at Twilio than anybody will listen to."""
        return self.playout.unplayed_ms(now) > MAX_UNPLAYED_MS

    def _messages(self, pieces: list[Piece]) -> list[ToPhone]:
        messages = []
        for piece in pieces:
            if piece.ulaw:
                messages.append(ToPhone(self._phone.media(piece.ulaw)))
            if piece.mark:
                messages.append(ToPhone(self._phone.mark(piece.mark)))
        return messages
