"""The conversation as a state machine: events and the time in, effects out.

    connecting ──session.updated──▶ talking ──end_call, time, silence──▶ closing ──heard──▶ finished

No I/O: the shell carries out the effects in order and calls `tick` a few times a second. Times
are seconds of one monotonic clock; `_ms` values count from the stream's start.
"""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from calls.core.brief import OpeningKind
from calls.core.lifecycle import EndReason
from realtime.core import media_streams, prompts, realtime_api, realtime_events, usage
from realtime.core.call import SessionCall
from realtime.core.dialogue import Dialogue
from realtime.core.effects import Effect, RunTool
from realtime.core.ending import Ending
from realtime.core.errors import Severity, severity
from realtime.core.legs import Legs
from realtime.core.outbox import Outbox
from realtime.core.patience import Due, Patience
from realtime.core.responses import Purpose, Request, Responses, opening_request
from realtime.core.tools import END_CALL, Refused, ToolSpec, check_call
from realtime.core.turns import RECIPIENT, Turns

RATE_LIMIT_PAUSE_S = 1.0
UNSAID_PAUSE_S = 0.5
MAX_EARLY_KEYS = 32
_OF_A_RESPONSE = (
    realtime_events.ResponseStarted,
    realtime_events.ResponseDone,
    realtime_events.AudioDelta,
    realtime_events.AudioDone,
    realtime_events.TextDelta,
    realtime_events.TextDone,
    realtime_events.ToolCalled,
)


