"""`python -m engine.market.loopback`: an exchange on this machine, until interrupted; see `server`."""

import argparse
import asyncio
import contextlib
import sys
import time

from engine.market.loopback.exchange import SPEECHES, GeneratedExchange
from engine.market.loopback.server import Loopback


def main() -> None:
    """Run a server until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m engine.market.loopback")
    parser.add_argument("--venue", choices=sorted(SPEECHES), required=True)
    parser.add_argument("--port", type=int, default=8920)
    parser.add_argument("--speed", type=float, default=1.0, help="exchange's seconds a second")
    parser.add_argument("--symbols", help="separated by commas")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    exchange = GeneratedExchange(
        given.venue, seed=given.seed, start_us=time.time_ns() // 1000,
        symbols=given.symbols.split(",") if given.symbols else None,
    )  # fmt: skip
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(Loopback(exchange, speed=given.speed, port=given.port)))


async def _serve(loopback: Loopback) -> None:
    async with loopback:
        hosts = loopback.hosts
        sys.stdout.write(f"{loopback.exchange.venue} on {hosts.stream} and {hosts.rest}\n")
        sys.stdout.flush()
        await loopback.serve()


if __name__ == "__main__":
    main()
