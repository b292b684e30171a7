"""Who answers the phone, and how they behave. No I/O: a person lives in frames of 20 ms.

A person hears what the phone plays and speaks recorded sentences; nothing else passes between
them and the agent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from sandbox import clips
from sandbox.twilio import ulaw

FRAMES_PER_S = 50
AUDIBLE = 150.0
"""Root mean square above which a frame counts as sound."""
QUIET_FRAMES = 30
"""600 ms: a person who waits for the agent takes this much silence for its end."""
BREATH_FRAMES = 15
"""300 ms: a shorter silence does not end the agent's sentence."""
MOST_CALLS = 3
"""So often somebody who hears nothing says hello."""

Step = dict[str, Any]


class PersonError(ValueError):
    """A person cannot be made from this; the text names the field and the fix."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """What one frame of a person is."""

    audio: bytes = ulaw.SILENCE
    digit: str = ""
    hangs_up: bool = False


@dataclass(slots=True)
class Segment:
    """When a person spoke, in frames of the call; `end` follows the last."""

    clip: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What happens when a number is dialled."""

    kind: str
    outcome: str = "answers"
    """`answers`, `busy`, `no-answer` (it rings for `ring_s` at most), `rejects` or `failed`."""
    sip_code: int = 200
    ring_s: float = 0.8
    script: tuple[Step, ...] = ()
    answered_by: str = "human"
    """For answering machine detection: `human`, `machine`, `fax` or `unknown`."""
    refuse_code: int = 0
    """Not 0: the call cannot even be created, with this error."""

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "outcome": self.outcome,
            "sip_code": self.sip_code,
            "ring_s": self.ring_s,
            "script": list(self.script),
            "answered_by": self.answered_by,
            "refuse_code": self.refuse_code,
        }


def _listen(timeout_s: float = 8.0) -> Step:
    return {"wait_for_agent": True, "timeout_s": timeout_s, "else_say": "person.hello"}


# Who hears nothing after picking up says hello; that also wakes an agent that listens first.
_FIRST = _listen(2.5)
_LEAVES: tuple[Step, ...] = (
    {"wait_for_agent": True, "timeout_s": 8.0},
    {"pause_s": 3.0},
    {"hang_up": True},
)
_SAYS_GOODBYE: tuple[Step, ...] = ({"say": "person.thanks_goodbye"}, *_LEAVES)

KINDS: dict[str, Behaviour] = {
    b.kind: b
    for b in (
        Behaviour(
            "talks", script=(_FIRST, {"say": "person.yes_friday"}, _listen(), *_SAYS_GOODBYE)
        ),
        Behaviour("busy", outcome="busy", sip_code=486),
        Behaviour("no-answer", outcome="no-answer", sip_code=487, ring_s=600.0),
        Behaviour("invalid", outcome="failed", sip_code=404),
        Behaviour(
            "voicemail",
            answered_by="machine",
            script=(
                {"pause_s": 0.4},
                {"say": "person.machine"},
                {"say": "person.beep"},
                {"pause_s": 30.0},
                {"hang_up": True},
            ),
        ),
        Behaviour(
            "talks-over",
            script=(
                {"say_over_agent": "person.wait", "after_ms": 800},
                _listen(),
                {"say": "person.explain"},
                {"say_over_agent": "person.wait", "after_ms": 1500},
                _listen(),
                *_SAYS_GOODBYE,
            ),
        ),
        Behaviour("hangs-up", script=({"hang_up": True, "after_ms": 1200},)),
        Behaviour("silent", answered_by="unknown", script=({"pause_s": 300.0}, {"hang_up": True})),
        Behaviour(
            "presses-keys",
            script=(_FIRST, {"press": "1"}, _listen(), {"press": "9#"}, *_SAYS_GOODBYE),
        ),
        Behaviour("rejects", outcome="rejects", sip_code=603),
        Behaviour("opts-out", script=(_FIRST, {"say": "person.stop_calling"}, *_LEAVES)),
    )
}

# The last four digits decide, so that a demonstration needs no set-up.
NUMBER_TABLE = {
    "0101": "talks",
    "0102": "busy",
    "0103": "no-answer",
    "0104": "invalid",
    "0105": "voicemail",
    "0106": "talks-over",
    "0107": "hangs-up",
    "0108": "silent",
    "0109": "presses-keys",
    "0110": "rejects",
    "0111": "opts-out",
}

