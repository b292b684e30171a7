"""Tools run off the event loop, have a deadline, and always give the model an answer."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime import tools
from realtime.core.tools import Accepted, Refused, ToolSpec, check_call


@pytest.fixture
def stuck() -> Iterator[threading.Event]:
    """Releases a tool that hangs."""
    release = threading.Event()
    yield release
    release.set()


def register(monkeypatch: pytest.MonkeyPatch, name: str, function: tools.Tool) -> None:
    monkeypatch.setitem(tools._specs, name, ToolSpec(name, "Test."))
    monkeypatch.setitem(tools._functions, name, function)


async def test_the_result_reaches_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, "add", lambda call_id, a, b: a + b)

    output = await tools.run("add", {"a": 1, "b": 2}, "call-1")

    assert json.loads(output) == {"ok": True, "result": 3}


async def test_a_tool_that_raises_becomes_an_error_for_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """[D14] Without its traceback."""
    register(monkeypatch, "fail", lambda call_id: 1 / 0)

    output = await tools.run("fail", {}, "call-1")

    assert json.loads(output) == {"ok": False, "error": "It failed."}


async def test_a_tool_that_hangs_is_given_up(
    monkeypatch: pytest.MonkeyPatch, stuck: threading.Event
) -> None:
    """[D14] After its deadline the conversation goes on."""
    monkeypatch.setattr(tools, "DEADLINE_S", 0.05)
    register(monkeypatch, "hang", lambda call_id: stuck.wait(30))

    output = await tools.run("hang", {}, "call-1")

    assert json.loads(output) == {"ok": False, "error": "It took too long."}


async def test_a_result_that_is_too_long_is_an_error_and_not_half_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """[D14] Half of a JSON text is none."""
    register(monkeypatch, "talk", lambda call_id: "x" * 8_000)

    output = await tools.run("talk", {}, "call-1")

    assert json.loads(output) == {"ok": False, "error": "Its result is too long."}


async def test_a_result_that_json_does_not_know_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    register(monkeypatch, "measure", lambda call_id: float("nan"))

    output = await tools.run("measure", {}, "call-1")

    assert json.loads(output) == {"ok": False, "error": "It failed."}


async def test_tools_that_hang_hold_up_nobody_else(
    monkeypatch: pytest.MonkeyPatch, stuck: threading.Event
) -> None:
    """They run in threads of their own; whatever else runs in threads goes on."""
    monkeypatch.setattr(tools, "DEADLINE_S", 0.05)
    monkeypatch.setattr(tools, "_threads", ThreadPoolExecutor(2))
    shared = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(shared)
    register(monkeypatch, "hang", lambda call_id: stuck.wait(30))

    outputs = await asyncio.gather(*(tools.run("hang", {}, "call-1") for _ in range(8)))

    assert {json.loads(output)["error"] for output in outputs} == {"It took too long."}
    async with asyncio.timeout(10):
        assert await asyncio.to_thread(lambda: "free") == "free"


def test_an_agent_gets_only_the_tools_it_may_use() -> None:
    assert [spec.name for spec in tools.specs(["end_call", "format_disk"])] == ["end_call"]
    assert tools.specs([]) == []


BOOK = ToolSpec(
    "book",
    "Test.",
    {
        "type": "object",
        "properties": {"seats": {"type": "integer"}, "row": {"type": ["string", "null"]}},
        "required": ["seats"],
    },
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.text() | st.dictionaries(st.sampled_from(["seats", "row", "x"]), json_values))
def test_any_arguments_are_accepted_or_refused_and_raise_nothing(asked: object) -> None:
    """[D14] Whatever the model writes; what is accepted is what the schema allows."""
    arguments = asked if isinstance(asked, str) else json.dumps(asked)

    verdict = check_call(BOOK, "book", arguments)

    assert isinstance(verdict, Accepted | Refused)
    if isinstance(verdict, Accepted):
        assert type(verdict.arguments["seats"]) is int
        assert set(verdict.arguments) <= {"seats", "row"}
