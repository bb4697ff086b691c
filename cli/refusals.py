"""`raysignal refusals`: signals that a service has refused lately, and why."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from raysignal.cli import options
from raysignal.cli.output import Output, escape, rows_table

_COLUMNS = ("at", "reason", "entrance", "hook", "source", "portfolio", "detail")
_LEAST = ("portfolio", "source", "entrance", "hook")


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalsConfig:
    """Which refusals are shown; None: any."""

    reason: Annotated[
        str | None,
        typer.Option(metavar="ERROR", help="Of this reason only, such as LateSignal or StaleSignal."),
    ] = None
    source: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of this source, or through this hook.")
    ] = None
    limit: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="At most this many.")] = 20
    url: options.Url = None
    json: options.Json = False


def show_refusals(config: RefusalsConfig) -> None:
    """List signals that were refused lately, the latest first, with what their sender was told.

    The last 1 000 are kept, also over a restart.
    """
    output = Output(config.json)
    answer = asyncio.run(_asked(config))
    if output.as_json:
        output.json(answer)
        return
    shown = output.fitting(_COLUMNS, answer["refusals"], _LEAST)
    output.table(rows_table(shown, [[row[name] for name in shown] for row in answer["refusals"]]))
    counts = ", ".join(f"{escape(reason)} {count:,d}" for reason, count in answer["counts"].items())
    output.say(f"refused since the store began: {counts or 'none'}")


async def _asked(config: RefusalsConfig) -> dict[str, Any]:
    from raysignal.runtime.service_client import service_at

    async with service_at(config.url, options.configured()) as client:
        return await client.get("/refusals", reason=config.reason, source=config.source, limit=config.limit)
