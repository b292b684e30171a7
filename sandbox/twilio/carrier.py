"""The carrier: every call and recording of the account, and the pace at which calls start."""

from __future__ import annotations

import asyncio

from sandbox.people import People
from sandbox.state import State
from sandbox.twilio.calls import Call, CallOrder, RecordingOrder
from sandbox.twilio.errors import ApiError, tell_debugger
from sandbox.twilio.recordings import Recording
from sandbox.twilio.running import Running
from sandbox.twilio.webhooks import Hook, Sender

LONGEST_QUEUE_S = 24 * 3600


class Carrier:
    """One account's telephone world."""

    def __init__(self, state: State, people: People) -> None:
        self.state = state
        self.people = people
        self.sender = Sender(state)
        self.calls: dict[str, Call] = {}
        self.running: dict[str, Running] = {}
        self.recordings: dict[str, Recording] = {}
        self._next_start = 0.0

    def create(self, order: CallOrder) -> Running:
        """Accept a call and let it wait for its turn; raises ApiError(22005)."""
        now, cps = self.state.clock.now(), self.state.options.cps
        start = max(now, self._next_start)
        if start - now > LONGEST_QUEUE_S:
            raise ApiError(22005)
        self._next_start = start + 1 / cps
        call = Call(order, self.state.options.account_sid, self.state.clock.utc())
        call.queue_time_ms = round((start - now) * 1000)
        call.touch(self.state.clock.utc())
        self.calls[call.sid] = call
        for code in order.warnings:
            self.warn(call, code)
        running = self.running[call.sid] = Running(self, call, start)
        running.task = self.sender.spawn(running.run())
        return running

    def warn(self, call: Call, code: int, detail: str = "") -> None:
        """Tell the account's debugger."""
        tell_debugger(self.state.log, code, call=call.sid, detail=detail)

    def recordings_of(self, call_sid: str) -> list[Recording]:
        return [r for r in self.recordings.values() if r.call_sid == call_sid]

    def start_recording(self, call: Call, order: RecordingOrder) -> Recording:
        """Record from now on what is on the line of this call."""
        line = self.running[call.sid].line
        if line is None:
            raise ApiError(21220, "Requested resource is not eligible for recording")
        recording = Recording(
            order, call.account_sid, call.sid, self.state.twilio_url, self.state.clock.utc()
        )
        self.recordings[recording.sid] = recording
        call.recordings.append(recording.sid)
        line.recordings.append(recording)
        if hook := self._report(recording, "in-progress"):
            self.sender.notify(hook)
        return recording

    def finish_recording(self, recording: Recording) -> asyncio.Task[None] | None:
        """Stop recording; its media follows. The call's end waits for what is returned."""
        if not recording.is_running:
            return None
        recording.finish(self.state.clock.utc())
        to = self.calls[recording.call_sid].to
        is_early = self.state.faults.take("webhook.recording", "early", call=to) is not None
        settling = self.sender.spawn(self._settle(recording, to, is_early=is_early))
        return settling if is_early else None

    async def _settle(self, recording: Recording, to: str, *, is_early: bool) -> None:
        """Make the media ready and report it."""
        take = self.state.faults.take
        if not is_early:
            await self.state.clock.sleep(self.state.options.recording_delay_s)
        if fault := take("recording", "delay", call=to):
            await self.state.clock.sleep(fault.seconds)
        if take("recording", "never", call=to):
            return
        is_absent = take("recording", "absent", call=to) is not None
        recording.settle(self.state.clock.utc(), is_absent=is_absent)
        self.state.log.add("recording", recording.status, {"sid": recording.sid})
        if hook := self._report(recording, recording.status):
            await self.sender.deliver(hook)

    def _report(self, recording: Recording, event: str) -> Hook | None:
        callback = recording.order.callback
        if callback is None or event not in callback.events:
            return None
        to = self.calls[recording.call_sid].to
        return Hook("recording", callback.url, recording.params(), callback.method, to=to)

    def delete_recording(self, recording: Recording) -> None:
        """Forget its sound; the metadata stays."""
        recording.delete(self.state.clock.utc())

    async def reset(self) -> None:
        """End everything at once, telling nobody, and forget it."""
        await self.sender.cancel()
        self.calls.clear()
        self.running.clear()
        self.recordings.clear()
        self.people.clear()
        self._next_start = 0.0

    async def close(self) -> None:
        await self.reset()
        await self.sender.close()

    async def wait_for_calls(self, timeout_s: float) -> bool:
        """Wait (in real time) until no call is under way."""
        tasks = [r.task for r in self.running.values() if r.task and not r.task.done()]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)
        return all(task.done() for task in tasks)
