"""One run: a server under test, its callers and its model, measured for a while."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import measure, records, rows, subjects
from bench.children import READY_S, Client, await_server, start_server
from bench.machine import Cores, use_of
from bench.measure import Window
from bench.rows import ClientUse, Row, Spread
from bench.subjects import Place, Subject, Workshop
from bench.tickets import Ticket
from demo.processes import Process, stop_all

WARM_UP_S = 1.5
# Until the openings are over and every call is in the midst of its conversation.
SETTLE_S = 2.0
TAIL_S = 1.2
CALLS_PER_S = 40.0
PATIENCE_S = 60.0


@dataclass(slots=True)
class Bench:
    """Runs subjects, one after the other."""

    workshop: Workshop
    cores: Cores
    hold_s: float
    warm_up_s: float = WARM_UP_S
    settle_s: float = SETTLE_S

    def run(self, subject: Subject, calls: int) -> Row:
        """Measure a subject under so many calls.

        Raises:
            Died: a process ended before its time.
        """
        with ExitStack() as stack:
            home = Path(stack.enter_context(TemporaryDirectory(prefix="voicecall-bench-")))
            clients = self.cores.clients
            model = stack.enter_context(Client("bench.model", clients, [str(home / "model")]))
            port = model.hear("listening on", timeout_s=READY_S).split()[-1]
            server, tickets = stack.enter_context(
                self._serving(subject, home, f"ws://127.0.0.1:{port}/v1/realtime", calls + 1)
            )
            orders = home / "phone.json"
            longest_s = self.warm_up_s + calls / CALLS_PER_S + self.hold_s + 2 * PATIENCE_S
            settings = {
                "tickets": subjects.to_json(tickets),
                "out": str(home / "phone"),
                "warm_up_s": self.warm_up_s,
                "calls_per_s": CALLS_PER_S,
                "longest_s": longest_s,
            }
            orders.write_text(json.dumps(settings))
            phone = stack.enter_context(Client("bench.phone", clients, [str(orders)]))
            return self._measure(subject, calls, server, phone, model, home)

    @contextmanager
    def _serving(
        self, subject: Subject, home: Path, realtime_url: str, count: int
    ) -> Iterator[tuple[Process, list[Ticket]]]:
        base_url = f"http://127.0.0.1:{_free_port()}"
        place = Place(home, base_url, realtime_url)
        tickets = self.workshop.tickets(subject, place, count)
        server = start_server(
            subject.key,
            self.workshop.command(subject, place),
            self.cores.server,
            env=self.workshop.environment(subject, place),
        )
        try:
            await_server(server, base_url)
            yield server, tickets
        finally:
            stop_all([server], grace_s=5.0)

    def _measure(
        self,
        subject: Subject,
        calls: int,
        server: Process,
        phone: Client,
        model: Client,
        home: Path,
    ) -> Row:
        phone.tell("warm up", "warm", timeout_s=PATIENCE_S)
        model.tell("forget", "forgotten", timeout_s=PATIENCE_S)
        empty = use_of(server.pid)
        phone.tell("call", "called", timeout_s=PATIENCE_S + calls / CALLS_PER_S)
        time.sleep(self.settle_s)
        processes = (server, phone.process, model.process)
        start, before = time.monotonic(), [use_of(process.pid) for process in processes]
        time.sleep(self.hold_s)
        end, after = time.monotonic(), [use_of(process.pid) for process in processes]
        time.sleep(TAIL_S)
        server.check()
        phone.tell("hang up", "written", timeout_s=PATIENCE_S)
        model.tell("write", "written", timeout_s=PATIENCE_S)
        phones, phone_late = records.read_phone(home / "phone")
        models, model_late = records.read_model(home / "model")
        figures = measure.measure(phones, models, Window(start, end))
        server_busy, phone_busy, model_busy = (
            (late.cpu_s - early.cpu_s) / (end - start)
            for early, late in zip(before, after, strict=True)
        )
        return rows.row(
            subject.key,
            calls,
            figures,
            paces=subject.paces,
            busy=server_busy,
            rss_mb=(after[0].rss - empty.rss) / 2**20 / calls,
            waited=(after[0].waited_s - before[0].waited_s) / (end - start),
            phone=ClientUse(phone_busy, Spread.of(phone_late.samples)),
            model=ClientUse(model_busy, Spread.of(model_late.samples)),
        )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
