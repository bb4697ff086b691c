"""Markets that could have been: paths of log returns, from a model that is given or fitted to prices.

Path `index` of seed `seed` is the same whatever else is drawn: each has a generator of its own, keyed by both.

Models: geometric Brownian motion here, GARCH and jumps in `volatility`, regimes in `regimes`.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from raysignal.engine.core.arrays import Float64Array
from raysignal.engine.core.errors import InvalidField
from raysignal.experiments.monte_carlo.regimes import Regimes
from raysignal.experiments.monte_carlo.volatility import Garch, Jumps

_FEWEST = 50  # returns that a model is fitted to


def generator(seed: int, index: int) -> np.random.Generator:
    """The generator of one path."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, index))))


class MarketModel(Protocol):
    """A market."""

    def returns(self, n: int, draws: np.random.Generator) -> Float64Array:
        """float64[n] log returns."""
        ...

    def described(self) -> str:
        """What it is, with its parameters, in words."""
        ...


@dataclass(frozen=True, slots=True)
class Brownian:
    """Independent normal returns: mean and deviation, a bar."""

    mean: float
    deviation: float

    def returns(self, n: int, draws: np.random.Generator) -> Float64Array:
        """See `MarketModel`."""
        return draws.normal(self.mean, self.deviation, n)

    def described(self) -> str:
        """See `MarketModel`."""
        lacks = "they have neither fat tails nor skewness nor clustering, whatever the source has"
        return f"Independent normal returns with a deviation of {self.deviation:.2%} a bar: {lacks}"

    @classmethod
    def fitted(cls, returns: Float64Array) -> "Brownian":
        """To returns."""
        return cls(float(returns.mean()), float(returns.std(ddof=1)))


_KINDS: dict[str, Any] = {"gbm": Brownian, "garch": Garch, "regimes": Regimes, "jumps": Jumps}
MODELS = tuple(_KINDS)


def fitted(name: str, close: Float64Array) -> MarketModel:
    """The model of that name, fitted to closes.

    Raises:
        InvalidField: no such model, fewer than 51 closes, or closes that never change.
    """
    if name not in MODELS:
        raise InvalidField("model", name, f"one of {', '.join(MODELS)}")
    if len(close) <= _FEWEST:
        raise InvalidField("bars", len(close), f"more than {_FEWEST}, to fit a model to")
    returns = np.diff(np.log(close))
    if float(returns.std()) <= 1e-12:
        raise InvalidField("close", float(close[0]), "prices that do not all move alike, to fit a model to")
    found: MarketModel = _KINDS[name].fitted(returns)
    return found
