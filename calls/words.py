"""What happened to a call, in staff's words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from calls.core import twilio_errors
from calls.core.lifecycle import EndReason, Status
from calls.models import Call, CallEvent

LIVE, WAITING, GOOD, BAD, MISSED, PLAIN = "live", "waiting", "good", "bad", "missed", ""


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong with a call, for somebody who has to do something about it."""

    title: str
    detail: str
    what_to_do: str
    code: str
    link: str


_STATUS_EVENTS: Final[dict[str, str]] = {
    Status.QUEUED: "The call was asked for",
    Status.DIALING: "A worker asks Twilio to dial",
    Status.UNKNOWN: "Twilio's answer was lost: being looked up, not dialled again",
    Status.INITIATED: "Twilio dials the number",
    Status.RINGING: "The phone rings",
    Status.IN_PROGRESS: "The person answered",
    Status.COMPLETED: "The call is over",
    Status.BUSY: "The line was busy",
    Status.NO_ANSWER: "Nobody answered",
    Status.FAILED: "The call failed",
    Status.CANCELED: "The call was cancelled",
    Status.BLOCKED: "The call was not allowed",
    Status.EXPIRED: "The hours for calling had passed",
}
_EVENTS: Final[dict[str, tuple[str, str]]] = {
    "stream.opened": ("The agent is on the line", PLAIN),
    "stream.closed": ("The audio connection was closed", PLAIN),
    "stream.lost": ("The audio connection was lost", BAD),
    "stream.refused": ("An audio connection was refused", BAD),
    "model.connected": ("The AI model is ready", PLAIN),
    "model.lost": ("The connection to the AI model was lost", BAD),
    "model.error": ("The AI model reported an error", BAD),
    "model.response_failed": ("The AI model failed to answer", BAD),
    "model.unreadable": ("The AI model sent something unreadable", BAD),
    "tool.called": ("The agent used a tool", PLAIN),
    "tool.result": ("The tool answered", PLAIN),
    "key.pressed": ("The person pressed a key", PLAIN),
    "conversation.closing": ("The conversation is being closed", PLAIN),
    "duration.warned": ("The agent was told that time is running out", PLAIN),
    "silence.nudged": ("Nobody spoke: the agent asked again", PLAIN),
    "conversation.ended": ("The conversation ended", PLAIN),
    "rejected": ("Twilio refused the call", BAD),
    "bound": ("Twilio accepted the call", PLAIN),
    "ambiguous": ("Twilio shows several calls that may be ours", BAD),
    "hang-up": ("Hanging up", PLAIN),
    "twilio.stream-error": ("Twilio could not connect the audio", BAD),
    "recording.ready": ("The recording is ready to be played", GOOD),
    "recording.absent": ("There is no recording", BAD),
    "recording.rejected": ("The recording is not usable", BAD),
    "recording.failed": ("The recording could not be fetched", BAD),
    "recording.deleted_at_twilio": ("Twilio deleted its copy of the recording", PLAIN),
    "amd": ("Twilio's guess at who answered", PLAIN),
}
_RECORDING_REPORTS: Final[dict[str, str]] = {
    "in-progress": "Twilio records the call",
    "completed": "Twilio has finished the recording",
    "absent": "Twilio has no recording",
    "failed": "Twilio failed to record",
}
# Kept, but no part of the story: repetitions, and what another entry says already.
_UNTOLD_KINDS: Final = frozenset({"twilio.stream-started", "twilio.stream-stopped"})
_UNTOLD_NOTES: Final = frozenset({"known already"})
_ANSWERED_BY: Final[dict[str, str]] = {
    "human": "a person",
    "fax": "a fax machine",
    "unknown": "not sure who answered",
}
_WHAT_TO_DO: Final[dict[EndReason, str]] = {
    EndReason.MODEL_FAILED: "Check OPENAI_API_KEY, the account's limits and OpenAI's status page;"
    " then call again.",
    EndReason.STREAM_LOST: "Check that PUBLIC_BASE_URL is reachable from the internet by"
    " WebSocket; then call again.",
    EndReason.INTERNAL_ERROR: "Look for the call's id in the web process's log, and report it.",
    EndReason.REJECTED: "Correct what Twilio objects to; then call again.",
}
_BAD_STATUSES: Final = frozenset({Status.FAILED, Status.BLOCKED, Status.EXPIRED})
_MISSED: Final = frozenset({Status.BUSY, Status.NO_ANSWER, Status.CANCELED})


