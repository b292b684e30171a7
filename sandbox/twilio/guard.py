"""What surrounds every request to the REST API: credentials, faults, errors and the log."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from sandbox.faults import Fault
from sandbox.state import State
from sandbox.twilio.connections import cut, until_gone
from sandbox.twilio.errors import ApiError

Json = dict[str, Any]
Work = Callable[[web.Request], Awaitable[web.StreamResponse]]

HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"
_BEFORE = ("delay", "hang", "reset", "html", "429", "code", "status")


class Guard:
    """Stands before the doors of one account."""

    def __init__(self, state: State, callee: Callable[[web.Request], str]) -> None:
        self._state = state
        self._callee = callee

    def wrap(self, name: str, work: Work) -> Work:
        """A route `rest.<name>`: credentials, faults, errors as JSON, an entry in the log."""
        where = f"rest.{name}"

        async def handle(request: web.Request) -> web.StreamResponse:
            fields = await fields_of(request)
            to = dict(fields).get("To") or self._callee(request)
            if fault := self._state.faults.take(where, *_BEFORE, call=to):
                answer = await self._trouble(request, fault)
                if answer is not None:
                    return self._log(request, where, fields, answer, fault)
            try:
                self._authenticate(request)
                answer = await work(request)
            except ApiError as exc:
                answer = _refusal(exc)
            fault = self._state.faults.take(where, "after", call=to)
            if fault is not None:
                answer = await self._trouble_after(request, fault)
            return self._log(request, where, fields, answer, fault)

        return handle

    def bare(self, where: str, work: Work) -> Work:
        """As `wrap`, for a route that takes its faults itself."""

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                self._authenticate(request)
                answer = await work(request)
            except ApiError as exc:
                answer = _refusal(exc)
            return self._log(request, where, [], answer, None)

        return handle

    async def _trouble(self, request: web.Request, fault: Fault) -> web.StreamResponse | None:
        """Go wrong before anything was done; None if it is only a delay."""
        match fault.kind:
            case "delay":
                await self._state.clock.sleep(fault.seconds)
                return None
            case "hang":
                await until_gone(request)
            case "reset":
                cut(request)
            case "html":
                return web.Response(text=HTML, content_type="text/html", status=200)
            case "429":
                return _refusal(ApiError(20429))
            case "code":
                return _refusal(ApiError(int(fault.argument)))
        status = int(fault.argument or 500) if fault.kind == "status" else 500
        return _refusal(ApiError(20500 if status >= 500 else 20001, status=status))

    async def _trouble_after(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        """Go wrong although all was done."""
        match fault.argument:
            case "reset":
                cut(request)
            case "hang":
                await until_gone(request)
            case "html":
                return web.Response(text=HTML, content_type="text/html", status=200)
        status = int(fault.argument) if fault.argument.isdigit() else 500
        return _refusal(ApiError(20500, status=status))

    def _log(
        self,
        request: web.Request,
        where: str,
        fields: list[tuple[str, str]],
        answer: web.StreamResponse,
        fault: Fault | None,
    ) -> web.StreamResponse:
        data: Json = {"method": request.method, "path": request.path_qs, "params": fields}
        if fault is not None:
            data["fault"] = fault.what
        self._state.log.add(where, str(answer.status), data)
        answer.headers["Twilio-Concurrent-Requests"] = "1"
        answer.headers["Twilio-Request-Duration"] = "0.010"
        return answer

    def _authenticate(self, request: web.Request) -> None:
        options = self._state.options
        kind, _, value = request.headers.get("Authorization", "").partition(" ")
        try:
            name, _, secret = base64.b64decode(value).decode().partition(":")
        except ValueError:  # neither base64 nor UTF-8
            name = secret = ""
        known = {options.account_sid: options.auth_token, options.api_key: options.api_secret}
        right = known.get(name, "").encode()
        if kind.lower() != "basic" or not right or not hmac.compare_digest(right, secret.encode()):
            raise ApiError(20003)
        account = request.match_info.get("account", options.account_sid)
        if account != options.account_sid:
            raise ApiError(20404, f"The requested resource {request.path} was not found")


async def fields_of(request: web.Request) -> list[tuple[str, str]]:
    """The form fields of a request, in order; a name may come several times."""
    body = (await request.read()).decode("utf-8", "replace")
    return parse_qsl(body, keep_blank_values=True)


def _refusal(error: ApiError) -> web.Response:
    headers = {"WWW-Authenticate": 'Basic realm="Twilio API"'} if error.status == 401 else {}
    return web.json_response(error.to_json(), status=error.status, headers=headers)
