"""`raysignal check-strategy`: whether a rule sees the future, says the same again, and warms up as it says.

It starts the process that strategies run in first, and reads a file, if there is one, while that starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysignal.cli import options
from raysignal.cli.output import Output, rows_table
from raysignal.cli.signal_files import read_stream
from raysignal.cli.verbs import require_extras
from raysignal.engine.core.errors import InvalidField, RaysignalError

if TYPE_CHECKING:
    from raysignal.engine.strategies.strategy import Bars

FAILED = 1
NOT_CHECKED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckStrategyConfig:
    """Which strategy is checked, and on which prices."""

    strategy: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:CLASS|NAME", help="A class of yours, or one of sma, rsi, macd, bollinger, …"
        ),
    ]
    param: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="NAME=VALUE", help="A parameter; as often as there are any."),
    ] = None
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Prices to try it on; default: made up, by the seed.")
    ] = None
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Of the prices, and of where they are cut.")
    ] = 0
    tries: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="How many cuts are tried: more find a rule that seldom looks ahead."
        ),
    ] = 24
    time_limit: Annotated[
        float, typer.Option(metavar="SECONDS", help="For one call of the strategy; at most a day.")
    ] = 60.0
    accept_price_jump: options.AcceptPriceJump = False
    stamps: options.StampOptions
    symbol: options.Symbol = None
    json: options.Json = False

    @property
    def reading(self) -> options.ReadingOptions:
        """How the file is read."""
        return self.stamps.with_names(symbol=self.symbol)


def check_rule(config: CheckStrategyConfig) -> None:
    """Check a strategy by cutting its bars off and letting them go on otherwise, each in a process of its own.

    Status 0: it passed; 1: it failed; 2: it could not be checked (no such strategy, parameter or file).
    """
    from raysignal.engine.strategies.checks import check_strategy
    from raysignal.engine.strategies.isolation import IsolatedRuns

    output = Output(config.json)
    try:
        parameters = values_of(config.param)
        with IsolatedRuns(time_limit_s=config.time_limit) as runs:
            found = check_strategy(
                config.strategy, _bars(config, output), parameters=parameters, seed=config.seed, tries=config.tries,
                runs=runs,
            )  # fmt: skip
    except RaysignalError as error:
        output.error(error)
        raise typer.Exit(NOT_CHECKED) from error
    good = all(one.good for one in found)
    if config.json:
        output.json({"strategy": config.strategy, "good": good, "checks": [asdict(one) for one in found]})
    else:
        rows = [("passed" if one.good else "FAILED", one.check, one.sentence) for one in found]
        output.table(rows_table(("", "check", "what was found"), rows))
    if not good:
        raise typer.Exit(FAILED)


def values_of(param: Sequence[str] | None) -> dict[str, Any]:
    """Parameters as they were given, `name=value`, numbers as numbers; raises `InvalidField`."""
    values: dict[str, Any] = {}
    for text in param or ():
        name, equals, said = (part.strip() for part in text.partition("="))
        if not (name and equals and said):
            raise InvalidField("param", text, "name=value, such as fast=10")
        if name in values:
            raise InvalidField("param", text, f"{name} once; it is {values[name]} already")
        values[name] = _value(said)
    return values


def _value(text: str) -> int | float | str | bool:
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    if not number.is_finite():
        return text
    return int(number) if number == number.to_integral_value() else float(number)


def _bars(config: CheckStrategyConfig, output: Output) -> Bars:
    if config.data is None:
        from raysignal.data.bars import random_walk

        return random_walk(config.seed)
    path = options.existing_file(config.data)
    require_extras("check-strategy --data", "experiments")
    from raysignal.experiments.sweeps.market import markets_of

    file = read_stream(
        path, config.reading, options.configured(), skip=False, accept_jump=config.accept_price_jump,
        output=output, prices_only=True,
    )  # fmt: skip
    if len(file.batch.symbols) > 1:
        raise InvalidField("data", ", ".join(file.batch.symbols), "a file about one symbol")
    return markets_of(file.batch)[0].bars
