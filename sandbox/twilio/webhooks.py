"""Deliver webhooks: signed, with time-outs and retries, in no guaranteed order.

Source: Twilio, Webhook connection overrides and Secure webhooks; twilio.md sections A.9 and B.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import traceback
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

import aiohttp
from yarl import URL

from sandbox.faults import Fault
from sandbox.state import State
from sandbox.twilio import signing
from sandbox.twilio.errors import tell_debugger

MAX_REDIRECTS = 10
MAX_BODY = 256 * 1024
REORDER_WAIT_S = 5.0
USER_AGENT = "TwilioProxy/1.1"

Params = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server answered."""

    status: int
    content_type: str
    body: bytes
    url: str


class WebhookError(Exception):
    """The webhook could not be delivered; `code` is the debugger's."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Policy:
    """How often and how patiently a URL is tried, from its fragment (`#rc=3&rp=5xx,ct,rt`)."""

    retries: int = 1
    on: frozenset[str] = frozenset({"ct"})
    connect_s: float = 5.0
    read_s: float = 15.0
    total_s: float = 15.0

    @classmethod
    def of(cls, url: str) -> Policy:
        """Read the fragment; values out of range are brought into it, unknown keys left out."""
        given = dict(parse_qsl(url.partition("#")[2], keep_blank_values=True))
        on = frozenset(part.strip() for part in given.get("rp", "ct").split(","))
        return cls(
            retries=_between(given.get("rc"), 0, 5, 1),
            on=frozenset({"4xx", "5xx", "ct", "rt"}) if "all" in on else on,
            connect_s=_between(given.get("ct"), 100, 10_000, 5000) / 1000,
            read_s=_between(given.get("rt"), 100, 15_000, 15_000) / 1000,
            total_s=_between(given.get("tt"), 100, 15_000, 15_000) / 1000,
        )


def _between(text: str | None, low: int, high: int, default: int) -> int:
    try:
        return default if text is None else min(high, max(low, int(text)))
    except ValueError:
        return default


@dataclass(slots=True)
class Hook:
    """One thing to tell somebody's server."""

    kind: str
    """`voice`, `status`, `amd`, `recording`, `stream`, `action`, `fallback`, `dial`."""
    url: str
    params: Params
    method: str = "POST"
    to: str = ""
    """The number called: faults may be meant for one number."""
    token: str = field(default_factory=lambda: str(uuid.uuid4()))
    number: int = field(default_factory=itertools.count().__next__, compare=False)
    """In the order in which things happened."""

    @property
    def where(self) -> str:
        return f"webhook.{self.kind}"

    @property
    def place(self) -> str:
        """Where faults strike: with the event, as in `webhook.status.completed`."""
        fields = dict(self.params)
        for name in ("StreamEvent", "RecordingStatus", "CallStatus"):
            if name in fields:
                return f"{self.where}.{fields[name]}"
        return self.where


def _code_of(exc: aiohttp.ClientError | OSError | ValueError) -> int:
    match exc:
        case aiohttp.ClientConnectorDNSError():
            return 11210
        case ValueError():  # aiohttp.InvalidURL among them
            return 11100
        case _:
            return 11205