_OPTIONS = {"kind", "ring_s", "script", "answered_by", "refuse_code", "sip_code"}
_STEPS: dict[str, set[str]] = {
    "say": set(),
    "wait_for_agent": {"timeout_s", "else_say"},
    "pause_s": set(),
    "press": set(),
    "hang_up": {"after_ms"},
    "say_over_agent": {"after_ms", "timeout_s"},
}


class People:
    """Everybody who can be called: by the control API, else by the table, else somebody talks."""

    def __init__(self) -> None:
        self._known: dict[str, Behaviour] = {}

    def put(self, number: str, body: dict[str, Any]) -> Behaviour:
        """Decide who answers at a number; raises PersonError."""
        self._known[number] = behaviour_from(body)
        return self._known[number]

    def at(self, number: str) -> Behaviour:
        return self._known.get(number) or KINDS[NUMBER_TABLE.get(number[-4:], "talks")]

    def known(self) -> dict[str, Behaviour]:
        return dict(self._known)

    def clear(self) -> None:
        self._known.clear()


def behaviour_from(body: dict[str, Any]) -> Behaviour:
    """Read a person as the control API receives them; raises PersonError."""
    if unknown := set(body) - _OPTIONS:
        raise PersonError(f"{min(unknown)}: not an option; use {sorted(_OPTIONS)}.")
    base = KINDS.get(str(body.get("kind", "talks")))
    if base is None:
        raise PersonError(f"kind: {body['kind']!r} is unknown; use one of {sorted(KINDS)}.")
    script = body.get("script")
    if script is not None:
        if not isinstance(script, list):
            raise PersonError("script: must be a list of steps.")
        for number, step in enumerate(script):
            _check_step(number, step)
    return Behaviour(
        kind=base.kind,
        outcome=base.outcome,
        sip_code=int(_number(body, "sip_code", base.sip_code)),
        ring_s=_number(body, "ring_s", base.ring_s),
        script=base.script if script is None else tuple(script),
        answered_by=_answered_by(body.get("answered_by", base.answered_by)),
        refuse_code=int(_number(body, "refuse_code", base.refuse_code)),
    )


def is_amount(value: object) -> TypeGuard[float]:
    """A number from 0 upwards, and no infinite one: what Python reads as JSON may hold such."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _number(body: dict[str, Any], name: str, default: float) -> float:
    value = body.get(name, default)
    if not is_amount(value):
        raise PersonError(f"{name}: must be a number from 0 upwards, not {value!r}.")
    return value


def _answered_by(value: object) -> str:
    known = ("human", "machine", "fax", "unknown")
    if value not in known:
        raise PersonError(f"answered_by: {value!r} is unknown; use one of {known}.")
    return str(value)


def _check_step(number: int, step: object) -> None:
    where = f"script[{number}]"
    if not isinstance(step, dict):
        raise PersonError(f'{where}: must be an object such as {{"say": "person.yes"}}.')
    verbs = [name for name in step if name in _STEPS]
    # "hang_up" and the like have options of their own; a step is what it does first.
    if len(verbs) != 1:
        raise PersonError(f"{where}: needs exactly one of {sorted(_STEPS)}, not {sorted(step)}.")
    verb = verbs[0]
    if unknown := set(step) - _STEPS[verb] - {verb}:
        raise PersonError(f"{where}.{min(unknown)}: not an option of {verb}.")
    for name in ("say", "say_over_agent", "else_say"):
        if name in step and str(step[name]) not in clips.load():
            raise PersonError(f"{where}.{name}: no clip {step[name]!r}; see clips/index.json.")
    for name in ("pause_s", "timeout_s", "after_ms"):
        _number(step, name, 0)
    if verb == "press" and not set(str(step["press"])) <= set("0123456789*#ABCDabcd"):
        raise PersonError(f"{where}.press: {step['press']!r} holds more than keys of a phone.")


@dataclass(slots=True)
class _Ear:
    """What a person knows of the agent's voice."""

    speaking: int = 0
    """Frames since the agent began its sentence; 0 while it is silent."""
    quiet: int = 0
    has_spoken: bool = False
    """Since the person last finished listening or speaking."""

    def hear(self, audio: bytes) -> None:
        if audio != ulaw.SILENCE and ulaw.level(audio) > AUDIBLE:
            self.speaking += 1
            self.quiet = 0
            self.has_spoken = True
            return
        self.quiet += 1
        if self.quiet > BREATH_FRAMES:
            self.speaking = 0
        elif self.speaking:
            self.speaking += 1


