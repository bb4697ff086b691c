"""What `raysignal check-strategy` does.

It starts the process that strategies run in first, and reads a file, if there is one, while that starts.
"""

from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import typer

from raysignal.cli.extras import require_extras
from raysignal.cli.options import ReadingOptions, configured, existing_file
from raysignal.cli.output import Output, rows_table
from raysignal.data.bars import random_walk
from raysignal.engine.core.errors import InvalidField, RaysignalError
from raysignal.engine.strategies.checks import check_strategy
from raysignal.engine.strategies.isolation import IsolatedRuns
from raysignal.engine.strategies.strategy import Bars

FAILED = 1
NOT_CHECKED = 2


@dataclass(frozen=True, slots=True)
class CheckStrategyConfig:
    """One check as it was asked for; see `cli.check_strategy.check_strategy`."""

    strategy: str
    param: tuple[str, ...]
    data: Path | None
    reading: ReadingOptions
    accept_price_jump: bool
    seed: int
    tries: int
    time_limit: float


def run_job(asked: CheckStrategyConfig, output: Output) -> None:
    """Check and show what was found; ends with `FAILED` if something was, and `NOT_CHECKED` if it could not be."""
    try:
        parameters = values_of(asked.param)
        with IsolatedRuns(time_limit_s=asked.time_limit) as runs:
            found = check_strategy(
                asked.strategy, _bars(asked, output), parameters=parameters, seed=asked.seed, tries=asked.tries,
                runs=runs,
            )  # fmt: skip
    except RaysignalError as error:
        output.error(error)
        raise typer.Exit(NOT_CHECKED) from error
    good = all(one.good for one in found)
    if output.as_json:
        output.json({"strategy": asked.strategy, "good": good, "checks": [asdict(one) for one in found]})
    else:
        rows = [("passed" if one.good else "FAILED", one.check, one.sentence) for one in found]
        output.table(rows_table(("", "check", "what was found"), rows))
    if not good:
        raise typer.Exit(FAILED)


def values_of(param: tuple[str, ...]) -> dict[str, Any]:
    """Parameters as they were given, `name=value`, numbers as numbers; raises `InvalidField`."""
    values: dict[str, Any] = {}
    for text in param:
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


def _bars(asked: CheckStrategyConfig, output: Output) -> Bars:
    if asked.data is None:
        return random_walk(asked.seed)
    path = existing_file(asked.data)
    require_extras("check-strategy --data", "experiments")
    # Seconds, for pyarrow, numba and scipy: only who has a file waits for them.
    from raysignal.cli.stream import read_stream
    from raysignal.experiments.sweeps.market import markets_of

    file = read_stream(
        path, asked.reading, configured(), skip=False, accept_jump=asked.accept_price_jump,
        output=output, prices_only=True,
    )  # fmt: skip
    if len(file.batch.symbols) > 1:
        raise InvalidField("data", ", ".join(file.batch.symbols), "a file about one symbol")
    return markets_of(file.batch)[0].bars
