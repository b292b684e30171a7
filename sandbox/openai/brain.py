"""The built-in conversationalist: an appointment on Friday, good manners, and no secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.openai.conversation import Item
from sandbox.openai.errors import Json
from sandbox.openai.recognition import UNINTELLIGIBLE
from sandbox.openai.replies import CallTool, Part, Say

GREETING = "Hi, I am Ada, an AI assistant. Is Friday fine?"
CONFIRMED = "Great, see you on Friday. Anything else?"
GOODBYE = "Thank you, goodbye!"
EXPLAINS = (
    "Let me explain: your appointment is on Friday at ten, in our office on the second floor, and "
    "it takes about half an hour."
)
HOURS = "We are open from nine to five, Monday to Friday."
GO_AHEAD = "Of course, go ahead."
IS_AI = "Yes, I am an AI assistant."
STILL_THERE = "Are you still there?"
AGAIN = "Sorry, could you say that again?"
BACK = "Sorry, I lost you for a moment. Please go on."
NOTED = "Noted, thank you."
REMOVED = "I will not call you again. Goodbye."
REFUSES = "I am sorry, I cannot do that."
TIME_UP = "I am sorry, our time is up. Goodbye."
MESSAGE = "Hi, I am Ada, an AI assistant. I will call again. Goodbye."
APOLOGY = "I am sorry, something went wrong. Goodbye."

_REPEAT = "<repeat>"

# What a person says, and the answer to it; the first that matches counts.
_ANSWERS = (
    (r"stop calling|do(n't| not) call|remove me|take me off", REMOVED),
    (r"voicemail|leave a message|after the tone", MESSAGE),
    (r"ignore (all |your )|system prompt|call my|instead", REFUSES),
    (r"robot|machine|real person|human|\bai\b", IS_AI),
    (r"say that again|repeat", _REPEAT),
    (r"good ?bye|\bbye\b|that's all|nothing else", GOODBYE),
    (r"\bopen\b|hours", HOURS),
    (r"explain", EXPLAINS),
    (r"\bwait\b|moment", GO_AHEAD),
    (r"think|not sure", NOTED),
    (r"\byes\b|friday|\bfine\b|sure|okay", CONFIRMED),
    (r"hello|\bhi\b", GREETING),
    (r"mhm", GO_AHEAD),
)
_LAST_WORDS = frozenset({GOODBYE, REMOVED, MESSAGE})

# What the client asks for in the instructions of one response (or in a system message).
_ORDERS = (
    (r"still there|silen", STILL_THERE),
    (r"\btime\b.{0,30}\bis (nearly |almost )?(up|over)\b|time limit|out of time", TIME_UP),
    (r"voicemail|answering machine|leave a message", MESSAGE),
    (r"reconnect|interrupted|connection|where you (were|left)|carry on|resume", BACK),
    (r"went wrong|apologi[sz]e|technical", APOLOGY),
    (r"good ?bye", GOODBYE),
    (r"greet|introduce|open the (call|conversation)|begin|start the", GREETING),
)
_EXACTLY = re.compile(
    r"say exactly\b[^\"'“‘«]*(?:(?P<json>\"(?:[^\"\\]|\\.)+\")|“([^”]+)”|«([^»]+)»|'(.+)'|‘(.+)’)",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Situation:
    """What the model knows when it is asked to answer."""

    orders: str
    """The instructions of this response alone, without the session's; empty if it has none."""
    items: Sequence[Item]
    tools: Sequence[Json]
    tool_choice: Any = "auto"
    silent: bool = False
    """The turn is a silence that the idle timeout committed."""


def orders_in(instructions: str, session_instructions: str) -> str:
    """What a response's own instructions add to the session's, which they replace or repeat."""
    if session_instructions:
        instructions = instructions.replace(session_instructions, "")
    return instructions.strip()


def answer(situation: Situation) -> tuple[Part, ...]:
    """What the model says and does now."""
    forced = _forced_call(situation)
    if forced is not None:
        return (forced,)
    words = _words(situation)
    parts: list[Part] = [Say(words)]
    if situation.tool_choice != "none" and words in _LAST_WORDS:
        parts += _last_acts(situation, words)
    return tuple(parts)


def _words(situation: Situation) -> str:
    if (exact := _exact_words(situation.orders)) is not None:
        return exact
    # The last paragraph says what to do now; what stands before it is who to be.
    now = situation.orders.strip().rpartition("\n\n")[2]
    if (ordered := _first(_ORDERS, now)) is not None:
        return ordered
    if situation.silent:
        return STILL_THERE
    last = next((i for i in reversed(situation.items) if i.role != "assistant"), None)
    if last is None or last.kind == "function_call":
        return GREETING
    if last.kind == "function_call_output":
        return NOTED
    if last.role == "system":
        return _first(_ORDERS, last.text) or _to_person(situation)
    return _to_person(situation)


def _exact_words(orders: str) -> str | None:
    """The sentence that stands in quotation marks after "say exactly"."""
    found = _EXACTLY.search(orders)
    if found is None:
        return None
    quoted = next(g for g in found.groups() if g)
    if found["json"] is None:
        return quoted
    try:
        return str(json.loads(quoted))
    except ValueError:  # plain quotation marks around text that is no JSON string
        return quoted[1:-1]


def _to_person(situation: Situation) -> str:
    said = [i for i in situation.items if i.role == "user"]
    if not said:
        return GREETING
    heard = (said[-1].heard or said[-1].text).lower()
    if not heard or heard == UNINTELLIGIBLE:
        return AGAIN
    reply = _first(_ANSWERS, heard) or NOTED
    own = [i.text for i in situation.items if i.role == "assistant" and i.text]
    if reply == _REPEAT:
        return own[-1] if own else GREETING
    if reply == GREETING and own:
        return GO_AHEAD
    return reply


def _last_acts(situation: Situation, words: str) -> list[Part]:
    """After the last words: note the wish not to be called, then hang up."""
    tools = {t["name"]: t for t in situation.tools if t.get("type") == "function"}
    wish = r"do_not_call|opt_out|stop_call"
    names = [n for n in tools if words == REMOVED and re.search(wish, n)]
    names += [n for n in tools if n == "end_call" and (words != GOODBYE or _may_end(situation))]
    return [CallTool(n, _arguments(tools[n])) for n in names]


def _may_end(situation: Situation) -> bool:
    """A goodbye on request is only said; one in answer to a goodbye ends the call."""
    return not situation.orders or "end_call" in situation.orders


def _forced_call(situation: Situation) -> CallTool | None:
    choice = situation.tool_choice
    tools = [t for t in situation.tools if t.get("type") == "function"]
    if isinstance(choice, dict):
        tools = [t for t in tools if t["name"] == choice.get("name")]
    elif choice != "required":
        return None
    return CallTool(tools[0]["name"], _arguments(tools[0])) if tools else None


def _arguments(tool: Json) -> str:
    return json.dumps(sample(tool.get("parameters") or {}))


def sample(schema: Json) -> Any:
    """The plainest value that a JSON schema allows: required members, first choices."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        members = schema.get("properties", {})
        return {n: sample(members.get(n, {})) for n in schema.get("required", [])}
    if kind == "array":
        return [sample(schema.get("items", {}))] * int(schema.get("minItems", 0))
    plain = {"string": "goodbye", "integer": 1, "number": 1, "boolean": True, "null": None}
    return schema.get("minimum", plain.get(kind, "goodbye"))


def _first(table: Sequence[tuple[str, str]], text: str) -> str | None:
    lowered = text.lower()
    return next((reply for pattern, reply in table if re.search(pattern, lowered)), None)