_Script = Generator[Spoken, None, None]


@dataclass(slots=True)
class Person:
    """Somebody who has picked up."""

    behaviour: Behaviour
    segments: list[Segment] = field(default_factory=list)
    frame: int = 0
    beeped_at: int | None = None
    """The frame at which an answering machine had finished its beep."""
    _ear: _Ear = field(default_factory=_Ear)
    _script: _Script | None = None

    @property
    def silent_frames(self) -> int:
        """How long it has said nothing, since it last said something."""
        return self.frame - self.segments[-1].end if self.segments else 0

    def tick(self, heard: bytes) -> Spoken:
        """Live through one frame, having heard what was played in the frame before."""
        self._ear.hear(heard)
        if self._script is None:
            self._script = self._live(self.behaviour.script)
        spoken = next(self._script)
        self.frame += 1
        return spoken

    def do_instead(self, script: tuple[Step, ...]) -> None:
        """Leave the script where it is, in the middle of a word even, and follow this one."""
        self._script = self._live(script)

    def _live(self, script: tuple[Step, ...]) -> _Script:
        for step in script:
            yield from self._act(step)
        while True:
            yield Spoken()

    def _act(self, step: Step) -> _Script:
        match step:
            case {"say": clip}:
                yield from self._say(clip)
            case {"wait_for_agent": _}:
                yield from self._wait(float(step.get("timeout_s", 8.0)), step.get("else_say"))
            case {"pause_s": seconds}:
                yield from self._until(lambda: False, seconds)
            case {"press": keys}:
                yield from self._press(str(keys))
            case {"say_over_agent": clip}:
                yield from self._interrupt(step.get("after_ms", 800), step.get("timeout_s", 15.0))
                yield from self._say(clip)
            case {"hang_up": _}:
                if "after_ms" in step:
                    yield from self._interrupt(step["after_ms"], 15.0)
                yield Spoken(hangs_up=True)

    def _say(self, clip_id: str) -> _Script:
        clip = clips.load()[clip_id]
        segment = Segment(clip_id, self.frame, self.frame)
        self.segments.append(segment)
        for audio in ulaw.frames(ulaw.from_pcm(clip.pcm, clip.rate_hz)):
            segment.end = self.frame + 1
            yield Spoken(audio)
        if clip_id == "person.beep":
            self.beeped_at = self.frame
        # What the agent said meanwhile was no answer to this.
        self._ear.has_spoken = False

    def _wait(self, timeout_s: float, else_say: str | None) -> _Script:
        unheard = 0
        while unheard < MOST_CALLS:
            yield from self._until(self._agent_is_done, max(timeout_s, 1 / FRAMES_PER_S))
            if self._agent_is_done() or else_say is None:
                break
            # Who only wants to be sure that somebody is there lets the agent finish.
            if not self._ear.has_spoken:
                yield from self._say(else_say)
                unheard += 1
        self._ear.has_spoken = False

    def _agent_is_done(self) -> bool:
        return self._ear.has_spoken and self._ear.quiet >= QUIET_FRAMES

    def _interrupt(self, after_ms: float, timeout_s: float) -> _Script:
        wanted = max(1, round(after_ms * FRAMES_PER_S / 1000))
        yield from self._until(lambda: self._ear.speaking >= wanted, timeout_s)

    def _press(self, keys: str) -> _Script:
        for key in keys:
            yield Spoken(digit=key.upper())
            yield from self._until(lambda: False, 0.2)

    def _until(self, is_met: Callable[[], bool], seconds: float) -> _Script:
        for _ in range(round(seconds * FRAMES_PER_S)):
            if is_met():
                return
            yield Spoken()
