"""Carry out TwiML verbs on a line."""

from __future__ import annotations

import asyncio
import io
import itertools
import wave
from dataclasses import replace
from typing import TYPE_CHECKING

import aiohttp
import numpy as np
from yarl import URL

from sandbox import clips
from sandbox.twilio import signing, twiml, ulaw
from sandbox.twilio.calls import Callback, RecordingOrder, new_sid, rfc2822
from sandbox.twilio.line import Line
from sandbox.twilio.media import Ended, MediaStream
from sandbox.twilio.webhooks import Hook, Params, routed

if TYPE_CHECKING:
    from sandbox.twilio.running import Running

MS_PER_LETTER = 65
MOST_LOOPS = 1000
PLAY_LIMIT = 8 * 1024 * 1024
PLAY_TIMEOUT_S = 15.0


class Verbs:
    """What each verb does; `run` returns the fields that go to the verb's `action`."""

    def __init__(self, running: Running, line: Line) -> None:
        self._running = running
        self._line = line
        self._state = running.carrier.state
        self._call = running.call

    async def run(self, verb: twiml.Verb) -> Params:
        """Carry out one verb to its end."""
        self._state.log.add("twiml", type(verb).__name__, {"call": self._call.sid})
        match verb:
            case twiml.Say(text, loop):
                await self._repeat("say", text, speech(text), loop)
            case twiml.Play(url, digits, loop):
                await self._play(url, digits, loop)
            case twiml.Pause(seconds):
                await self._state.clock.sleep(seconds)
            case twiml.StartRecording():
                self._record(verb)
            case twiml.Stream():
                return await self._stream(verb)
            case twiml.Dial():
                return await self._dial(verb)
            case _:
                pass
        return []

    async def _repeat(self, source: str, label: str, audio: bytes, loop: int) -> None:
        """Play something `loop` times; 0 is until the call ends."""
        if not audio:
            code = 13520 if source == "say" else 11200
            self._running.carrier.warn(self._call, code, f"<{source.title()}> holds no sound")
            return
        for _ in range(min(max(loop, 1), MOST_LOOPS)) if loop else itertools.repeat(0):
            await self._line.play(source, label, audio)

    async def _play(self, url: str, digits: str, loop: int) -> None:
        if digits:
            await self._line.play("play", f"digits {digits}", ulaw.SILENCE * 10 * len(digits))
            return
        address = self._running.absolute(url) if url else ""
        try:
            audio = sound_of(await self._download(address))
        except (aiohttp.ClientError, OSError, ValueError, wave.Error, EOFError) as exc:
            self._running.carrier.warn(self._call, 11200, f"<Play> {address}: {exc}")
            return
        await self._repeat("play", address, audio, loop)

    async def _download(self, url: str) -> bytes:
        options = self._state.options
        address, headers = routed(url, options.routes)
        headers |= signing.headers(url, [], options.auth_token, options.shared_key)
        timeout = aiohttp.ClientTimeout(total=PLAY_TIMEOUT_S)
        body = b""
        async with self._running.session.get(
            URL(address, encoded=True), headers=headers, timeout=timeout
        ) as response:
            response.raise_for_status()
            while len(body) < PLAY_LIMIT and (more := await response.content.readany()):
                body += more
        return body

    def _record(self, verb: twiml.StartRecording) -> None:
        address = self._running.absolute(verb.callback)
        callback = Callback(address, verb.callback_method, verb.events)
        order = RecordingOrder(
            channels=verb.channels,
            track=verb.track,
            trim=verb.trim,
            callback=callback if verb.callback else None,
            source="StartCallRecordingTwiML",
        )
        self._running.carrier.start_recording(self._call, order)

    # --- <Connect><Stream> -----------------------------------------------------------------------

    async def _stream(self, verb: twiml.Stream) -> Params:
        if verb.url and "://" not in verb.url:
            address = self._running.absolute(verb.url)
            verb = replace(verb, url=address.replace("http", "ws", 1))
        stream = MediaStream(self._state, self._call, verb, self._line)

        def started() -> None:
            self._tell(verb, stream, "stream-started")

        try:
            ended = await stream.run(self._running.session, started)
        except asyncio.CancelledError:
            self._tell(verb, stream, "stream-stopped")
            raise
        self._report_end(verb, stream, ended)
        return [
            ("StreamSid", stream.sid),
            ("StreamName", verb.name),
            ("StreamStatus", "error" if ended.code else "stopped"),
        ]

    def _report_end(self, verb: twiml.Stream, stream: MediaStream, ended: Ended) -> None:
        if ended.code:
            self._running.carrier.warn(self._call, ended.code, ended.reason)
            self._tell(verb, stream, "stream-error", f"{ended.code}: {ended.reason}")
        else:
            self._tell(verb, stream, "stream-stopped")

    def _tell(self, verb: twiml.Stream, stream: MediaStream, event: str, error: str = "") -> None:
        if not verb.status_callback:
            return
        now = self._state.clock.utc().isoformat(timespec="milliseconds")
        params: Params = [
            ("AccountSid", self._call.account_sid),
            ("CallSid", self._call.sid),
            ("StreamSid", stream.sid),
            ("StreamName", verb.name or stream.sid),
            ("StreamEvent", event),
            ("Timestamp", now.replace("+00:00", "Z")),
        ]
        if error:
            params.append(("StreamError", error))
        address = self._running.absolute(verb.status_callback)
        hook = Hook("stream", address, params, verb.status_method, self._call.to)
        self._running.carrier.sender.notify(hook)

    # --- <Dial> ----------------------------------------------------------------------------------

    async def _dial(self, verb: twiml.Dial) -> Params:
        """Ring a second person. Their voice is not imitated: the two are joined in silence."""
        behaviour = self._running.carrier.people.at(verb.number)
        answers = behaviour.outcome == "answers" and behaviour.ring_s < verb.timeout_s
        await self._state.clock.sleep(min(verb.timeout_s, behaviour.ring_s))
        began = self._state.clock.now()
        if answers:
            await self._state.clock.sleep(min(3.0, verb.time_limit_s))
        status = {"answers": "completed", "rejects": "busy"}.get(
            behaviour.outcome, behaviour.outcome
        )
        self._state.log.add("dial", status, {"call": self._call.sid, "number": verb.number})
        return [
            ("DialCallSid", new_sid("CA")),
            ("DialCallStatus", status if answers or status != "completed" else "no-answer"),
            ("DialCallDuration", str(round(self._state.clock.now() - began))),
            ("DialBridged", "true" if answers else "false"),
            ("Timestamp", rfc2822(self._state.clock.utc()) or ""),
        ]


