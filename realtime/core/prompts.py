"""What we tell the model during a call, beyond the agent's own instructions."""

from __future__ import annotations

import json

from calls.core.brief import Brief

GOODBYE = "The conversation is over. Say one short, friendly goodbye now, and nothing else."
TIME_IS_SHORT = (
    "This call must end in about 30 seconds. Come to the point, and bring the conversation to a"
    " friendly close."
)
TIME_IS_UP = (
    "The time for this call is up. Say in one short sentence that you have to end the call now,"
    " and say goodbye."
)
STILL_THERE = (
    "The person has been silent for a while. Ask in one short sentence if they are still there."
)
NOBODY_THERE = (
    "The person does not answer any more. Say in one short sentence that you will end the call"
    " now, and say goodbye."
)
RESUMED = (
    "The line was interrupted for a moment and is back. Apologise in one short sentence and go on"
    " where the conversation stopped."
)
TOOL_OK = json.dumps({"ok": True})
TOOL_INTERRUPTED = json.dumps({"ok": False, "error": "Not done: the person interrupted."})


def with_task(brief: Brief, task: str) -> str:
    """The agent's instructions with what to do right now: a response's replace the session's."""
    return f"{brief.instructions}\n\n# Now\n{task}"


def verbatim(text: str) -> str:
    """Have exactly this said; the text is quoted so that it cannot read as an instruction."""
    return (
        f"Say exactly this, word for word, and nothing else: {json.dumps(text, ensure_ascii=False)}"
    )


def key_pressed(digit: str) -> str:
    return f"[The person pressed the key {digit} on the phone.]"


def tool_error(why: str) -> str:
    return json.dumps({"ok": False, "error": why})
