"""What `raysignal check-strategy` does."""

import importlib
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich.markup import escape

from cli.options import ReadingOptions, existing_file
from cli.output import Output, rows_table
from cli.stream import read_stream
from engine.errors import InvalidField
from engine.settings import Settings
from engine.strategies import registry
from engine.strategies.checking import check_strategy
from engine.strategies.strategy import Bars
from experiments.sweeps.market import markets_of
from experiments.sweeps.space import Axis

_BARS = 2_000
_DAY_US = 86_400_000_000
_START_US = 1_577_836_800_000_000


@dataclass(frozen=True, slots=True)
class Asked:
    """One check as it was asked for; see `cli.check_strategy.check_strategy`."""

    strategy: str
    param: tuple[str, ...]
    data: Path | None
    reading: ReadingOptions
    accept_price_jump: bool
    seed: int


def run_job(asked: Asked, settings: Settings, output: Output) -> None:
    """Check, show what was found, and end with status 1 if something was."""
    strategy = _made(asked.strategy, values_of(asked.param))
    found = check_strategy(strategy, _bars(asked, settings, output), seed=asked.seed)
    good = all(one.good for one in found)
    if output.as_json:
        output.json({"strategy": asked.strategy, "good": good, "checks": [asdict(one) for one in found]})
    else:
        rows = [("passed" if one.good else "FAILED", one.check, escape(one.sentence)) for one in found]
        output.table(rows_table(("", "check", "what was found"), rows))
    if not good:
        raise typer.Exit(1)


def values_of(param: tuple[str, ...]) -> dict[str, Any]:
    """Parameters as they were given, `name=value`; raises `InvalidField`."""
    values: dict[str, Any] = {}
    for text in param:
        axis = Axis.parse(text)
        if len(axis.values) != 1:
            raise InvalidField("param", text, "one value, such as fast=10")
        values[axis.name] = axis.values[0]
    return values


def _made(named: str, values: dict[str, Any]) -> Any:
    """The strategy, by a name of ours or as `module:Class`."""
    module_name, colon, class_name = named.partition(":")
    if not colon:
        return registry.make(named, values)
    # A module beside the one who asks, as python -m has it.
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a module of somebody else's may raise anything
        raise InvalidField("strategy", named, f"a module that can be imported ({error})") from error
    finally:
        sys.path.pop(0)
    kind = getattr(module, class_name, None)
    if not isinstance(kind, type):
        raise InvalidField("strategy", named, f"a class of {module_name}")
    try:
        return kind(**values)
    except InvalidField:
        raise
    except Exception as error:  # as above
        raise InvalidField(
            "param", ", ".join(values) or "none", f"what {class_name} takes ({error})"
        ) from error


def _bars(asked: Asked, settings: Settings, output: Output) -> Bars:
    if asked.data is None:
        return made_up(asked.seed)
    file = read_stream(
        existing_file(asked.data), asked.reading, settings, skip=False, accept_jump=asked.accept_price_jump,
        output=output, prices_only=True,
    )  # fmt: skip
    if len(file.batch.symbols) > 1:
        raise InvalidField("data", ", ".join(file.batch.symbols), "a file about one symbol")
    return markets_of(file.batch)[0].bars


def made_up(seed: int) -> Bars:
    """Days of a random walk with trends in it, so that most rules have something to say."""
    draws = np.random.default_rng(seed)
    drift = np.repeat(draws.normal(0.0, 0.004, _BARS // 50), 50)
    close = np.round(100.0 * np.exp(np.cumsum(draws.normal(0.0, 0.015, _BARS) + drift)), 2) + 0.01
    spread = np.abs(draws.normal(0.0, 0.004, (2, _BARS)))
    opened = np.concatenate([close[:1], close[:-1]])
    high, low = np.maximum(opened, close) * (1.0 + spread[0]), np.minimum(opened, close) * (1.0 - spread[1])
    stamps = _START_US + np.arange(1, _BARS + 1, dtype=np.int64) * _DAY_US
    return Bars(stamps, opened, high, low, close, draws.uniform(1.0, 100.0, _BARS))
