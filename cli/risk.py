"""`raysignal risk` and `raysignal pipeline show`: what pipelines of a service hold and may do."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
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
BusAddress = Annotated[
    str | None,
    typer.Option(
        "--bus",
        metavar="ADDRESS",
        help="Of a pipeline in several processes, with --pipeline: redis://host:port/database.",
    ),
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
    bus: BusAddress = None
    url: options.Url = None
    json: options.Json = False


def halt(config: HaltConfig) -> None:
    """Allow a pipeline nothing but what makes its positions smaller, until a person resets it."""
    _command(config, "flatten" if config.flatten else "halt")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetConfig:
    """Which pipeline may trade again, by whose word and why."""

    who: Who
    reason: Reason
    pipeline: Name = None
    bus: BusAddress = None
    url: options.Url = None
    json: options.Json = False


def reset(config: ResetConfig) -> None:
    """Let a pipeline trade again; losses are counted from its equity of now."""
    _command(config, "reset")


def _command(config: HaltConfig | ResetConfig, kind: Literal["halt", "flatten", "reset"]) -> None:
    """Tell it to the service, or to the bus."""
    output = Output(config.json)
    if config.bus is not None:
        answer = _told(config.bus, config, kind)
    else:
        body: dict[str, Any] = {"who": config.who, "reason": config.reason}
        if kind != "reset":
            body["flatten"] = kind == "flatten"
        path = "risk/reset" if kind == "reset" else "risk/halt"
        answer = asyncio.run(_asked(config.url, "POST", path, config.pipeline, body))
    if output.as_json:
        output.json(answer)
    else:
        output.say(
            f"{escape(answer['pipeline'])} is {answer['state']}: {escape(answer['who'])}, {escape(answer['reason'])}"
        )


def _told(
    bus: str, config: HaltConfig | ResetConfig, kind: Literal["halt", "flatten", "reset"]
) -> dict[str, Any]:
    """What became of a command over the bus: the process that decides has it in its journal."""
    from raysignal.engine.core.events import Command, CommandKind
    from raysignal.engine.pipeline.bus import open_bus
    from raysignal.runtime.pipeline_bus import command_over_bus

    if config.pipeline is None:
        raise typer.BadParameter("--bus goes with --pipeline: the name that pipeline.yaml says")
    command = Command(
        at_us=time.time_ns() // 1000,
        symbol="",
        command=CommandKind(kind),
        who=config.who,
        reason=config.reason,
    )
    with closing(open_bus(bus)) as opened:
        command_over_bus(opened, config.pipeline, command)
    state = "active" if kind == "reset" else "halted"
    return {"pipeline": config.pipeline, "state": state, "who": config.who, "reason": config.reason}


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
