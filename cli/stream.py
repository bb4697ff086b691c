"""`raysignal stream`: the broadcast of a service, a line of JSON a message."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

import typer

from raysignal.cli import options
from raysignal.cli.verbs import WrongUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """Which messages are written, and from where on."""

    type: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Messages of this type, such as signal or fill; more than once: of these."
        ),
    ] = None
    symbol: Annotated[list[str] | None, typer.Option(metavar="NAME", help="About this symbol.")] = None
    portfolio: Annotated[list[str] | None, typer.Option(metavar="NAME", help="About this portfolio.")] = None
    since: Annotated[
        str | None,
        typer.Option(
            metavar="SEQUENCE",
            help='Behind this sequence: 0 for all there ever were; one a shard as {"0": 17}. Default: from now on.',
        ),
    ] = None
    epoch: Annotated[
        str | None, typer.Option(metavar="ID", help="Of the store that --since is of, as messages say it.")
    ] = None
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="End after so many messages.")
    ] = None
    url: options.Url = None


def write_stream(config: StreamConfig) -> None:
    """Write messages of a running service to stdout, a line of JSON each, until Ctrl-C.

    It comes back when the service does, and goes on behind the last message: none is missing, none comes twice.
    """
    import orjson

    from raysignal.engine.core.hosts import reachable
    from raysignal.runtime.stream_client import Stream

    settings = options.configured()
    since = None
    if config.since is not None:
        try:
            since = orjson.loads(config.since)
        except orjson.JSONDecodeError:
            raise WrongUsage(
                f'--since is {config.since!r}; expected a sequence, or one a shard as {{"0": 17}}'
            ) from None
    stream = Stream(
        config.url or f"http://{reachable(settings.http.host)}:{settings.http.port}",
        key=settings.http.api_key.get_secret_value() if settings.http.api_key else None,
        types=config.type, symbols=config.symbol, portfolios=config.portfolio, since=since, epoch=config.epoch,
    )  # fmt: skip

    async def write() -> None:
        count = 0
        async for message in stream:
            sys.stdout.buffer.write(orjson.dumps(message) + b"\n")
            sys.stdout.buffer.flush()
            count += 1
            if count == config.limit:
                return

    with suppress(KeyboardInterrupt, BrokenPipeError):
        asyncio.run(write())
