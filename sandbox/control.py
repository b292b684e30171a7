"""The control API, `/sandbox/…` on the Twilio port: people, faults, settings, log and ledgers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

from aiohttp import web

from sandbox.faults import FaultError, read_times
from sandbox.people import PersonError, behaviour_from, is_amount
from sandbox.state import State
from sandbox.twilio.calls import Call
from sandbox.twilio.carrier import Carrier
from sandbox.twilio.orders import E164

Json = dict[str, Any]
Work = Callable[[web.Request], Awaitable[Any]]

SETTINGS = (
    "numbers",
    "cps",
    "consistency_lag_s",
    "recording_delay_s",
    "price_delay_s",
    "amd_human_s",
    "amd_machine_s",
    "post_dial_s",
    "stream_query",
    "auth_token",
    "shared_key",
    "routes",
)


class ModelFaults(Protocol):
    """The faults of the other half, which knows what can go wrong there."""

    @property
    def faults(self) -> Sequence[Any]: ...
    def add_fault(self, where: str, what: str, times: int) -> None: ...
    def clear_faults(self) -> None: ...


class ControlError(ValueError):
    """The order makes no sense; the text names the field and the fix."""


class Control:
    """What tests and demonstrations tell the sandbox."""

    def __init__(self, carrier: Carrier, model: ModelFaults) -> None:
        self._carrier = carrier
        self._state: State = carrier.state
        self._model = model

    def routes(self) -> list[web.RouteDef]:
        """Every route; all bodies and answers are JSON."""
        return [
            web.get("/sandbox/people", _answered(self._list_people)),
            web.put("/sandbox/people/{number}", _answered(self._put_person)),
            web.get("/sandbox/faults", _answered(self._list_faults)),
            web.post("/sandbox/faults", _answered(self._add_fault)),
            web.delete("/sandbox/faults", _answered(self._clear_faults)),
            web.get("/sandbox/settings", _answered(self._settings)),
            web.post("/sandbox/settings", _answered(self._change_settings)),
            web.post("/sandbox/reset", _answered(self._reset)),
            web.get("/sandbox/log", _answered(self._log)),
            web.get("/sandbox/calls", _answered(self._calls)),
            web.get("/sandbox/calls/{call}", _answered(self._call_details)),
            web.get("/sandbox/calls/{call}/ledger", _answered(self._ledger)),
            web.post("/sandbox/calls/{call}/hang-up", _answered(self._hang_up)),
            web.post("/sandbox/calls/{call}/person", _answered(self._move_person)),
        ]

    # --- people ----------------------------------------------------------------------------------

    async def _list_people(self, _: web.Request) -> Json:
        return {number: b.to_json() for number, b in self._carrier.people.known().items()}

    async def _put_person(self, request: web.Request) -> Json:
        number = request.match_info["number"]
        check_number("number", number)
        return self._carrier.people.put(number, await _body(request)).to_json()

    # --- faults ----------------------------------------------------------------------------------

    async def _list_faults(self, _: web.Request) -> Json:
        faults = [*self._state.faults, *self._model.faults]
        return {"faults": [dataclasses.asdict(fault) for fault in faults]}

    async def _add_fault(self, request: web.Request) -> Json:
        body = await _body(request)
        where, what = str(body.get("where", "")), str(body.get("what", ""))
        if where.startswith("openai."):
            times = read_times(body)
            self._model.add_fault(where, what, times)
            return {"where": where, "what": what, "times": times}
        fault = self._state.faults.add(body)
        self._state.log.add("control", "fault", dataclasses.asdict(fault))
        return dataclasses.asdict(fault)

    async def _clear_faults(self, _: web.Request) -> Json:
        self._state.faults.clear()
        self._model.clear_faults()
        return {"faults": []}

    # --- settings, reset -------------------------------------------------------------------------

    async def _settings(self, _: web.Request) -> Json:
        return {name: getattr(self._state.options, name) for name in SETTINGS}

    async def _change_settings(self, request: web.Request) -> Json:
        body = await _body(request)
        for name, value in body.items():
            _check_setting(name, value, getattr(self._state.options, name, None))
        for name, value in body.items():
            if name == "routes":
                value = dict(parse_route(f"{public}={local}") for public, local in value.items())
            setattr(self._state.options, name, value)
        return await self._settings(request)

    async def _reset(self, _: web.Request) -> Json:
        await self._carrier.reset()
        self._state.reset()
        return {"reset": True}

    # --- what happened ---------------------------------------------------------------------------

    async def _log(self, request: web.Request) -> list[Json]:
        after = _number(request, "after", 0)
        wait_s = min(60.0, _number(request, "wait_s", 0))
        if wait_s:
            return await self._state.log.wait_after(int(after), wait_s)
        return self._state.log.after(int(after))

    async def _calls(self, _: web.Request) -> list[Json]:
        return [call.to_json(self._state.clock.utc()) for call in self._carrier.calls.values()]

    def _call(self, request: web.Request) -> Call:
        call = self._carrier.calls.get(request.match_info["call"])
        if call is None:
            raise ControlError(f"call: there is no {request.match_info['call']!r}.")
        return call

    async def _call_details(self, request: web.Request) -> Json:
        call = self._call(request)
        recordings = [r.to_json() for r in self._carrier.recordings_of(call.sid)]
        return call.to_json(self._state.clock.utc()) | {"recordings": recordings}

    async def _ledger(self, request: web.Request) -> Json:
        """On the clock of the first stream, unless `?stream=n` or `?stream=answer` says else."""
        call = self._call(request)
        line = self._carrier.running[call.sid].line
        if line is None:
            raise ControlError(f"call: {call.sid} was not answered, so nothing was played.")
        chosen = request.query.get("stream", "all")
        if chosen == "answer":
            return line.ledger(None)
        if chosen == "all":
            return line.ledger(None, from_first_stream=True)
        return line.ledger(int(_number(request, "stream", 0)))

    async def _hang_up(self, request: web.Request) -> Json:
        """As if the person had put down the receiver."""
        call = self._call(request)
        self._carrier.running[call.sid].hang_up()
        return {"call": call.sid}

    async def _move_person(self, request: web.Request) -> Json:
        """Let the person leave their script and do this instead, from now on."""
        call, body = self._call(request), await _body(request)
        line = self._carrier.running[call.sid].line
        if line is None or call.is_over:
            raise ControlError(f"call: nobody is on the line of {call.sid}.")
        if "script" not in body:
            raise ControlError("script: missing; it says what the person does from now on.")
        line.person.do_instead(behaviour_from({"script": body["script"]}).script)
        return {"call": call.sid}


def _check_setting(name: str, value: object, now: object) -> None:
    if name not in SETTINGS:
        raise ControlError(f"{name}: not a setting; use one of {sorted(SETTINGS)}.")
    if isinstance(now, float) and not is_amount(value):
        raise ControlError(f"{name}: must be a number from 0 upwards, not {value!r}.")
    if name == "cps" and not value:
        raise ControlError("cps: must be more than 0.")
    if isinstance(now, list | dict | str) and not isinstance(value, type(now)):
        raise ControlError(f"{name}: must be a {type(now).__name__}, not {value!r}.")
    if name == "stream_query" and value not in ("strip", "refuse"):
        raise ControlError(f"stream_query: must be strip or refuse, not {value!r}.")
    if name == "auth_token" and not value:
        raise ControlError("auth_token: must not be empty.")
    if name == "shared_key" and value and not all(str(value).partition(":")):
        raise ControlError(f"shared_key: must be <id>:<secret> or empty, not {value!r}.")
    if name == "numbers" and isinstance(value, list):
        for number in value:
            check_number("numbers", number)
    if name == "routes" and isinstance(value, dict):
        for public, local in value.items():
            parse_route(f"{public}={local}")


def check_number(name: str, number: object) -> None:
    """Raise ControlError unless this is a telephone number."""
    if not isinstance(number, str) or not E164.fullmatch(number):
        raise ControlError(f"{name}: {number!r} is not E.164; write it like +14155550123.")


def parse_route(text: str) -> tuple[str, str]:
    """Read `https://public.example=http://127.0.0.1:8000`; raises ControlError."""
    public, _, local = text.partition("=")
    for address in (public, local):
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path not in ("", "/"):
            raise ControlError(
                f"route: {text!r} is not PUBLIC=LOCAL, such as "
                "https://calls.example.test=http://127.0.0.1:8000."
            )
    return public.rstrip("/"), local.rstrip("/")


def _number(request: web.Request, name: str, default: float) -> float:
    text = request.query.get(name, "")
    try:
        number = float(text) if text else default
    except ValueError:
        number = math.nan
    if not is_amount(number):
        raise ControlError(f"{name}: must be a number from 0 upwards, not {text!r}.")
    return number


async def _body(request: web.Request) -> Json:
    try:
        body = await request.json()
    except ValueError:
        raise ControlError("body: must be JSON.") from None
    if not isinstance(body, dict):
        raise ControlError("body: must be a JSON object.")
    return body


def _answered(work: Work) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        try:
            return web.json_response(await work(request))
        except (ControlError, PersonError, FaultError) as exc:
            return web.json_response({"error": str(exc)}, status=400)
        except ValueError as exc:  # the model's half has errors of its own, all ValueErrors
            return web.json_response({"error": str(exc)}, status=400)

    return answer
