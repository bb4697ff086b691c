"""The strategies by their names, for command lines and files."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.strategies.checks import RecomputedStrategy
from raysignal.engine.strategies.rules import Bollinger, Breakout, Macd, Rsi, VolatilityTarget
from raysignal.engine.strategies.sma import SmaCrossover
from raysignal.engine.strategies.strategy import Strategy
from raysignal.engine.strategies.user_strategies import import_strategy

_KINDS: dict[str, Any] = {
    "sma": SmaCrossover, "rsi": Rsi, "macd": Macd, "bollinger": Bollinger, "breakout": Breakout,
    "volatility": VolatilityTarget,
}  # fmt: skip

NAMES = tuple(_KINDS)


def kind(name: str) -> Any:
    """The class of that name; `InvalidField` if there is none."""
    if name not in _KINDS:
        raise InvalidField("strategy", name, f"one of {', '.join(NAMES)}")
    return _KINDS[name]


def parameters(name: str) -> tuple[str, ...]:
    """The names of a strategy's parameters; `InvalidField` for no such strategy."""
    return tuple(field.name for field in fields(kind(name)))


def make(name: str, values: Mapping[str, Any]) -> Strategy:
    """A strategy with these parameters, its defaults where nothing is said; `module:Class`: a class of a user's own.

    Raises:
        InvalidField: no such strategy or parameter, or a value that cannot be.
    """
    if ":" in name:
        own = import_strategy(name, values)
        whole: Strategy = own if callable(getattr(own, "stream", None)) else RecomputedStrategy(own)
        return whole
    known = parameters(name)
    for given in values:
        if given not in known:
            raise InvalidField(f"{name} parameter", given, f"one of {', '.join(known)}")
    made: Strategy = kind(name)(**values)
    return made
