"""Recordings of calls: left what the person said, right what the phone really played.

Source: Twilio, Recordings resource; twilio.md section E.
"""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from sandbox.twilio import ulaw
from sandbox.twilio.calls import API_VERSION, RecordingOrder, new_sid, rfc2822

SHORTEST_FRAMES = 5
"""A recording of less than 100 ms is absent (16101)."""
STATUSES_OF_UPDATE = ("paused", "in-progress", "stopped")
PRICE_PER_MINUTE = 0.0025


@dataclass(slots=True)
class Recording:
    """One recording, from its first frame to its deletion."""

    order: RecordingOrder
    account_sid: str
    call_sid: str
    base_url: str
    started_at: datetime
    sid: str = field(default_factory=lambda: new_sid("RE"))
    status: str = "in-progress"
    error_code: int | None = None
    updated_at: datetime | None = None
    length: int = 0
    """Samples; stays when the media is deleted."""
    skips_pauses: bool = False
    """What happens during a pause is left out, instead of being silence."""
    left: bytearray = field(default_factory=bytearray)
    right: bytearray = field(default_factory=bytearray)

    @property
    def is_running(self) -> bool:
        return self.status in ("in-progress", "paused")

    @property
    def channels(self) -> int:
        return 2 if self.order.channels == "dual" and self.order.track == "both" else 1

    @property
    def duration_s(self) -> int:
        return round(self.length / ulaw.RATE_HZ)

    @property
    def uri(self) -> str:
        return f"/{API_VERSION}/Accounts/{self.account_sid}/Recordings/{self.sid}"

    @property
    def url(self) -> str:
        return f"{self.base_url}{self.uri}"

    def add(self, person: bytes, agent: bytes) -> None:
        """Record one frame; a paused recording holds silence, or nothing."""
        if self.status == "paused":
            if self.skips_pauses:
                return
            person = agent = ulaw.SILENCE
        if self.is_running:
            self.left += person
            self.right += agent
            self.length = len(self.left)

    def finish(self, now: datetime) -> None:
        """Stop, and cut the silence off both ends if the order says so."""
        if not self.is_running:
            return
        if self.order.trim == "trim-silence":
            self._trim()
        self.status, self.updated_at = "processing", now

    def settle(self, now: datetime, *, is_absent: bool = False) -> None:
        """Become `completed`, or `absent` if there is nothing to hear."""
        if self.status != "processing":
            return
        if is_absent or len(self.left) < SHORTEST_FRAMES * ulaw.FRAME_BYTES:
            self.status, self.error_code = "absent", self.error_code or 16101
        else:
            self.status = "completed"
        self.updated_at = now

    def delete(self, now: datetime) -> None:
        """Drop the media; the metadata stays readable for those who ask for it."""
        self.status, self.updated_at = "deleted", now
        self.left.clear()
        self.right.clear()

    def _trim(self) -> None:
        loud = [
            i
            for i in range(0, len(self.left), ulaw.FRAME_BYTES)
            for side in (self.left, self.right)
            if side[i : i + ulaw.FRAME_BYTES] != ulaw.SILENCE
        ]
        if not loud:
            self.error_code = 16102
        start, end = (loud[0], loud[-1] + ulaw.FRAME_BYTES) if loud else (0, 0)
        self.left, self.right = self.left[start:end], self.right[start:end]
        self.length = len(self.left)

    def wav(self, channels: int, *, is_silent: bool = False) -> bytes:
        """The media: RIFF, 8 kHz, 16 bit, one or two channels."""
        left, right = ulaw.decode(bytes(self.left)), ulaw.decode(bytes(self.right))
        if is_silent:
            left, right = np.zeros_like(left), np.zeros_like(right)
        if channels == 2:
            samples = np.stack([left, right], axis=1).reshape(-1)
        elif self.order.track == "inbound":
            samples = left
        elif self.order.track == "outbound":
            samples = right
        else:
            mixed = left.astype(np.int32) + right.astype(np.int32)
            samples = np.clip(mixed, -32768, 32767).astype(np.int16)
        target = io.BytesIO()
        with wave.open(target, "wb") as wav:
            wav.setnchannels(channels)
            wav.setsampwidth(2)
            wav.setframerate(ulaw.RATE_HZ)
            wav.writeframes(samples.astype("<i2").tobytes())
        return target.getvalue()

    def params(self) -> list[tuple[str, str]]:
        """The fields of its status callback."""
        status = "in-progress" if self.is_running else self.status
        return [
            ("AccountSid", self.account_sid),
            ("CallSid", self.call_sid),
            ("RecordingSid", self.sid),
            ("RecordingUrl", self.url),
            ("RecordingStatus", status),
            ("RecordingDuration", str(self.duration_s)),
            ("RecordingChannels", str(self.channels)),
            ("RecordingStartTime", rfc2822(self.started_at) or ""),
            ("RecordingSource", self.order.source),
            ("RecordingTrack", self.order.track),
            ("ErrorCode", str(self.error_code or 0)),
        ]

    def to_json(self) -> dict[str, Any]:
        is_done = self.status in ("completed", "deleted")
        minutes = max(1, -(-self.duration_s // 60))
        return {
            "sid": self.sid,
            "account_sid": self.account_sid,
            "api_version": API_VERSION,
            "call_sid": self.call_sid,
            "conference_sid": None,
            "status": self.status,
            "channels": self.channels,
            "source": self.order.source,
            "track": self.order.track,
            "duration": str(self.duration_s) if is_done else None,
            "start_time": rfc2822(self.started_at),
            "date_created": rfc2822(self.started_at),
            "date_updated": rfc2822(self.updated_at or self.started_at),
            "price": f"-{PRICE_PER_MINUTE * minutes:.5f}" if is_done else None,
            "price_unit": "USD",
            "error_code": self.error_code,
            "encryption_details": None,
            "media_url": self.url,
            "uri": f"{self.uri}.json",
            "subresource_uris": {},
        }