def sound_of(wav: bytes) -> bytes:
    """Mu-law audio of a WAV file's first channel; raises wave.Error, EOFError or ValueError."""
    with wave.open(io.BytesIO(wav)) as file:
        rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
        pcm = file.readframes(file.getnframes())
    if width != 2:
        raise wave.Error(f"{8 * width} bits per sample; only 16 are understood here")
    samples = np.frombuffer(pcm[: len(pcm) - len(pcm) % (2 * channels)], dtype="<i2")
    return ulaw.from_pcm(samples[::channels].tobytes(), rate)


def speech(text: str) -> bytes:
    """Mu-law audio of a sentence: the clip of that text, else a babble of its length."""
    clip = clips.find(text, "agent")
    if clip is not None:
        return ulaw.from_pcm(clip.pcm, clip.rate_hz)
    count = len(text) * MS_PER_LETTER * ulaw.RATE_HZ // 1000
    at = np.arange(count) / ulaw.RATE_HZ
    # A low voice with a syllable every quarter of a second.
    voice = sum(np.sin(2 * np.pi * 125 * n * at) / n for n in range(1, 12))
    syllables = np.clip(np.sin(2 * np.pi * 4 * at), 0, 1)
    return ulaw.encode((voice * syllables * 5000).astype(np.int16))
