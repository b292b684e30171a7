"""One call while it lasts: dialled, answered, led through its TwiML, ended, reported."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import aiohttp

from sandbox.people import Behaviour, Person
from sandbox.twilio import twiml
from sandbox.twilio.calls import (
    Action,
    Call,
    Callback,
    Detection,
    Do,
    End,
    Fetch,
    Machine,
    rfc2822,
)
from sandbox.twilio.line import FRAME_S, Line
from sandbox.twilio.verbs import Verbs
from sandbox.twilio.webhooks import Hook, Params, WebhookError

if TYPE_CHECKING:
    from sandbox.twilio.carrier import Carrier

XML_TYPES = ("text/xml", "application/xml")


class Running:
    """Leads one call from the queue to its end. `over` is set when its last status is known."""

    def __init__(self, carrier: Carrier, call: Call, start_at: float) -> None:
        self.carrier = carrier
        self.call = call
        self.line: Line | None = None
        self.task: asyncio.Task[None] | None = None
        self.over = asyncio.Event()
        self.first_report = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None
        self._start_at = start_at
        self._ending = asyncio.Event()
        self._ended_at: datetime | None = None
        # Either where to fetch a document, or the document itself.
        self._orders: asyncio.Queue[Fetch | str] = asyncio.Queue()
        self._machine = Machine(call.order)
        self._verdict = asyncio.Event()
        self._limit_changed = asyncio.Event()
        self.time_limit_s = call.order.time_limit_s
        self.status_callback = call.order.status_callback

    @property
    def session(self) -> aiohttp.ClientSession:
        assert self._session is not None, "the call has not begun"  # noqa: S101
        return self._session

    def absolute(self, url: str) -> str:
        """An address of the document that runs."""
        return self._machine.absolute(url)

    # --- orders from outside ---------------------------------------------------------------------

    def hang_up(self) -> None:
        """End the call, in whatever state it is."""
        self._ending.set()

    def limit(self, seconds: float) -> None:
        """End the call that many seconds after the answer."""
        self.time_limit_s = seconds
        self._limit_changed.set()

    def redirect(self, url: Callback | None, document: str) -> None:
        """Leave the current verb for another document."""
        self._orders.put_nowait(Fetch(url.url, url.method) if url else document)

    def report_to(self, callback: Callback) -> None:
        """Report elsewhere from now on, and what was asked for before."""
        events = self.status_callback.events if self.status_callback else callback.events
        self.status_callback = replace(callback, events=events)

    def fall_back_on(self, callback: Callback) -> None:
        """Ask there when a document cannot be had."""
        self._machine.fallback = callback

    # --- from the queue to the end ---------------------------------------------------------------

    async def run(self) -> None:
        """Live through the whole call."""
        self._session = self.carrier.sender.new_session()
        try:
            await self._run()
        except Exception:
            # A fault of our own: it is logged, and must not leave the call on the line for ever.
            self.call.error_code = 12400
            self._advance("failed")
            raise
        finally:
            self.over.set()
            self.first_report.set()
            await self._session.close()

    async def _run(self) -> None:
        clock = self.carrier.state.clock
        if await self._ended_within(self._start_at - clock.now()):
            # Cancelled in the queue: Twilio tells nobody.
            self.call.advance("canceled", clock.utc())
            self.first_report.set()
            return
        self._advance("initiated")
        behaviour = self.carrier.people.at(self.call.to)
        status = await self._dial(behaviour)
        if status == "in-progress":
            status = await self._talk(behaviour)
        self._advance(status)
        await clock.sleep(self.carrier.state.options.price_delay_s)
        self.call.set_price(clock.utc())

    async def _dial(self, behaviour: Behaviour) -> str:
        """Ring; returns `in-progress` if somebody picked up, else how it ended."""
        self.call.sip_code = behaviour.sip_code
        if await self._ended_within(self.carrier.state.options.post_dial_s):
            return self._cancelled()
        if behaviour.outcome in ("busy", "failed"):
            if behaviour.outcome == "failed":
                self.call.error_code = 13224
                self.carrier.warn(self.call, 13224)
            return behaviour.outcome
        self._advance("ringing")
        timeout_s = self.call.order.timeout_s
        ring_s = behaviour.ring_s
        if await self._ended_within(min(ring_s, timeout_s)):
            return self._cancelled()
        if behaviour.outcome != "answers" or ring_s >= timeout_s:
            self.call.sip_code = 603 if behaviour.outcome == "rejects" else 487
            return "no-answer"
        return "in-progress"

    def _cancelled(self) -> str:
        self.call.sip_code = 487
        return "canceled"

    async def _ended_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(max(0.0, seconds) / self.carrier.state.clock.speed):
                await self._ending.wait()
        except TimeoutError:
            return False
        return True

    # --- answered --------------------------------------------------------------------------------

    async def _talk(self, behaviour: Behaviour) -> str:
        line = self.line = Line(self.carrier.state.clock, Person(behaviour), self.hang_up)
        if self.call.order.recording is not None:
            self.carrier.start_recording(self.call, self.call.order.recording)
        self._advance("in-progress")
        detection = self.call.order.detection
        if detection is not None:
            self.carrier.sender.spawn(self._detect(detection, behaviour, line))
        else:
            self._verdict.set()
        ticking = asyncio.create_task(line.run())
        program = asyncio.create_task(self._follow(line))
        for task in (ticking, program):
            task.add_done_callback(lambda _: self._ending.set())
        try:
            await self._last(line)
            # What follows may take its time: a recording that is reported first, say.
            self._ended_at = self.carrier.state.clock.utc()
        finally:
            program.cancel()
            ticking.cancel()
            results = await asyncio.gather(program, ticking, return_exceptions=True)
            settling = [self.carrier.finish_recording(r) for r in line.recordings]
        for result in results:
            if isinstance(result, Exception):
                raise result
        if told_first := [task for task in settling if task is not None]:
            await asyncio.wait(told_first)
        return "completed"

    async def _last(self, line: Line) -> None:
        """Wait for the end, or for the time limit, which may be changed while we wait."""
        while not self._ending.is_set():
            self._limit_changed.clear()
            left_s = self.time_limit_s - line.frame * FRAME_S
            waits = [
                asyncio.create_task(self._ended_within(left_s)),
                asyncio.create_task(self._limit_changed.wait()),
            ]
            try:
                done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waits:
                    task.cancel()
                await asyncio.gather(*waits, return_exceptions=True)
            if waits[0] in done:
                return

    async def _follow(self, line: Line) -> None:
        """Walk through the TwiML; an order from outside interrupts whatever runs."""
        verbs = Verbs(self, line)
        detection = self.call.order.detection
        if detection is not None and not detection.is_async:
            await self._verdict.wait()
        action = self._reading(self._machine.start)
        while not isinstance(action, End):
            step = asyncio.create_task(self._step(verbs, action))
            order = asyncio.create_task(self._orders.get())
            try:
                await asyncio.wait({step, order}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (step, order):
                    task.cancel()
                await asyncio.gather(step, order, return_exceptions=True)
            action = self._obey(order.result()) if not order.cancelled() else step.result()
        self.carrier.state.log.add("call", "ends", {"call": self.call.sid, "by": action.reason})
        self.hang_up()

    def _obey(self, order: Fetch | str) -> Action:
        if isinstance(order, str):
            return self._read(order.encode(), "")
        return self._machine.go_to(order.url, order.method)

    async def _step(self, verbs: Verbs, action: Action) -> Action:
        if isinstance(action, Do):
            result = await verbs.run(action.verb)
            return self._machine.finished(tuple(result))
        assert isinstance(action, Fetch)  # noqa: S101
        return await self._fetch(action)

    async def _fetch(self, fetch: Fetch) -> Action:
        kind = "fallback" if fetch.is_fallback else "voice"
        params = [*self.call.params(), *fetch.params]
        if self.call.answered_by:
            params.append(("AnsweredBy", self.call.answered_by))
        hook = Hook(kind, fetch.url, params, fetch.method, to=self.call.to)
        try:
            reply = await self.carrier.sender.fetch(self.session, hook)
        except WebhookError as exc:
            return self._failed(exc.code, str(exc))
        if reply.content_type.partition(";")[0].strip().lower() not in XML_TYPES:
            return self._failed(12300, f"Content-Type {reply.content_type!r}")
        return self._read(reply.body, reply.url)

    def _read(self, body: bytes, url: str) -> Action:
        return self._reading(lambda: self._machine.read(body, url))

    def _reading(self, read: Callable[[], Action]) -> Action:
        """What a document says; the debugger is told what it holds that is not understood."""
        try:
            action = read()
        except twiml.TwimlError as exc:
            return self._failed(exc.code, str(exc))
        for warning in self._machine.warnings:
            self.carrier.warn(self.call, 12200, warning)
        return action

    def _failed(self, code: int, detail: str) -> Action:
        self.carrier.warn(self.call, code, detail)
        return self._machine.failed(code)

    async def _detect(self, detection: Detection, behaviour: Behaviour, line: Line) -> None:
        """Answering machine detection: the verdict, and its callback if it is asynchronous."""
        clock = self.carrier.state.clock
        began = clock.now()
        try:
            async with asyncio.timeout(detection.timeout_s / clock.speed):
                verdict = await self._verdict_on(behaviour.answered_by, detection, line)
        except TimeoutError:
            verdict = "unknown"
        self.call.answered_by = verdict
        self.call.touch(clock.utc())
        self._verdict.set()
        if not detection.is_async or detection.callback is None:
            return
        params = [
            ("CallSid", self.call.sid),
            ("AccountSid", self.call.account_sid),
            ("AnsweredBy", verdict),
            ("MachineDetectionDuration", str(round((clock.now() - began) * 1000))),
        ]
        hook = Hook("amd", detection.callback.url, params, detection.callback.method, self.call.to)
        self.carrier.sender.notify(hook, ended=self.over.wait)

    async def _verdict_on(self, kind: str, detection: Detection, line: Line) -> str:
        """What kind of person it is, after the time that it would take to hear that."""
        clock, options = self.carrier.state.clock, self.carrier.state.options
        match kind:
            case "machine":
                await clock.sleep(options.amd_machine_s)
                if detection.mode == "Enable":
                    return "machine_start"
                return await line.end_of_greeting(detection.speech_end_s)
            case "unknown":
                await clock.sleep(detection.silence_s)
            case _:
                await clock.sleep(options.amd_human_s)
        return kind

    # --- reports ---------------------------------------------------------------------------------

    def _advance(self, status: str) -> None:
        if self.call.advance(status, self._ended_at or self.carrier.state.clock.utc()):
            self.carrier.state.log.add("call", status, {"call": self.call.sid, "to": self.call.to})
            self._report(status)
        if self.call.is_over:
            self.over.set()

    def _report(self, status: str) -> None:
        callback = self.status_callback
        event = {"in-progress": "answered"}.get(status, status)
        event = "completed" if self.call.is_over else event
        if callback is None or event not in callback.events:
            self.first_report.set()
            return
        params = [*self.call.params(), *self._progress()]
        self.call.sequence += 1
        self._send(callback, params)

    def _send(self, callback: Callback, params: Params) -> None:
        hook = Hook("status", callback.url, params, callback.method, to=self.call.to)
        if self.first_report.is_set():
            self.carrier.sender.notify(hook, ended=self.over.wait)
            return

        async def first() -> None:
            await self.carrier.sender.deliver(hook, self.over.wait)
            self.first_report.set()

        self.carrier.sender.spawn(first())

    def _progress(self) -> Params:
        call = self.call
        params: Params = [
            ("Timestamp", rfc2822(self.carrier.state.clock.utc()) or ""),
            ("CallbackSource", "call-progress-events"),
            ("SequenceNumber", str(call.sequence)),
        ]
        if call.answered_by:
            params.append(("AnsweredBy", call.answered_by))
        if call.is_over:
            params += [
                ("CallDuration", str(call.duration_s)),
                ("SipResponseCode", str(call.sip_code or 200)),
            ]
        if call.status == "completed":
            params.append(("Duration", str(call.minutes)))
            params += self._recording_params()
        if call.error_code:
            params.append(("ErrorCode", str(call.error_code)))
        return params

    def _recording_params(self) -> Params:
        if self.call.order.recording is None:
            return []
        recording: Any = self.carrier.recordings_of(self.call.sid)[0]
        return [
            ("RecordingUrl", recording.url),
            ("RecordingSid", recording.sid),
            ("RecordingDuration", str(recording.duration_s)),
        ]
