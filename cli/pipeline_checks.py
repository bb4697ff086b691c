"""`raysignal pipeline check`, `explain` and `check-leaks`: what a pipeline.yaml says; does it see the future?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from raysignal.cli import options
from raysignal.cli.output import Output, escape, rows_table
from raysignal.engine.core.errors import RaysignalError

if TYPE_CHECKING:
    from raysignal.engine.strategies.checks import StrategyFinding
    from raysignal.runtime.pipeline_config import PipelineConfig, StrategyConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckPipelineConfig:
    """Which configuration."""

    config: options.PipelineFile
    json: options.Json = False


def check_config(config: CheckPipelineConfig) -> None:
    """Check a pipeline.yaml: every field, and that all of it fits together."""
    from raysignal.runtime.pipeline_file import read_config

    output = Output(config.json)
    path = read_config(config.config)
    if config.json:
        output.json(path.model_dump(mode="json"))
    else:
        output.say(
            f"{escape(str(config.config))} is good: {escape(path.name)}, {len(path.instruments)} instruments, "
            f"{len(path.strategies)} strategies, fills by {_filler(path)}"
        )


def explain(config: CheckPipelineConfig) -> None:
    """Say in words what each stage of a path does, and with which figures."""
    from raysignal.runtime.pipeline_file import read_config

    output = Output(config.json)
    path = read_config(config.config)
    stages = _stages(path)
    if config.json:
        output.json([{"stage": stage, "does": does} for stage, does in stages])
    else:
        output.table(rows_table(("stage", "what it does"), stages))


def _filler(path: PipelineConfig) -> str:
    return "the portfolio itself" if path.venue.kind == "none" else f"the {path.venue.kind} exchange"


def _rule(strategy: StrategyConfig) -> str:
    return strategy.kind if ":" in strategy.kind else str(strategy.posted or strategy.strategy())


def _overruler(path: PipelineConfig) -> str:
    memory = path.memory
    by = (
        f"overruled by what earlier signals were worth over {memory.horizon}, from {memory.least:g} precedents and "
        f"{memory.against:.0%} on"
    )
    review = f"; else a model is asked, for {memory.wait_s:g} s"
    return {"none": "overruled by nobody", "memory": by, "review": by + review}[path.decide]


def _stages(path: PipelineConfig) -> list[tuple[str, str]]:
    policy, weighing, venue = path.policy, path.weighing, path.venue
    bars = sorted({(each.interval_us, each.bar) for each in path.strategies})
    limits = ", ".join(f"{name} {value}" for name, value in path.risk.items()) or "none"
    stages = [
        (
            "candles",
            f"trades of {', '.join(path.symbols)} to candles of {', '.join(name for _, name in bars)}",
        ),
    ]
    stages += [
        (
            f"strategy {each.name}",
            f"{_rule(each)} on {each.bar} candles of {', '.join(path.symbols_of(each))}",
        )
        for each in path.strategies
    ]
    if path.features:
        stages.append(("features", f"{', '.join(path.features)} beside every signal, of its own candles"))
    threshold = f", if their score is above {weighing.threshold:g}"
    return [
        *stages,
        ("aggregate", f"{weighing.method} weights{threshold}"),
        ("decide", f"{policy.side}, {policy.weight:.0%} of equity a position; {_overruler(path)}"),
        ("risk", f"limits: {limits}"),
        (
            "execute",
            f"at the candle's {'price' if policy.fill == 'signal' else 'next price'}, fee {policy.fee_bps:g} bp"
            if venue.kind == "none"
            else f"orders at the {venue.kind} exchange, fee {venue.fee_bps:g} bp, latency {venue.latency_ms:g} ms",
        ),
        ("attribute", "each closed trade's profit to the strategies that wanted it, by weight"),
    ]


# Leaks


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLeaksConfig:
    """Which configuration, on which made-up markets."""

    config: options.PipelineFile
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the first market.")] = 0
    seeds: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many markets, each of the next seed.")
    ] = 3
    candles: Annotated[
        int, typer.Option(metavar="N", min=8, max=1_000_000, help="Of each market, of the shortest length.")
    ] = 2_000
    tries: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="How often each is cut off: more find what seldom looks ahead."
        ),
    ] = 12
    json: options.Json = False


def check_path(config: CheckLeaksConfig) -> None:
    """Whether a path sees the future: it is played with what comes later cut off, and with another future.

    Each play is a process of its own. Status 0: it passed; 1: it failed; 2: it could not be checked.
    """
    from raysignal.cli.check_strategy import FAILED, NOT_CHECKED
    from raysignal.engine.strategies.isolation import IsolatedRuns
    from raysignal.runtime.pipeline_file import read_config
    from raysignal.runtime.pipeline_leaks import check_leaks

    output = Output(config.json)
    found: dict[str, tuple[int, StrategyFinding]] = {}
    try:
        path = read_config(config.config)
        with IsolatedRuns() as runs:
            for seed in range(config.seed, config.seed + config.seeds):
                for each in check_leaks(
                    path, seed=seed, candles=config.candles, tries=config.tries, runs=runs
                ):
                    if each.check not in found or found[each.check][1].good:
                        found[each.check] = seed, each  # the first that is wrong, or the last
    except RaysignalError as error:
        output.error(error)
        raise typer.Exit(NOT_CHECKED) from error
    good = all(each.good for _, each in found.values())
    if config.json:
        checks = [
            {"check": each.check, "good": each.good, "seed": seed, "sentence": each.sentence}
            for seed, each in found.values()
        ]
        output.json({"name": path.name, "good": good, "checks": checks})
    else:
        rows = [
            ("passed" if each.good else "FAILED", each.check, str(seed), each.sentence)
            for seed, each in found.values()
        ]
        output.table(rows_table(("", "check", "seed", "what was found"), rows))
    if not good:
        raise typer.Exit(FAILED)
