"""`raysignal risk` and `raysignal pipeline show`: what pipelines of a service hold and may do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from raysignal.cli import options
from raysignal.cli.output import Output, escape, rows_table
from raysignal.cli.verbs import Verb, VerbGroup, verb

app = typer.Typer(
    cls=VerbGroup, help="Halt what a pipeline may trade, or let it trade again.", no_args_is_help=True
)

Name = Annotated[
    str | None, typer.Option("--pipeline", metavar="NAME", help="Which; the only one if missing.")
]
Who = Annotated[str, typer.Option(metavar="NAME", help="Who says so.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="And why.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowPipelineConfig:
    """What of a pipeline is shown."""

    what: Annotated[
        Literal["decisions", "orders", "fills", "positions", "risk", "aggregation", "attribution"],
        typer.Argument(help="decisions, orders, fills, positions, risk, aggregation or attribution."),
    ]
    pipeline: Name = None
    url: options.Url = None
    json: options.Json = False


_ROWS = {
    "decisions": "decisions", "orders": "orders", "fills": "fills", "positions": "positions", "aggregation": "symbols",
    "attribution": "strategies", "risk": "verdicts",
}  # fmt: skip


def show_pipeline(config: ShowPipelineConfig) -> None:
    """Show what a running pipeline did and holds: decisions, orders, fills, positions, risk, weights, profits."""
    output = Output(config.json)
    answer = asyncio.run(_asked(config.url, "GET", config.what, config.pipeline))
    if config.json:
        output.json(answer)
        return
    rows = answer.pop(_ROWS[config.what])
    for name, value in answer.items():
        if not isinstance(value, list | dict):
            output.say(f"{name:<16}{escape(str(value))}")
    if rows:
        columns = [name for name, value in rows[0].items() if not isinstance(value, list | dict)]
        output.table(rows_table(columns, [[row[name] for name in columns] for row in rows]))
    if config.what == "decisions":
        output.say(", ".join(f"{escape(reason)} {count:,d}" for reason, count in answer["reasons"].items()))
    if config.what == "risk":
        for verdict in rows[-5:]:
            output.say(f"{verdict['at']}  {escape('; '.join(verdict['reasons']))}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HaltConfig:
    """Which pipeline is halted, by whom and why."""

    who: Who
    reason: Reason
    flatten: Annotated[bool, typer.Option("--flatten", help="Close what it holds, too.")] = False
    pipeline: Name = None
    url: options.Url = None
    json: options.Json = False


def halt(config: HaltConfig) -> None:
    """Allow a pipeline nothing but what makes its positions smaller, until a person resets it."""
    body = {"who": config.who, "reason": config.reason, "flatten": config.flatten}
    _say(asyncio.run(_asked(config.url, "POST", "risk/halt", config.pipeline, body)), Output(config.json))


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetConfig:
    """Which pipeline may trade again, by whose word and why."""

    who: Who
    reason: Reason
    pipeline: Name = None
    url: options.Url = None
    json: options.Json = False


def reset(config: ResetConfig) -> None:
    """Let a pipeline trade again; losses are counted from its equity of now."""
    body = {"who": config.who, "reason": config.reason}
    _say(asyncio.run(_asked(config.url, "POST", "risk/reset", config.pipeline, body)), Output(config.json))


def _say(answer: dict[str, Any], output: Output) -> None:
    if output.as_json:
        output.json(answer)
    else:
        output.say(
            f"{escape(answer['pipeline'])} is {answer['state']}: {escape(answer['who'])}, {escape(answer['reason'])}"
        )


async def _asked(
    url: str | None, method: str, path: str, pipeline: str | None, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    from raysignal.runtime.service_client import service_at

    async with service_at(url, options.configured()) as client:
        if method == "GET":
            return await client.get(f"/v1/{path}", pipeline=pipeline)
        return await client.post(f"/v1/{path}", body, pipeline=pipeline)


app.command("halt", cls=Verb)(verb(HaltConfig, halt))
app.command("reset", cls=Verb)(verb(ResetConfig, reset))
