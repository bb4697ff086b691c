"""`python -m raysignal.loopback.exchanges`: an exchange on this machine, until interrupted; see `server`."""

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from raysignal.engine.core.errors import RaysignalError
from raysignal.engine.core.market_events import Instrument
from raysignal.loopback.exchanges.exchange import SPEECHES, SYMBOLS, GeneratedExchange, LoopbackExchange
from raysignal.loopback.exchanges.recorded import RecordedExchange
from raysignal.loopback.exchanges.server import ExchangeServer

_DECIMALS = 8  # of a recording's numbers, at most


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a server until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m raysignal.loopback.exchanges")
    parser.add_argument("--venue", choices=sorted(SPEECHES), required=True)
    parser.add_argument("--port", type=int, default=8920, help="0: any that is free")
    parser.add_argument("--speed", type=float, default=1.0, help="exchange's seconds a second")
    parser.add_argument("--symbols", help="separated by commas")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--recording", type=Path, nargs="+", help="files to play instead of a made-up market")
    given = parser.parse_args(arguments)
    if not given.speed > 0:
        parser.error(f"argument --speed: {given.speed:g}; expected above 0")
    try:
        exchange = _exchange(given)
    except RaysignalError as error:
        parser.error(str(error))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(ExchangeServer(exchange, speed=given.speed, port=given.port)))


def _exchange(given: argparse.Namespace) -> LoopbackExchange:
    symbols = given.symbols.split(",") if given.symbols else None
    if given.recording:
        names = symbols or SYMBOLS[given.venue][:1]
        instruments = [Instrument(given.venue, name, _DECIMALS, _DECIMALS) for name in names]
        return RecordedExchange(given.venue, given.recording, instruments)
    start_us = time.time_ns() // 1000
    return GeneratedExchange(given.venue, seed=given.seed, start_us=start_us, symbols=symbols)


async def _serve(loopback: ExchangeServer) -> None:
    async with loopback:
        hosts = loopback.hosts
        sys.stdout.write(f"{loopback.exchange.venue} on {hosts.stream} and {hosts.rest}\n")
        sys.stdout.flush()
        await loopback.serve()


if __name__ == "__main__":
    main()
