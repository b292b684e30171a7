"""The part of the control API that moves the model: scripts, settings, records, live sockets.

Mounted beside the telephone's part; every body and answer is JSON, every refusal names the field.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web

from sandbox.openai.errors import Json
from sandbox.openai.ledger import Ledger
from sandbox.openai.replies import BadScript
from sandbox.openai.state import State

PREFIX = "/sandbox/openai"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def control_routes(state: State) -> list[web.RouteDef]:
    """The routes, to be added to the application that holds the control API."""
    control = Control(state)
    return [
        web.post(f"{PREFIX}/script", _answered(control.script)),
        web.delete(f"{PREFIX}/script", _answered(control.forget_script)),
        web.get(f"{PREFIX}/settings", _answered(control.settings)),
        web.put(f"{PREFIX}/settings", _answered(control.change_settings)),
        web.post(f"{PREFIX}/faults", _answered(control.add_fault)),
        web.delete(f"{PREFIX}/faults", _answered(control.clear_faults)),
        web.get(f"{PREFIX}/sessions", _answered(control.sessions)),
        web.get(f"{PREFIX}/sessions/{{id}}", _answered(control.session)),
        web.post(f"{PREFIX}/sessions/{{id}}/do", _answered(control.act)),
        web.post(f"{PREFIX}/reset", _answered(control.reset)),
    ]


class Control:
    """What each route does."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def script(self, request: web.Request) -> Json:
        """Queue responses: `{"responses": [...], "settings": {...}?}`, for all sessions, for
        one (`"session": id`), or for those whose instructions hold a text (`"match": text`).
        """
        return {"waiting": self._state.script(await _body(request))}

    async def forget_script(self, request: web.Request) -> Json:
        """Drop every response that waits."""
        self._state.forget_script()
        return {"waiting": 0}

    async def settings(self, request: web.Request) -> Json:
        """How sessions behave that open from now on."""
        return self._state.behaviour.to_json()

    async def change_settings(self, request: web.Request) -> Json:
        """Change some of it."""
        self._state.behaviour = self._state.behaviour.changed(await _body(request))
        return self._state.behaviour.to_json()

    async def add_fault(self, request: web.Request) -> Json:
        """Let something go wrong: `{"where": "openai.connect", "what": "status:503"}`."""
        body = await _body(request)
        if not isinstance(body, dict) or not body.get("where") or not body.get("what"):
            raise BadScript("a fault needs 'where' and 'what'")
        self._state.add_fault(str(body["where"]), str(body["what"]), body.get("times", 1))
        return {"faults": [vars(f) for f in self._state.faults]}

    async def clear_faults(self, request: web.Request) -> Json:
        """Nothing goes wrong any more."""
        self._state.clear_faults()
        return {"faults": []}

    async def sessions(self, request: web.Request) -> Json:
        """Every session, oldest first; `?events=1` with what went over the wire."""
        with_events = request.query.get("events", "") not in ("", "0")
        ledgers = list(self._state.ledgers.values())
        return {"sessions": [self._shown(one, with_events=with_events) for one in ledgers]}

    async def session(self, request: web.Request) -> Json:
        """One session with its events; `last` is the newest."""
        return self._shown(self._find(request.match_info["id"]), with_events=True)

    async def act(self, request: web.Request) -> Json:
        """Do something to an open socket: `{"do": "close", "code": 1011}`; `all` means each."""
        body = await _body(request)
        if not isinstance(body, dict):
            raise BadScript("the body must be an object such as {'do': 'close', 'code': 1011}")
        wanted = request.match_info["id"]
        ids = list(self._state.live) if wanted == "all" else [self._find(wanted).id]
        for session_id in ids:
            if session_id not in self._state.live:
                raise BadScript(f"session {session_id} is closed already")
            self._state.live[session_id].act(str(body.get("do")), body)
        return {"sessions": ids}

    async def reset(self, request: web.Request) -> Json:
        """Forget scripts, faults, settings, secrets and finished sessions."""
        self._state.reset()
        return {}

    def _find(self, wanted: str) -> Ledger:
        ledgers = self._state.ledgers
        if wanted == "last" and ledgers:
            return ledgers[next(reversed(ledgers))]
        if wanted not in ledgers:
            raise BadScript(f"there is no session '{wanted}'")
        return ledgers[wanted]

    def _shown(self, ledger: Ledger, *, with_events: bool) -> Json:
        record = ledger.to_json(with_events=with_events)
        return {**record, "open": ledger.id in self._state.live}


def _answered(handle: Callable[[web.Request], Awaitable[Json]]) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return web.json_response(await handle(request))
        except BadScript as problem:
            return web.json_response({"error": str(problem)}, status=400)

    return answer


async def _body(request: web.Request) -> object:
    try:
        # As strict as the sessions: what this lets in can be sent to a client.
        body: object = await request.json(loads=orjson.loads)
    except ValueError:
        raise BadScript("the body is not JSON") from None
    return body