class Session:
    """One conversation, without I/O: feed it events, carry out the effects it returns, in order."""

    def __init__(
        self, call: SessionCall, tools: list[ToolSpec], now: float, wall: datetime
    ) -> None:
        brief = call.brief
        self._call = call
        self._brief = brief
        self._tools = {tool.name: tool for tool in tools}
        turns = Turns(call.call_id, call.generation, call.origin_ms, len(call.history))
        self._dialogue = Dialogue(brief, call.stream_sid, turns, now, wall)
        self._patience = Patience(
            brief.silence_s, now + brief.max_duration_s - call.origin_ms / 1000
        )
        self._responses = Responses()
        self._out = Outbox(call.call_id, call.generation, self._dialogue.iso)
        self._end = Ending(call, self._out, self._dialogue, self._responses)
        self._started_at = now
        self._model_spoke_at = now
        self._speak_at: float | None = None  # when we stop waiting for the recipient's first word
        self._has_opened = False
        self._is_ready = False
        self._audible: set[str] = set()  # responses that have sounded
        self._tool_calls: set[str] = set()
        self._failures = 0
        self._retry: tuple[float, Request] | None = None
        self._running_tools = 0
        self._early_keys: list[str] = []

    # -- the doors -------------------------------------------------------------------------------
    def caller(self, message: media_streams.Message, now: float) -> list[Effect]:
        """Twilio said something."""
        if self._end.is_finished:
            return []
        match message:
            case media_streams.CallerAudio():
                self._out.add(self._dialogue.hear(message, now))
            case media_streams.MarkEchoed(name):
                self._out.add(self._dialogue.mark_played(name, now))
                self._end.finish_if_heard(now)
            case media_streams.KeyPressed(digit):
                self._key_pressed(digit, now)
            case media_streams.StreamStopped():
                self._end.finish(EndReason.RECIPIENT_HUNG_UP, "", now)
            case (
                media_streams.StreamStarted()
                | media_streams.Connected()
                | media_streams.Malformed()
            ):
                pass  # the door has dealt with them
            case _:
                assert_never(message)
        return self._out.take()

    def model(self, event: realtime_events.Event, now: float) -> list[Effect]:  # noqa: C901
        """The model said something."""
        if self._end.is_finished:
            if isinstance(event, realtime_events.Transcribed):
                self._transcribed(event)
                self._end.let_go(now)
            return self._out.take()
        if isinstance(event, _OF_A_RESPONSE):
            self._model_spoke_at = now
        match event:
            case realtime_events.AudioDelta():
                self._agent_audio(event, now)
            case realtime_events.TextDelta(response_id, item_id, text):
                if not self._responses.is_dropped(response_id):
                    self._dialogue.agent_text(item_id, text, now)
            case realtime_events.TextDone(_, item_id, text):
                # Also of a cancelled response: what was generated but not heard is on record.
                self._out.add(self._dialogue.agent_text_whole(item_id, text))
            case realtime_events.AudioDone(response_id, item_id):
                if not self._responses.is_dropped(response_id):
                    self._out.add(self._dialogue.item_complete(item_id, now))
            case realtime_events.SpeechStarted(item_id, audio_start_ms):
                self._speech_started(item_id, audio_start_ms, now)
            case realtime_events.SpeechStopped(item_id, audio_end_ms):
                self._out.add(self._dialogue.person_stopped(item_id, audio_end_ms))
            case realtime_events.Committed(item_id):
                self._out.add(self._dialogue.person_committed(item_id, now))
            case realtime_events.Transcribed():
                self._transcribed(event)
            case realtime_events.ResponseStarted(response_id, purpose):
                self._response_started(response_id, purpose, now)
            case realtime_events.ResponseDone():
                self._response_done(event, now)
            case realtime_events.ToolCalled():
                self._tool_called(event, now)
            case realtime_events.SessionReady():
                self._session_ready(event, now)
            case realtime_events.ModelError():
                self._model_error(event, now)
            case realtime_events.Unreadable():
                self._unreadable(event, now)
            case realtime_events.Ignored():
                pass
            case _:
                assert_never(event)
        return self._out.take()

    def model_lost(self, detail: str, now: float, code: str = "") -> list[Effect]:
        """The connection to the model failed or ended; a goodbye already sent is still heard.

        `code`: why it could not be opened, such as `http_401`.
        """
        if self._end.is_finished:
            self._end.let_go(now, at_once=True)
            return self._out.take()
        self._out.happened("model.lost", now, detail=detail)
        if self._end.closing is None:
            self._end.finish(EndReason.MODEL_FAILED, detail, now, code)
        else:
            self._end.give_up_waiting(now)
        return self._out.take()

    def stream_lost(self, now: float) -> list[Effect]:
        """The phone's socket is gone without a `stop`: the call may ask for a new stream."""
        self._end.finish(None, "The audio connection was lost.", now)
        return self._out.take()

    def tool_finished(self, tool_call: str, output: str, now: float) -> list[Effect]:
        """A tool ended, well or not; the model goes on with `output`."""
        if not self._end.is_finished:
            self._out.happened("tool.result", now, tool_call=tool_call, output=output[:500])
            self._running_tools -= 1
            self._out.send(realtime_api.tool_output(tool_call, output))
            # Of several tools the last one asks: the model answers all of them at once.
            if self._end.closing is None and not self._running_tools:
                self._ask(Request(Purpose.TOOL_RESULT), now)
        return self._out.take()

    def tick(self, now: float) -> list[Effect]:
        """Time has passed."""
        for watch in (
            self._watch_legs,
            self._watch_opening,
            self._watch_retry,
            self._watch_closing,
            self._watch_patience,
        ):
            if not self._end.is_finished:
                watch(now)
        if self._end.is_finished:
            self._end.let_go(now)
        else:
            self._out.add(self._dialogue.fill_silence(now))
        return self._out.take()

    # -- the recipient ---------------------------------------------------------------------------
    def _speech_started(self, item_id: str, audio_start_ms: int, now: float) -> None:
        self._speak_at, self._has_opened = None, True
        self._patience.person_spoke()
        self._responses.yield_to_speech()
        # "Bye!" over a goodbye is no interruption.
        if self._end.closing is None:
            # interrupt_response: the model cancels by itself; what is on its way is late.
            self._drop_what_plays()
            self._out.add(self._dialogue.interrupt(now))
        self._out.add(self._dialogue.person_started(item_id, audio_start_ms))

    def _transcribed(self, event: realtime_events.Transcribed) -> None:
        if event.usage:
            model = self._brief.transcription_model
            self._out.record(usage.of_transcription(self._call.call_id, event, model))
        self._out.add(self._dialogue.person_said(event.item_id, event.text))

    def _key_pressed(self, digit: str, now: float) -> None:
        self._out.happened("key.pressed", now, digit=digit)
        self._patience.person_spoke()
        if not self._is_ready:
            self._early_keys = [*self._early_keys, digit][-MAX_EARLY_KEYS:]
        elif self._end.closing is None:
            self._out.send(realtime_api.message("user", prompts.key_pressed(digit)))
            self._ask(Request(Purpose.KEYS), now)

    # -- the agent -------------------------------------------------------------------------------
    def _drop_what_plays(self) -> None:
        active = self._responses.active
        for response_id in self._dialogue.responses_in_play() | ({active} if active else set()):
            self._responses.drop(response_id)

    def _response_started(self, response_id: str, purpose: str, now: float) -> None:
        self._responses.started(response_id, purpose)
        self._speak_at, self._has_opened = None, True
        is_goodbye = purpose == Purpose.GOODBYE
        closing = self._end.closing
        if closing is not None:
            if not closing.response_started(response_id, is_goodbye=is_goodbye):
                self._responses.drop(response_id)
            return
        request = self._responses.active_request
        if request and request.yields_to_speech and self._dialogue.is_person_speaking:
            # Asked for in silence, begun into speech: the recipient goes first.
            self._cancel(response_id)

    def _agent_audio(self, event: realtime_events.AudioDelta, now: float) -> None:
        if self._responses.is_dropped(event.response_id):
            self._out.add(self._dialogue.late_audio(event, now))
            return
        if not event.audio:
            return
        self._audible.add(event.response_id)
        self._out.add(self._dialogue.agent_audio(event, now))
        if self._dialogue.is_agent_too_far_ahead(now):
            self._cancel(event.response_id)

    def _response_done(self, event: realtime_events.ResponseDone, now: float) -> None:
        self._out.record(usage.of_response(self._call.call_id, event, self._brief.model))
        request = self._responses.active_request
        following = self._responses.done(event.response_id)
        self._out.add(self._dialogue.response_complete(event.response_id, now))
        if following is not None:
            self._out.send(following)
        has_sounded = event.response_id in self._audible
        self._audible.discard(event.response_id)
        if self._end.closing is not None:
            was_heard = has_sounded or not self._dialogue.is_agent_silent
            if self._end.closing.response_done(event.response_id, was_heard=was_heard):
                self._say_goodbye(prompts.GOODBYE, now)
            self._end.finish_if_heard(now)
        elif event.status == "failed" or (event.status == "incomplete" and not has_sounded):
            self._response_failed(event, request or Request(Purpose.RETRY), now)
        elif event.status == "cancelled" and request and request.is_exact and not has_sounded:
            # Talked over before the first sound: it is said when the person has been answered.
            self._retry = (now + UNSAID_PAUSE_S, request)
        elif event.status == "completed":
            self._failures = 0

    def _response_failed(
        self, event: realtime_events.ResponseDone, request: Request, now: float
    ) -> None:
        code = event.error_code or event.reason
        self._out.happened(
            "model.response_failed", now, code=code, message=event.error_message[:300]
        )
        self._failures += 1
        if severity(code) is Severity.FATAL or self._failures > 1:
            self._end.finish(EndReason.MODEL_FAILED, f"{code}: {event.error_message}", now, code)
        elif code == "rate_limit_exceeded":
            self._retry = (now + RATE_LIMIT_PAUSE_S, request)
        else:
            self._ask(request, now)

    def _tool_called(self, event: realtime_events.ToolCalled, now: float) -> None:
        if event.call_id in self._tool_calls or self._end.closing is not None:
            return  # at most once per call id
        self._tool_calls.add(event.call_id)
        if self._responses.is_dropped(event.response_id):
            self._out.send(realtime_api.tool_output(event.call_id, prompts.TOOL_INTERRUPTED))
            return
        self._out.happened("tool.called", now, tool=event.name[:60], tool_call=event.call_id)
        checked = check_call(self._tools.get(event.name), event.name, event.arguments)
        if isinstance(checked, Refused):
            self._out.send(realtime_api.tool_output(event.call_id, prompts.tool_error(checked.why)))
            self._ask(Request(Purpose.TOOL_RESULT), now)
        elif event.name == END_CALL.name:
            self._out.send(realtime_api.tool_output(event.call_id, prompts.TOOL_OK))
            self._end.close(EndReason.AGENT_ENDED, now, spoken_by=event.response_id)
        else:
            self._running_tools += 1
            self._out.add([RunTool(event.call_id, event.name, checked.arguments)])

    def _say_goodbye(self, task: str, now: float) -> None:
        instructions = prompts.with_task(self._brief, task)
        self._ask(Request(Purpose.GOODBYE, instructions, may_use_tools=False), now)

    # -- the model's session ---------------------------------------------------------------------
    def _session_ready(self, event: realtime_events.SessionReady, now: float) -> None:
        if not event.is_update:
            self._out.happened("model.connected", now, session=event.session_id)
            self._out.send(realtime_api.session_update(self._brief, list(self._tools.values())))
            return
        if self._is_ready:
            return
        wanted = self._brief.audio_format.value
        if (event.input_format, event.output_format) != (wanted, wanted):
            got = f"{event.input_format} in, {event.output_format} out"
            self._end.finish(EndReason.MODEL_FAILED, f"asked for {wanted}, got {got}", now)
            return
        self._is_ready = True
        for speaker, text in self._call.history:
            role = "user" if speaker == RECIPIENT else "assistant"
            self._out.send(realtime_api.message(role, text))
        for digit in self._early_keys:
            self._out.send(realtime_api.message("user", prompts.key_pressed(digit)))
        self._out.add(self._dialogue.open_ear())
        self._open(now)

    def _open(self, now: float) -> None:
        """The first words, by the agent's opening policy; a resumed call picks up the thread."""
        opening = self._brief.opening
        if self._call.generation == 1 and opening.kind is OpeningKind.LISTENS_FIRST:
            self._speak_at = now + opening.wait_s
        else:
            self._ask(opening_request(self._brief, self._call.generation), now)

    def _model_error(self, event: realtime_events.ModelError, now: float) -> None:
        code = event.code or event.type
        if code == "conversation_already_has_active_response":
            self._responses.refused()
            return
        level = severity(code, event.event_id)
        if level is Severity.BENIGN:
            return
        if self._end.closing is not None:
            if level is Severity.FATAL:
                self._end.give_up_waiting(now)
            return
        self._out.happened("model.error", now, code=code, message=event.message[:300])
        self._failures += 1
        if level is Severity.FATAL or self._failures > 1:
            self._end.finish(EndReason.MODEL_FAILED, f"{code}: {event.message}", now, code)
        elif event.event_id.startswith("ask-"):
            request = self._responses.take_back()
            if request is not None:
                self._ask(request, now)

    def _unreadable(self, event: realtime_events.Unreadable, now: float) -> None:
        # A broken event ends its own response only; the conversation goes on.
        self._out.happened("model.unreadable", now, why=event.why[:120])
        if event.ends_response:
            response_id = event.response_id or self._responses.active or ""
            end = realtime_events.ResponseDone(response_id, "unreadable", "", "", "", {})
            self._response_done(end, now)
        elif event.response_id and not self._responses.is_dropped(event.response_id):
            self._cancel(event.response_id)

    # -- what time brings ------------------------------------------------------------------------
    def _watch_legs(self, now: float) -> None:
        is_due = self._end.closing is None and self._responses.is_due
        legs = Legs(
            quiet_phone_s=now - self._dialogue.last_frame_at,
            overdue_receipt_s=self._dialogue.receipt_overdue_s(now),
            connecting_s=0.0 if self._is_ready else now - self._started_at,
            owed_answer_s=now - self._model_spoke_at if is_due else 0.0,
        )
        fault = legs.fault()
        if fault is not None:
            self._end.finish(*fault, now)

    def _watch_opening(self, now: float) -> None:
        if self._speak_at is not None and now >= self._speak_at:
            self._speak_at = None
            self._ask(Request(Purpose.OPENING), now)

    def _watch_retry(self, now: float) -> None:
        if self._retry is None or self._end.closing is not None:
            return
        if now >= self._retry[0] and not self._dialogue.is_person_speaking:
            (_, request), self._retry = self._retry, None
            self._ask(request, now)

    def _watch_closing(self, now: float) -> None:
        if self._end.closing is not None and self._end.closing.is_overdue(now):
            self._out.happened("goodbye.missing", now)
            self._end.give_up_waiting(now)

    def _watch_patience(self, now: float) -> None:
        if not self._is_ready or self._end.closing is not None:
            return
        is_quiet = (
            self._has_opened
            and not self._dialogue.is_person_speaking
            and self._responses.is_idle
            and not self._running_tools
            and self._dialogue.is_agent_silent
        )
        match self._patience.due(now, is_quiet=is_quiet):
            case Due.TIME_IS_UP:
                if self._responses.active is not None:
                    self._cancel(self._responses.active)
                self._out.add(self._dialogue.interrupt(now))
                self._end.close(EndReason.MAX_DURATION, now)
                self._say_goodbye(prompts.TIME_IS_UP, now)
            case Due.NOBODY_THERE:
                self._end.close(EndReason.SILENCE, now)
                self._say_goodbye(prompts.NOBODY_THERE, now)
            case Due.WARNING:
                self._out.happened("duration.warned", now)
                self._out.send(realtime_api.message("system", prompts.TIME_IS_SHORT))
            case Due.NUDGE:
                self._out.happened("silence.nudged", now)
                task = prompts.with_task(self._brief, prompts.STILL_THERE)
                self._ask(Request(Purpose.NUDGE, task, may_use_tools=False), now)
            case Due.NOTHING:
                pass

    # -- small things ----------------------------------------------------------------------------
    def _cancel(self, response_id: str) -> None:
        self._responses.drop(response_id)
        self._out.send(realtime_api.response_cancel(response_id))

    def _ask(self, request: Request, now: float) -> None:
        if request.yields_to_speech and self._dialogue.is_person_speaking:
            return  # the model will answer what is being said, and knows all that we know
        if not self._responses.is_due:
            self._model_spoke_at = now  # the model's time to answer counts from here
        event = self._responses.ask(request)
        if event is not None:
            self._out.send(event)
