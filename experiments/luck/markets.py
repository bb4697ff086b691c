"""Markets that could have been: paths of log returns, from a model that is given or fitted to prices.

Path `index` of seed `seed` is the same whatever else is drawn: each has a generator of its own, keyed by both.

Models and sources: geometric Brownian motion; GARCH(1, 1) (Bollerslev, J. of Econometrics 31, 1986), fitted by `arch`;
two regimes that follow each other as a Markov chain (Hamilton, Econometrica 57, 1989), told apart by volatility; jumps
on top of a diffusion (Merton, J. of Financial Economics 3, 1976).
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from engine.account import Floats
from engine.errors import InvalidField

MODELS = ("gbm", "garch", "regimes", "jumps")
_FEWEST = 50  # returns that a model is fitted to


def generator(seed: int, index: int) -> np.random.Generator:
    """The generator of one path."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, index))))


class Model(Protocol):
    """A market."""

    def returns(self, n: int, draws: np.random.Generator) -> Floats:
        """float64[n] log returns."""
        ...


@dataclass(frozen=True, slots=True)
class Brownian:
    """Independent normal returns: mean and deviation, a bar."""

    mean: float
    deviation: float

    def returns(self, n: int, draws: np.random.Generator) -> Floats:
        """See `Model`."""
        return draws.normal(self.mean, self.deviation, n)

    @classmethod
    def fitted(cls, returns: Floats) -> "Brownian":
        """To returns."""
        return cls(float(returns.mean()), float(returns.std(ddof=1)))


@dataclass(frozen=True, slots=True)
class Garch:
    """`variance = omega + alpha * shock² + beta * variance`; begins at its long-run level."""

    mean: float
    omega: float
    alpha: float
    beta: float

    def __post_init__(self) -> None:
        if not (self.omega > 0.0 and self.alpha >= 0.0 and self.beta >= 0.0 and self.alpha + self.beta < 1.0):
            raise InvalidField(
                "garch",
                (self.omega, self.alpha, self.beta),
                "omega above 0, and alpha and beta that add up to less than 1",
            )

    def returns(self, n: int, draws: np.random.Generator) -> Floats:
        """See `Model`."""
        shocks = draws.standard_normal(n)
        variance = self.omega / (1.0 - self.alpha - self.beta)
        found = np.empty(n)
        for place, shock in enumerate(shocks.tolist()):
            moved = math.sqrt(variance) * shock
            found[place] = self.mean + moved
            variance = self.omega + self.alpha * moved * moved + self.beta * variance
        return found

    @classmethod
    def fitted(cls, returns: Floats) -> "Garch":
        """To returns, by maximum likelihood; persistence is held below 1."""
        from arch import arch_model  # noqa: PLC0415 - a second to import

        scale = 0.01 / max(float(returns.std()), 1e-12)  # the optimiser likes percents
        scaled = returns * scale * 100.0
        found = (
            arch_model(scaled, mean="Constant", vol="GARCH", p=1, q=1, rescale=False).fit(disp="off").params
        )
        unit = scale * 100.0
        alpha, beta = float(found["alpha[1]"]), float(found["beta[1]"])
        persistence = alpha + beta
        if persistence > 0.999:
            alpha, beta = alpha * 0.999 / persistence, beta * 0.999 / persistence
        return cls(float(found["mu"]) / unit, max(float(found["omega"]) / unit**2, 1e-300), alpha, beta)


@dataclass(frozen=True, slots=True)
class Regimes:
    """A calm and a wild regime, each with mean and deviation; `stay` is the chance to stay in it."""

    means: tuple[float, float]
    deviations: tuple[float, float]
    stay: tuple[float, float]

    def __post_init__(self) -> None:
        if not all(0.0 <= chance <= 1.0 for chance in self.stay):
            raise InvalidField("stay", self.stay, "chances from 0 to 1")

    def returns(self, n: int, draws: np.random.Generator) -> Floats:
        """See `Model`; begins in the calm one."""
        turned = draws.random(n)
        regime, regimes = 0, np.empty(n, np.int64)
        for place in range(n):
            regimes[place] = regime
            if turned[place] > self.stay[regime]:
                regime = 1 - regime
        means, deviations = np.array(self.means), np.array(self.deviations)
        return means[regimes] + deviations[regimes] * draws.standard_normal(n)

    @classmethod
    def fitted(cls, returns: Floats) -> "Regimes":
        """To returns: wild is where the volatility of the last 20 bars is above its own 75th percentile."""
        window = min(20, len(returns) // 4)
        squares = np.concatenate([[0.0], np.cumsum((returns - returns.mean()) ** 2)])
        volatility = np.sqrt((squares[window:] - squares[:-window]) / window)
        wild = np.concatenate([np.zeros(window - 1, bool), volatility > np.quantile(volatility, 0.75)])
        means, deviations, stay = [], [], []
        for state in (False, True):
            own = returns[wild == state]
            own = own if len(own) > 1 else returns
            means.append(float(own.mean()))
            deviations.append(float(own.std(ddof=1)))
            at = np.flatnonzero(wild[:-1] == state)
            stay.append(float(np.mean(wild[at + 1] == state)) if len(at) else 1.0)
        return cls((means[0], means[1]), (deviations[0], deviations[1]), (stay[0], stay[1]))


@dataclass(frozen=True, slots=True)
class Jumps:
    """Normal returns, and now and then a jump: its chance a bar, mean and deviation."""

    mean: float
    deviation: float
    chance: float
    jump_mean: float
    jump_deviation: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.chance <= 1.0:
            raise InvalidField("chance", self.chance, "a chance from 0 to 1")

    def returns(self, n: int, draws: np.random.Generator) -> Floats:
        """See `Model`."""
        jumped = draws.random(n) < self.chance
        jumps = draws.normal(self.jump_mean, self.jump_deviation, n)
        found: Floats = draws.normal(self.mean, self.deviation, n) + np.where(jumped, jumps, 0.0)
        return found

    @classmethod
    def fitted(cls, returns: Floats) -> "Jumps":
        """To returns: a jump is what is more than four robust deviations from the median."""
        middle = float(np.median(returns))
        robust = 1.4826 * float(np.median(np.abs(returns - middle)))
        far = np.abs(returns - middle) > 4.0 * max(robust, 1e-12)
        calm, wild = returns[~far], returns[far]
        if len(wild) < 2:
            return cls(float(returns.mean()), float(returns.std(ddof=1)), 0.0, 0.0, 0.0)
        return cls(
            float(calm.mean()), float(calm.std(ddof=1)), len(wild) / len(returns), float(wild.mean()),
            float(wild.std(ddof=1)),
        )  # fmt: skip


def fitted(name: str, close: Floats) -> Model:
    """The model of that name, fitted to closes.

    Raises:
        InvalidField: no such model, or fewer than 51 closes.
    """
    if name not in MODELS:
        raise InvalidField("model", name, f"one of {', '.join(MODELS)}")
    if len(close) <= _FEWEST:
        raise InvalidField("bars", len(close), f"more than {_FEWEST}, to fit a model to")
    returns = np.diff(np.log(close))
    kinds = {"gbm": Brownian, "garch": Garch, "regimes": Regimes, "jumps": Jumps}
    found: Model = kinds[name].fitted(returns)  # type: ignore[attr-defined]
    return found