def tone_of(status: Status) -> str:
    """How a status looks; its words always stand beside it."""
    if status is Status.IN_PROGRESS:
        return LIVE
    if not status.is_terminal:
        return WAITING
    if status in _BAD_STATUSES:
        return BAD
    return MISSED if status in _MISSED else GOOD


def is_told(event: CallEvent) -> bool:
    """Whether staff want to read it."""
    return event.kind not in _UNTOLD_KINDS and event.note not in _UNTOLD_NOTES


def describe(event: CallEvent, end_reason: str = "") -> tuple[str, str]:
    """An event as a sentence, and its tone; `end_reason` is why the call ended, if it has."""
    kind, data = event.kind, event.data if isinstance(event.data, dict) else {}
    status = _status_of(event, data)
    if status is not None:
        tone = tone_of(status)
        return _STATUS_EVENTS[status], tone if tone in (GOOD, BAD) else PLAIN
    if kind == "recording":
        word = str(data.get("RecordingStatus", ""))
        return _RECORDING_REPORTS.get(word, f"Twilio reported the recording: {word}"), PLAIN
    known = _EVENTS.get(event.key if kind == "status" else kind)
    if known is None:
        return kind.replace(".", " ").replace("_", " ").replace("-", " ").capitalize(), PLAIN
    text, tone = known
    extra = _extra(kind, data)
    if kind == "conversation.ended" and end_reason not in ("", data.get("reason")):
        # A conversation only sees its line go dead, and takes that for the person. Who really hung
        # up is on the record: two stories of one end would be one too many.
        extra = ""
    return (f"{text}: {extra}" if extra else text), tone


def _status_of(event: CallEvent, data: dict[str, Any]) -> Status | None:
    """Twilio's reports name the status in their data, ours in the key or the kind."""
    if event.kind != "status":
        word = event.kind
    elif "CallStatus" in data:
        # Twilio's "queued" is a call that it has accepted, ours one that nobody has dialled.
        word = str(data["CallStatus"]).replace("queued", Status.INITIATED)
    else:
        word = event.key.removeprefix("status:")
    return Status(word) if word in set(Status) else None


def _extra(kind: str, data: dict[str, Any]) -> str:
    match kind:
        case "key.pressed":
            return str(data.get("digit", ""))
        case "tool.called":
            return str(data.get("tool", ""))
        case "amd":
            return answered_by(str(data.get("AnsweredBy", data.get("answered_by", ""))))
        case "conversation.closing" | "conversation.ended" | "hang-up":
            return reason_label(str(data.get("reason", "")))
        case "model.error" | "model.response_failed" | "model.lost" | "stream.lost":
            return str(data.get("message") or data.get("detail") or data.get("code") or "")[:200]
        case _ if "problem" in data or "StreamError" in data:
            return str(data.get("problem") or data.get("StreamError"))[:200]
    return ""


def answered_by(word: str) -> str:
    """Twilio's word for who answered, in ours."""
    if word.startswith("machine"):
        return "an answering machine"
    return _ANSWERED_BY.get(word, word)


def reason_label(word: str) -> str:
    """An end reason's words; a word that we do not know stays as it is."""
    try:
        return EndReason(word).label
    except ValueError:
        return word


def details(event: CallEvent) -> str:
    """The data that came with an event, for those who want to see it."""
    return (
        json.dumps(event.data, indent=1, ensure_ascii=False, sort_keys=True) if event.data else ""
    )


def problem_of(call: Call) -> Problem | None:
    """What went wrong and what to do about it, or None if nothing did."""
    reason = call.end_reason
    is_bad = call.state in _BAD_STATUSES or reason in _WHAT_TO_DO
    if not is_bad and not call.error_code:
        return None
    title = reason_label(reason) if reason else call.state.label
    if call.error_code.isdecimal():
        known = twilio_errors.explain(int(call.error_code), call.end_detail)
        link = f"https://www.twilio.com/docs/errors/{call.error_code}"
        return Problem(title, known.what, known.fix, call.error_code, link)
    detail = call.end_detail or twilio_errors.explain_sip(call.sip_code)
    what_to_do = _WHAT_TO_DO.get(EndReason(reason), "") if reason else ""
    return Problem(title, detail, what_to_do, call.error_code, "")