def routed(url: str, routes: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Map a public address to a local one, as a tunnel does, with the headers it would set."""
    parts = urlsplit(url)
    scheme = {"wss": "https", "ws": "http"}.get(parts.scheme, parts.scheme)
    origin = f"{scheme}://{parts.netloc}"
    target = routes.get(origin)
    if target is None:
        return url, {}
    local = urlsplit(target)
    to_scheme = local.scheme
    if parts.scheme in ("ws", "wss"):
        to_scheme = "wss" if local.scheme == "https" else "ws"
    headers = {
        "Host": parts.netloc,
        "X-Forwarded-Proto": scheme,
        "X-Forwarded-Host": parts.netloc,
        "X-Forwarded-For": "203.0.113.7",
    }
    return urlunsplit((to_scheme, local.netloc, parts.path, parts.query, "")), headers


class Sender:
    """Sends webhooks and keeps the callbacks that are still under way."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_forgetting = False
        self._held: dict[str, tuple[int, asyncio.Event]] = {}
        self._connector: aiohttp.TCPConnector | None = None

    def new_session(self) -> aiohttp.ClientSession:
        """A client with cookies of its own: a call behaves like one browser."""
        if self._connector is None or self._connector.closed:
            self._connector = aiohttp.TCPConnector(limit=0, force_close=True)
        return aiohttp.ClientSession(
            connector=self._connector,
            connector_owner=False,
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            headers={"User-Agent": USER_AGENT, "Accept": "*/*"},
            auto_decompress=True,
            trust_env=False,
        )

    async def close(self) -> None:
        await self.cancel()
        if self._connector is not None:
            await self._connector.close()

    async def cancel(self) -> None:
        """Forget every callback that is still under way, and those that its end would cause."""
        self._is_forgetting = True
        try:
            while tasks := list(self._tasks):
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            self._is_forgetting = False
        self._held.clear()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside the call; it is cancelled when the sandbox is reset."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        if self._is_forgetting:
            task.cancel()
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            # A fault of the sandbox itself: it must not pass for one of the product's.
            trace = "".join(traceback.format_exception(exc))
            self._state.log.add("sandbox", "internal error", {"trace": trace})
            print(trace, file=sys.stderr)

    def notify(self, hook: Hook, *, ended: Callable[[], Awaitable[Any]] | None = None) -> None:
        """Deliver a callback in its own time; `ended` waits for the end of the call."""
        self.spawn(self.deliver(hook, ended))

    async def deliver(self, hook: Hook, ended: Callable[[], Awaitable[Any]] | None = None) -> None:
        """Deliver a callback, with the faults that were ordered; never raises."""
        if self._take(hook, "drop"):
            self._log(hook, "dropped", {})
            return
        if fault := self._take(hook, "delay"):
            await self._state.clock.sleep(fault.seconds)
        if ended is not None and self._take(hook, "late"):
            await ended()
            await self._state.clock.sleep(0.5)
        if hook.url not in self._held and self._take(hook, "reorder"):
            await self._hold(hook)
        copies = 2 if self._take(hook, "duplicate") else 1
        for _ in range(copies):
            await self._try(hook)
        self._release(hook)

    def _take(self, hook: Hook, kind: str) -> Fault | None:
        return self._state.faults.take(hook.place, kind, call=hook.to)

    async def fetch(self, session: aiohttp.ClientSession, hook: Hook) -> Reply:
        """Ask for a document, with the faults that were ordered; raises WebhookError."""
        if fault := self._take(hook, "delay"):
            await self._state.clock.sleep(fault.seconds)
        if self._take(hook, "drop"):
            self._log(hook, "dropped", {})
            raise WebhookError(11200, "dropped on order")
        if self._take(hook, "duplicate"):
            await self.ask(session, hook)
        return await self.ask(session, hook)

    async def _try(self, hook: Hook) -> None:
        async with self.new_session() as session:
            try:
                await self.ask(session, hook)
            except WebhookError as exc:
                self._log(hook, "failed", {"error": str(exc)})
                sid = dict(hook.params).get("CallSid", "")
                tell_debugger(self._state.log, exc.code, call=sid, detail=f"{hook.url}: {exc}")

    async def _hold(self, hook: Hook) -> None:
        """Wait until a later callback to the same address has been delivered."""
        self._log(hook, "held back", {})
        release = asyncio.Event()
        self._held[hook.url] = (hook.number, release)
        try:
            async with asyncio.timeout(REORDER_WAIT_S):
                await release.wait()
        except TimeoutError:
            if self._held.get(hook.url) == (hook.number, release):
                del self._held[hook.url]

    def _release(self, hook: Hook) -> None:
        number, release = self._held.get(hook.url, (hook.number, None))
        if release is not None and hook.number > number:
            del self._held[hook.url]
            release.set()

    async def ask(self, session: aiohttp.ClientSession, hook: Hook) -> Reply:
        """Deliver one webhook, with retries; returns a 2xx reply or raises WebhookError."""
        policy = Policy.of(hook.url)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + policy.total_s
        failure = WebhookError(11200, "not tried")
        for attempt in range(policy.retries + 1):
            left = deadline - loop.time()
            if attempt and left <= 0:
                break
            kind, result = await self._attempt(session, hook, policy, max(left, 0.01), attempt)
            if isinstance(result, Reply):
                return result
            failure = result
            if kind not in policy.on:
                break
        raise failure

    async def _attempt(
        self,
        session: aiohttp.ClientSession,
        hook: Hook,
        policy: Policy,
        left_s: float,
        attempt: int,
    ) -> tuple[str, Reply | WebhookError]:
        seen: dict[str, Any] = {"attempt": attempt}
        try:
            if self._take(hook, "reset"):
                raise aiohttp.ServerDisconnectedError("reset on order")
            async with asyncio.timeout(left_s):
                reply = await self._follow(session, hook, policy)
        except (TimeoutError, aiohttp.ServerTimeoutError) as exc:
            is_connect = isinstance(exc, aiohttp.ConnectionTimeoutError)
            self._log(hook, "timed out", seen)
            code = 11205 if is_connect else 11200
            return "ct" if is_connect else "rt", WebhookError(code, "no answer in time")
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as exc:
            self._log(hook, "certificate refused", seen)
            return "ct", WebhookError(11220, str(exc))
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            code = _code_of(exc)
            what = "malformed address" if code == 11100 else "no connection"
            self._log(hook, what, {**seen, "error": str(exc)})
            return "none" if code == 11100 else "ct", WebhookError(code, str(exc))
        except WebhookError as exc:
            self._log(hook, "failed", {**seen, "error": str(exc)})
            return "none", exc
        self._log(hook, str(reply.status), seen)
        if 200 <= reply.status < 300:
            return "ok", reply
        kind = "4xx" if reply.status < 500 else "5xx"
        return kind, WebhookError(11200, f"HTTP {reply.status}")

    async def _follow(self, session: aiohttp.ClientSession, hook: Hook, policy: Policy) -> Reply:
        current = hook
        for _ in range(MAX_REDIRECTS + 1):
            reply, location = await self._send(session, current, policy)
            if location is None:
                return reply
            method = current.method if reply.status in (307, 308) else "GET"
            params = current.params if method == "POST" else []
            current = replace(
                current, url=urljoin(reply.url, location), method=method, params=params
            )
        raise WebhookError(11215, "too many redirects")

    async def _send(
        self, session: aiohttp.ClientSession, hook: Hook, policy: Policy
    ) -> tuple[Reply, str | None]:
        url = hook.url.partition("#")[0]
        body: bytes | None = None
        signed: Params = []
        headers: dict[str, str] = {}
        if hook.method == "GET":
            if hook.params:
                url += ("&" if "?" in url else "?") + urlencode(hook.params)
        else:
            signed, body = hook.params, urlencode(hook.params).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded; charset=utf-8"
        options = self._state.options
        headers |= signing.headers(url, signed, options.auth_token, options.shared_key)
        headers["I-Twilio-Idempotency-Token"] = hook.token
        if self._state.faults.take(hook.place, "bad-signature", call=hook.to):
            headers["X-Twilio-Signature"] = signing.forge(headers["X-Twilio-Signature"])
        address, extra = routed(url, options.routes)
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=policy.connect_s, sock_read=policy.read_s
        )
        async with session.request(
            hook.method,
            URL(address, encoded=True),
            data=body,
            headers=headers | extra,
            allow_redirects=False,
            timeout=timeout,
        ) as response:
            content = await response.content.read(MAX_BODY)
            while len(content) < MAX_BODY and (more := await response.content.read(MAX_BODY)):
                content += more
            reply = Reply(response.status, response.headers.get("Content-Type", ""), content, url)
            location = response.headers.get("Location")
            return reply, location if response.status in (301, 302, 303, 307, 308) else None

    def _log(self, hook: Hook, what: str, data: dict[str, Any]) -> None:
        self._state.log.add(
            hook.where,
            what,
            {
                "url": hook.url,
                "method": hook.method,
                "params": dict(hook.params),
                "token": hook.token,
                **data,
            },
        )
