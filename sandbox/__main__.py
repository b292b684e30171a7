"""`python -m sandbox`: a local Twilio and a local Realtime model in one process."""

from __future__ import annotations

import argparse
import asyncio
import math
import signal
import sys
from pathlib import Path

from sandbox.control import ControlError, check_number, parse_route
from sandbox.state import Options
from sandbox.world import World

MAX_SPEED = 50.0
MAX_PORT = 65535


def main() -> int:
    """Run until interrupted; exit code 2 if a port is taken or an option is wrong."""
    arguments = _arguments()
    try:
        routes = dict(parse_route(text) for text in arguments.route)
    except ControlError as exc:
        print(f"sandbox: --{exc}", file=sys.stderr)
        return 2
    defaults = Options()
    options = Options(
        speed=arguments.speed,
        auth_token=arguments.auth_token,
        openai_key=arguments.openai_key,
        cps=arguments.cps,
        routes=routes,
        numbers=arguments.number or defaults.numbers,
    )
    try:
        world = World(
            options,
            host=arguments.host,
            twilio_port=arguments.twilio_port,
            openai_port=arguments.openai_port,
            log_file=arguments.log_json,
        )
    except OSError as exc:
        print(f"sandbox: --log-json {arguments.log_json}: {exc.strerror or exc}", file=sys.stderr)
        return 2
    return asyncio.run(_serve(world, arguments))


async def _serve(world: World, arguments: argparse.Namespace) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        async with world:
            state = world.state
            print(f"sandbox ready twilio={state.twilio_url} openai={state.openai_url}", flush=True)
            await stop.wait()
    except OSError as exc:
        ports = f"--twilio-port {arguments.twilio_port}, --openai-port {arguments.openai_port}"
        print(
            f"sandbox: cannot listen on {arguments.host} ({ports}): {exc.strerror or exc}. "
            "Stop what listens there, or choose other ports (0 takes a free one).",
            file=sys.stderr,
        )
        return 2
    return 0


def _speed(text: str) -> float:
    speed = float(text)
    if not 0.1 <= speed <= MAX_SPEED:
        raise argparse.ArgumentTypeError(f"must be between 0.1 and {MAX_SPEED:g}")
    return speed


def _cps(text: str) -> float:
    cps = float(text)
    if not 0 < cps < math.inf:
        raise argparse.ArgumentTypeError("must be more than 0")
    return cps


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= MAX_PORT:
        raise argparse.ArgumentTypeError(f"must be between 0 and {MAX_PORT}")
    return port


def _number(text: str) -> str:
    try:
        check_number("number", text)
    except ControlError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
    return text


def _arguments() -> argparse.Namespace:
    defaults = Options()
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--twilio-port", type=_port, default=8010)
    parser.add_argument("--openai-port", type=_port, default=8020)
    parser.add_argument("--speed", type=_speed, default=1.0, help="seconds of its time per second")
    parser.add_argument("--cps", type=_cps, default=defaults.cps, help="calls started per second")
    parser.add_argument("--auth-token", default=defaults.auth_token)
    parser.add_argument("--openai-key", default=defaults.openai_key)
    parser.add_argument(
        "--number",
        action="append",
        default=[],
        type=_number,
        help="a number of the account; may be repeated",
    )
    parser.add_argument(
        "--route",
        action="append",
        default=[],
        metavar="PUBLIC=LOCAL",
        help="reach a public base URL at a local address, as a tunnel would",
    )
    parser.add_argument("--log-json", type=Path, metavar="FILE", help="write the log there too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
