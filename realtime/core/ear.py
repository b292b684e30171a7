"""The recipient's voice on its way to the model: continuous, converted, never lost."""

from __future__ import annotations

from calls.core.brief import AudioFormat, Brief
from realtime.core import realtime_api
from realtime.core.audio import PhoneDecoder
from realtime.core.effects import AudioToModel
from realtime.core.media_streams import BYTES_PER_MS, CallerAudio, CallerTimeline

# A phone line that goes quiet mid-word never ends the turn: the model needs silence to hear.
QUIET_LINE_S = 0.75
PAD_MS = 1_000
# What is said before the model is ready waits for it, up to this much.
EARLY_AUDIO_MS = 5_000


class Ear:
    """Takes Twilio's frames, gives the model's appends."""

    def __init__(self, brief: Brief, now: float) -> None:
        self._decoder = PhoneDecoder() if brief.audio_format is AudioFormat.PCM else None
        self._timeline = CallerTimeline()
        self._early = bytearray()
        self._is_open = False
        self._is_padded = False
        self.is_speaking = False
        self.last_frame_at = now

    @property
    def end_ms(self) -> int:
        """The end of the newest audio, on the stream's clock."""
        return self._timeline.end_ms

    def hear(self, frame: CallerAudio, now: float) -> list[AudioToModel]:
        """A frame of the recipient's."""
        ulaw = self._timeline.accept(frame)
        if not ulaw:
            return []
        self.last_frame_at = now
        self._is_padded = False
        return self._forward(ulaw)

    def open(self) -> list[AudioToModel]:
        """The model is ready to hear: first what it has missed."""
        self._is_open = True
        early, self._early = bytes(self._early), bytearray()
        return self._forward(early)

    def fill_silence(self, now: float) -> list[AudioToModel]:
        """Called as time passes: silence for a line that fell quiet while somebody spoke."""
        is_quiet = now - self.last_frame_at > QUIET_LINE_S
        if not (self.is_speaking and is_quiet) or self._is_padded:
            return []
        self._is_padded = True
        return self._forward(self._timeline.pad(PAD_MS))

    def stream_ms(self, appended_ms: int) -> int:
        """A position in the audio that the model was given, on the stream's clock."""
        return max(appended_ms + (self._timeline.first_ms or 0), 0)

    def _forward(self, ulaw: bytes) -> list[AudioToModel]:
        if not self._is_open:
            self._keep(ulaw)
            return []
        audio = ulaw if self._decoder is None else self._decoder.decode(ulaw)
        return [AudioToModel(realtime_api.append(audio))] if audio else []

    def _keep(self, ulaw: bytes) -> None:
        self._early += ulaw
        excess_ms = len(self._early) // BYTES_PER_MS - EARLY_AUDIO_MS
        if excess_ms > 0 and self._timeline.first_ms is not None:
            del self._early[: excess_ms * BYTES_PER_MS]
            self._timeline.first_ms += excess_ms
