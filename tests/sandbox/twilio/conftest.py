"""A sandbox ten times as fast as life, somebody's server, and Twilio's own client."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response
from twilio.rest import Client
from twilio.rest.api.v2010.account.call import CallInstance

from sandbox.state import Options
from sandbox.world import World
from tests.sandbox.twilio.office import DEADLINE_S, Office

FROM, TO = "+14155550100", "+14155550101"


class ToSandbox(TwilioHttpClient):  # type: ignore[misc,unused-ignore]
    """Twilio's client, talking to another host."""

    def __init__(self, base_url: str) -> None:
        super().__init__(timeout=10)
        self._base_url = base_url

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Response:
        """Send the request to the sandbox; everything but scheme and host stays."""
        parts = urlsplit(url)
        assert parts.netloc == "api.twilio.com"
        there = self._base_url + url.removeprefix(f"{parts.scheme}://{parts.netloc}")
        return super().request(method, there, *args, **kwargs)


class Phones:
    """The sandbox as a test sees it: Twilio's client for REST, plain HTTP for the control API."""

    def __init__(self, world: World, http: aiohttp.ClientSession, client: Client) -> None:
        self.world = world
        self.client = client
        self.url = world.state.twilio_url
        self.http = http

    async def call(self, office: Office, **more: Any) -> CallInstance:
        """Ask for a call whose TwiML and callbacks are the office's."""
        asked: dict[str, Any] = {
            "to": TO,
            "from_": FROM,
            "url": f"{office.public_url}/voice?call=abc",
            "status_callback": f"{office.public_url}/status?call=abc",
            "status_callback_event": ["initiated", "ringing", "answered", "completed"],
        }
        asked |= more
        asked = {name: value for name, value in asked.items() if value is not None}
        return await asyncio.to_thread(self.client.calls.create, **asked)

    async def do(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a blocking function of Twilio's client."""
        return await asyncio.to_thread(work, *args, **kwargs)

    async def control(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """Ask the control API."""
        async with self.http.request(method, f"{self.url}/sandbox/{path}", json=body) as answer:
            found = await answer.json()
            assert answer.status == status, found
            return found

    async def fault(self, where: str, what: str, times: int = 1) -> None:
        await self.control("POST", "faults", {"where": where, "what": what, "times": times})

    async def rest(
        self, method: str, path: str, *, auth: tuple[str, str] | None = None, **more: Any
    ) -> tuple[int, Any]:
        """Plain HTTP on the REST API: `path` follows the account."""
        async with self.stream(path, method=method, auth=auth, **more) as answer:
            return answer.status, await answer.json()

    @asynccontextmanager
    async def stream(
        self, path: str, *, method: str = "GET", auth: tuple[str, str] | None = None, **more: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer of the REST API whose body is still to be read."""
        options = self.world.state.options
        login = auth or (options.account_sid, options.auth_token)
        headers = {"Authorization": aiohttp.encode_basic_auth(*login)}
        url = f"{self.url}/2010-04-01/Accounts/{options.account_sid}{path}"
        async with self.http.request(method, url, headers=headers, **more) as answer:
            yield answer

    async def media(self, sid: str, query: str = "") -> tuple[int, bytes, str]:
        """The sound of a recording: status, body, content type."""
        path = f"/Recordings/{sid}.wav{query}"
        async with self.stream(path, allow_redirects=False) as answer:
            return answer.status, await answer.read(), answer.content_type

    async def person(self, *script: dict[str, Any], number: str = TO, **options: Any) -> None:
        """Put somebody at a number who does just this."""
        body = {"kind": "talks", "ring_s": 0.2, "script": list(script), **options}
        await self.control("PUT", f"people/{number}", body)

    async def ledger(self, call_sid: str, stream: str = "0") -> Any:
        return await self.control("GET", f"calls/{call_sid}/ledger?stream={stream}")

    async def log(self, where: str = "", what: str = "") -> list[dict[str, Any]]:
        """The entries of the log from this place, saying this."""
        entries = await self.control("GET", "log")
        return [e for e in entries if where in ("", e["where"]) and what in ("", e["what"])]

    async def until_logged(self, where: str, what: str) -> dict[str, Any]:
        """Wait for an entry of the log."""
        async with asyncio.timeout(DEADLINE_S):
            after = 0
            while True:
                for entry in await self.control("GET", f"log?after={after}&wait_s=5"):
                    after = entry["n"]
                    if (entry["where"], entry["what"]) == (where, what):
                        found: dict[str, Any] = entry
                        return found

    async def until_frame(self, call_sid: str, frame: int) -> None:
        """Wait until the line of a call has lived through so many frames."""
        async with asyncio.timeout(DEADLINE_S):
            while (await self.ledger(call_sid, "answer"))["clock"]["now_ms"] < frame * 20:
                pass

    async def until_over(self, call_sid: str) -> None:
        """Wait until the last status of a call is known."""
        async with asyncio.timeout(DEADLINE_S):
            await self.world.carrier.running[call_sid].over.wait()


@pytest.fixture
def options() -> Options:
    """How the sandbox is started; a test module may have it otherwise."""
    return Options(speed=10.0, cps=100.0, consistency_lag_s=0.0, price_delay_s=0.5)


@pytest.fixture
async def phones(options: Options) -> AsyncIterator[Phones]:
    """The sandbox, running."""
    async with World(options) as world, aiohttp.ClientSession() as http:
        client = Client(
            options.account_sid,
            options.auth_token,
            http_client=ToSandbox(world.state.twilio_url),
        )
        yield Phones(world, http, client)
        broken = [e["data"]["trace"] for e in world.state.log.after(0) if e["where"] == "sandbox"]
        assert broken == []
        client.http_client.session.close()


@pytest.fixture
async def office(options: Options) -> AsyncIterator[Office]:
    """Somebody's server."""
    async with Office(options.auth_token) as running:
        yield running
        assert running.failures == []


@pytest.fixture
def unknown_host(monkeypatch: pytest.MonkeyPatch) -> str:
    """A host whose name cannot be resolved, without asking anybody."""
    ask = socket.getaddrinfo

    def resolve(host: Any, *more: Any, **options: Any) -> Any:
        if host == "nobody.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return ask(host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return "nobody.invalid"


@pytest.fixture(autouse=True)
def _everything_is_signed(office: Office) -> Iterator[None]:
    """Each request that came to the office was signed, unless the test forged one."""
    office.expects_forgery = False
    yield
    if not office.expects_forgery:
        assert [r.name for r in office.received if not r.is_signed] == []
        assert [t.path_qs for t in office.talks if not t.is_signed] == []
