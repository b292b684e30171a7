"""Start and stop the whole sandbox: two ports, one process, one state."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from sandbox.control import Control
from sandbox.openai import server as model
from sandbox.openai.state import State as ModelState
from sandbox.people import People
from sandbox.state import Options, State
from sandbox.twilio.carrier import Carrier
from sandbox.twilio.rest import Rest

SHUTDOWN_S = 1.0
"""For each request that still waits; aiohttp takes this twice, once more after cancelling it."""
MAX_BODY = 1024 * 1024


class World:
    """A local Twilio and a local OpenAI; `async with World() as world` starts and ends both."""

    def __init__(
        self,
        options: Options | None = None,
        *,
        host: str = "127.0.0.1",
        twilio_port: int = 0,
        openai_port: int = 0,
        log_file: Path | None = None,
    ) -> None:
        self.state = State(options, log_file)
        self.people = People()
        self.carrier = Carrier(self.state, self.people)
        self.model = ModelState(
            api_key=self.state.options.openai_key,
            speed=self.state.options.speed,
            log=self.state.log.add,
        )
        self.state.on_reset.append(self.model.reset)
        self._host = host
        self._ports = (twilio_port, openai_port)
        self._runners: list[web.AppRunner] = []

    async def start(self) -> None:
        """Listen on both ports; raises OSError if one is taken."""
        phone = web.Application(client_max_size=MAX_BODY)
        phone.add_routes(Rest(self.carrier).routes())
        phone.add_routes(Control(self.carrier, self.model).routes())
        phone.add_routes(model.control_routes(self.model))
        self.state.twilio_url = await self._listen(phone, self._ports[0])
        self.state.openai_url = await self._listen(model.create_app(self.model), self._ports[1])

    async def _listen(self, app: web.Application, port: int) -> str:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(runner, self._host, port)
        await site.start()
        host, bound = runner.addresses[0][:2]
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{bound}"

    async def close(self) -> None:
        """End every call and stop listening."""
        await self.carrier.close()
        await asyncio.gather(*(runner.cleanup() for runner in self._runners))
        self.state.log.close()

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except OSError:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
