"""Runs the tools of agents: off the event loop, with a deadline, one result whatever happens."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from realtime.core.prompts import tool_error
from realtime.core.tools import END_CALL, ToolSpec

logger = logging.getLogger(__name__)

DEADLINE_S = 5.0
MAX_OUTPUT_CHARS = 8_000
MAX_RUNNING = 16

Tool = Callable[..., Any]

_specs: dict[str, ToolSpec] = {END_CALL.name: END_CALL}
_functions: dict[str, Tool] = {}
# Of their own: a tool that hangs keeps its thread, and nobody but tools waits for it.
_threads = ThreadPoolExecutor(MAX_RUNNING, thread_name_prefix="tool")


def register(spec: ToolSpec, function: Tool) -> None:
    """Offer a function as a tool; it is called with `call_id` and the checked arguments."""
    _specs[spec.name] = spec
    _functions[spec.name] = function


def specs(names: Iterable[str]) -> list[ToolSpec]:
    """The allow-list of an agent; a name that no longer exists is left out."""
    return [_specs[name] for name in names if name in _specs]


async def run(name: str, arguments: dict[str, Any], call_id: str) -> str:
    """The result as JSON text; a tool that hangs or raises becomes an error for the model."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            work = partial(_functions[name], call_id=call_id, **arguments)
            result = await asyncio.get_running_loop().run_in_executor(_threads, work)
        output = json.dumps({"ok": True, "result": result}, allow_nan=False)
    except TimeoutError:
        logger.warning("call %s: tool %s took longer than %.0f s", call_id, name, DEADLINE_S)
        return tool_error("It took too long.")
    except Exception:
        logger.exception("call %s: tool %s failed", call_id, name)
        return tool_error("It failed.")
    if len(output) > MAX_OUTPUT_CHARS:
        logger.warning("call %s: tool %s answered %d characters", call_id, name, len(output))
        return tool_error("Its result is too long.")
    return output
