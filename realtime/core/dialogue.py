"""Both voices and what the record says of them: who spoke, when, and how much was heard."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime

from calls.core.brief import Brief
from calls.core.facts import Fact
from realtime.core import realtime_api, realtime_events
from realtime.core.ear import Ear
from realtime.core.effects import AudioToModel, Effect, Record, ToModel, ToPhone
from realtime.core.media_streams import CallerAudio
from realtime.core.mouth import Mouth
from realtime.core.playout import Cut
from realtime.core.timing import StreamClock, TurnTimer
from realtime.core.turns import AGENT, RECIPIENT, Turns


class Dialogue:
    """Carries speech both ways and keeps the transcript; it decides nothing about either."""

    def __init__(
        self, brief: Brief, stream_sid: str, turns: Turns, now: float, wall: datetime
    ) -> None:
        self._ear = Ear(brief, now)
        self._mouth = Mouth(brief, stream_sid)
        self._turns = turns
        self._timer = TurnTimer.for_brief(brief)
        self._clock = StreamClock(now, wall)
        self._cut: deque[str] = deque(maxlen=64)  # items of which the model was told what was heard

    # -- the recipient ---------------------------------------------------------------------------
    @property
    def is_person_speaking(self) -> bool:
        """By the model's voice activity detection."""
        return self._ear.is_speaking

    @property
    def last_frame_at(self) -> float:
        """When the phone last sent anything."""
        return self._ear.last_frame_at

    def hear(self, frame: CallerAudio, now: float) -> list[AudioToModel]:
        """The phone's next audio."""
        audio = self._ear.hear(frame, now)
        if self._ear.last_frame_at == now:
            self._clock.frame_ended(self._ear.end_ms, now)
        return audio

    def open_ear(self) -> list[AudioToModel]:
        """The model is ready to hear."""
        return self._ear.open()

    def fill_silence(self, now: float) -> list[AudioToModel]:
        """Called as time passes: a line that fell quiet mid-word is filled with silence."""
        return self._ear.fill_silence(now)

    def person_started(self, item_id: str, audio_start_ms: int) -> list[Effect]:
        """Speech began, at a position of the audio that the model was given."""
        self._ear.is_speaking = True
        start_ms = self._ear.stream_ms(audio_start_ms)
        return _records(self._turns.begin(item_id, RECIPIENT, start_ms))

    def person_stopped(self, item_id: str, audio_end_ms: int) -> list[Effect]:
        """Speech ended; `audio_end_ms` includes the silence that proved it."""
        self._ear.is_speaking = False
        end_ms = self._timer.speech_stopped(self._ear.stream_ms(audio_end_ms))
        return _records(self._turns.recipient_stopped(item_id, end_ms))

    def person_committed(self, item_id: str, now: float) -> list[Effect]:
        """The say became an item, perhaps without our having been told of its start."""
        if self._turns.knows(item_id):
            return []
        return _records(self._turns.begin(item_id, RECIPIENT, self._clock.ms(now)))

    def person_said(self, item_id: str, text: str | None) -> list[Effect]:
        """The transcription; None where it failed."""
        return _records(self._turns.recipient_said(item_id, text))

    # -- the agent -------------------------------------------------------------------------------
    @property
    def is_agent_silent(self) -> bool:
        """Whether everything that was said has been proven to be heard."""
        return self._mouth.playout.is_proven_idle()

    def receipt_overdue_s(self, now: float) -> float:
        """How long the phone has owed us a mark."""
        return self._mouth.playout.overdue_s(now)

    def is_agent_too_far_ahead(self, now: float) -> bool:
        """Whether more is waiting at Twilio than anybody will listen to."""
        return self._mouth.is_too_far_ahead(now)

    def agent_audio(self, event: realtime_events.AudioDelta, now: float) -> list[Effect]:
        """A piece of the agent's speech."""
        out: list[Effect] = []
        self._turns.begin(event.item_id, AGENT, self._clock.ms(now))
        if event.item_id != self._mouth.item_id:
            end_ms, latency = self._timer.answer_sent(self._clock.ms(now))
            out += _records(self._turns.agent_sent(event.item_id, end_ms, latency))
        return [*out, *self._mouth.speak(event, now)]

    def agent_text(self, item_id: str, piece: str, now: float) -> None:
        """A piece of the text. Not recorded by itself: the whole follows within a second or two."""
        self._turns.begin(item_id, AGENT, self._clock.ms(now))
        self._turns.agent_text(item_id, self._turns.text_of(item_id) + piece)

    def agent_text_whole(self, item_id: str, text: str) -> list[Effect]:
        """All text of an item that sounded, or would have."""
        return _records(self._turns.agent_text(item_id, text))

    def item_complete(self, item_id: str, now: float) -> list[ToPhone]:
        """No more audio of this item."""
        return self._mouth.complete(item_id, now)

    def response_complete(self, response_id: str, now: float) -> list[ToPhone]:
        """No more audio of any item of this response."""
        return self._mouth.complete_response(response_id, now)

    def mark_played(self, name: str, now: float) -> list[Effect]:
        """A receipt: which items have begun, and which have ended, in the recipient's ear."""
        facts: list[Fact | None] = []
        for item in self._mouth.playout.played(name, now):
            if item.first_heard_at is not None:
                at_ms = self._clock.ms(item.first_heard_at)
                facts.append(self._turns.agent_heard(item.item_id, at_ms))
        for item in self._mouth.playout.finished(now):
            length_ms = item.whole_ms
            facts.append(self._turns.agent_ended(item.item_id, length_ms, length_ms, was_cut=False))
        return _records(*facts)

    def interrupt(self, now: float) -> list[Effect]:
        """Silence the agent at once, and tell the model what was heard of it."""
        clears, cuts = self._mouth.stop(now)
        out: list[Effect] = [*clears]
        for cut in cuts:
            if cut.was_cut:
                self._cut.append(cut.item_id)
                out.append(ToModel(realtime_api.truncate(cut.item_id, cut.heard_ms)))
        return out + self._end_turns(cuts)

    def settle(self, now: float) -> list[Effect]:
        """The end: what was heard of what was being said."""
        _, cuts = self._mouth.stop(now)
        return self._end_turns(cuts)

    def _end_turns(self, cuts: list[Cut]) -> list[Effect]:
        facts: list[Fact | None] = [
            self._turns.agent_ended(
                cut.item_id, cut.heard_ms, cut.generated_ms, was_cut=cut.was_cut
            )
            for cut in cuts
        ]
        # What had text but no sound yet will never have any.
        facts += [
            self._turns.agent_ended(item_id, 0, 0, was_cut=True)
            for item_id in self._turns.unfinished(AGENT)
        ]
        return _records(*facts)

    def late_audio(self, event: realtime_events.AudioDelta, now: float) -> list[Effect]:
        """Audio of an item that was cut, or may not begin any more: generated, and not heard."""
        item_id = event.item_id
        if not self._turns.knows(item_id):
            self._turns.begin(item_id, AGENT, self._clock.ms(now))
            self._turns.agent_ended(item_id, 0, 0, was_cut=True)
        out = _records(self._turns.agent_late(item_id, self._mouth.length_ms(event.audio)))
        if self._turns.is_unheard(item_id) and item_id not in self._cut:
            # It has begun only now; before, there was nothing that the model could have forgotten.
            self._cut.append(item_id)
            out.append(ToModel(realtime_api.truncate(item_id, 0)))
        return out

    def responses_in_play(self) -> set[str]:
        """The responses whose audio is on its way to the ear."""
        return self._mouth.playout.responses()

    def all_complete(self, now: float) -> list[ToPhone]:
        """Nothing more is waited for: what was being said ends with what has arrived."""
        return self._mouth.complete_all(now)

    @property
    def awaits_words(self) -> bool:
        """Whether the recipient has said something whose transcription is still to come."""
        return bool(self._turns.unfinished(RECIPIENT))

    def give_up_words(self) -> list[Effect]:
        """The transcription did not come in time; the turn stays without words."""
        waiting = self._turns.unfinished(RECIPIENT)
        return _records(*(self._turns.recipient_said(item_id, None) for item_id in waiting))

    def iso(self, now: float) -> str:
        """The wall clock's time, UTC, for the record."""
        return self._clock.iso(now)


def _records(*facts: Fact | None) -> list[Effect]:
    known: Iterable[Fact] = (fact for fact in facts if fact is not None)
    return [Record(fact) for fact in known]
