"""Markets whose volatility follows what they did before: GARCH, alone and with jumps.

`variance = omega + alpha * shock² + beta * variance`: GARCH(1, 1), Bollerslev, J. of Econometrics 31 (1986). `omega` is
given by the long-run deviation: `omega = (1 - alpha - beta) * deviation²` (variance targeting: Engle & Mezrich, Risk 9,
1996). Paths begin with a variance of the stationary distribution, not at the long-run one.
"""

import math
import warnings
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from raysignal.engine.core.arrays import Float64Array
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.strategies.compiled import compiled

MOST_PERSISTENT = 0.999
_FREEDOM = (2.05, 300.0)  # that `arch` has for Student's t
_BEFORE = 500  # bars that a path has behind it when it begins
_TRIES = 50  # paths that the level is set by


def level(model: "Garch | Jumps", returns: Float64Array) -> float:
    """The long-run deviation at which the middle one of the model's paths has the deviation of these returns.

    Where shocks have fat tails and last, most paths of finite length are far calmer than the long run.
    """
    draws = [np.random.default_rng((0, index)) for index in range(_TRIES)]
    middle = float(np.median([model.returns(len(returns), each).std() for each in draws]))
    return model.deviation * float(returns.std()) / middle


def check_persistence(alpha: float, beta: float) -> None:
    """Raises `InvalidField` where the variance has no long-run level."""
    if not (alpha >= 0.0 and beta >= 0.0 and alpha + beta < 1.0):
        raise InvalidField("garch", (alpha, beta), "alpha and beta from 0, that add up to less than 1")


@dataclass(frozen=True, slots=True)
class Garch:
    """GARCH(1, 1) whose shocks have Student's t, made skew (Hansen, International Economic Review 35, 1994).

    Attributes:
        mean: of the log return of a bar.
        deviation: of the long run.
        alpha, beta: what a shock and the variance before it add to a variance; below 1 together.
        freedom: degrees of the t, above 2: the lower, the fatter the tails.
        skew: -1 to 1; 0: as likely to rise as to fall.
    """

    mean: float
    deviation: float
    alpha: float
    beta: float
    freedom: float
    skew: float = 0.0

    def __post_init__(self) -> None:
        check_persistence(self.alpha, self.beta)
        if not (_FREEDOM[0] <= self.freedom <= _FREEDOM[1] and -1.0 < self.skew < 1.0):
            raise InvalidField(
                "garch",
                (self.freedom, self.skew),
                f"{_FREEDOM[0]} to {_FREEDOM[1]:g} degrees of freedom, and a skew between -1 and 1",
            )

    def returns(self, n: int, draws: np.random.Generator) -> Float64Array:
        """See `MarketModel`."""
        from arch.univariate import SkewStudent  # noqa: PLC0415 - a second to import

        shocks = SkewStudent().ppf(draws.random(n + _BEFORE), np.array([self.freedom, self.skew]))
        found: Float64Array = (
            self.mean + _variances_through(shocks, self.deviation, self.alpha, self.beta)[_BEFORE:]
        )
        return found

    def described(self) -> str:
        """See `MarketModel`."""
        return (
            f"GARCH(1, 1) with alpha {self.alpha:.3f} and beta {self.beta:.3f}, and shocks of Student's t with "
            f"{self.freedom:.1f} degrees of freedom and a skew of {self.skew:+.2f}"
        )

    @classmethod
    def fitted(cls, returns: Float64Array) -> Self:
        """To returns, by maximum likelihood (`arch`); persistence is held at or below `MOST_PERSISTENT`."""
        from arch import arch_model  # noqa: PLC0415 - a second to import

        mean, deviation = float(returns.mean()), float(returns.std())
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of an optimiser that had little to go by: the report shows what it gave
            found = arch_model(
                (returns - mean) / deviation, mean="Constant", vol="GARCH", p=1, q=1, dist="skewt", rescale=False
            ).fit(disp="off", show_warning=False).params  # fmt: skip
        alpha, beta = max(float(found["alpha[1]"]), 0.0), max(float(found["beta[1]"]), 0.0)
        shrink = min(1.0, MOST_PERSISTENT / max(alpha + beta, 1e-12))
        freedom, skew = float(np.clip(found["eta"], *_FREEDOM)), float(np.clip(found["lambda"], -0.99, 0.99))
        model = cls(mean, deviation, alpha * shrink, beta * shrink, freedom, skew)
        return replace(model, deviation=level(model, returns))


@dataclass(frozen=True, slots=True)
class Jumps:
    """Normal returns with jumps (Merton, J. of Financial Economics 3, 1976), both on the variance of a GARCH(1, 1).

    Jumps on a variance that moves: Jorion, Review of Financial Studies 1 (1988). A shock is normal, and by chance a
    jump is added; the sizes of both are in deviations of its bar, and shocks have mean 0 and variance 1 in all.

    Attributes:
        mean: of the log return of a bar.
        deviation: of the long run.
        alpha, beta: see `Garch`.
        chance: of a jump at a bar.
        jump_mean, jump_deviation: of its size, in deviations of its bar.
    """

    mean: float
    deviation: float
    alpha: float
    beta: float
    chance: float
    jump_mean: float
    jump_deviation: float

    def __post_init__(self) -> None:
        check_persistence(self.alpha, self.beta)
        if not 0.0 <= self.chance <= 1.0:
            raise InvalidField("chance", self.chance, "a chance from 0 to 1")
        if self.calm_variance < 0.0:
            raise InvalidField(
                "jump_deviation",
                self.jump_deviation,
                "jumps that leave something of a variance of 1 to the normal part",
            )

    @property
    def calm_variance(self) -> float:
        """Of a shock without its jump."""
        spread = self.jump_deviation**2 + (1.0 - self.chance) * self.jump_mean**2
        return 1.0 - self.chance * spread

    def returns(self, n: int, draws: np.random.Generator) -> Float64Array:
        """See `MarketModel`."""
        bars = n + _BEFORE
        calm = draws.normal(-self.chance * self.jump_mean, math.sqrt(self.calm_variance), bars)
        jumped = draws.random(bars) < self.chance
        shocks = calm + np.where(jumped, draws.normal(self.jump_mean, self.jump_deviation, bars), 0.0)
        found: Float64Array = (
            self.mean + _variances_through(shocks, self.deviation, self.alpha, self.beta)[_BEFORE:]
        )
        return found

    def described(self) -> str:
        """See `MarketModel`."""
        return (
            f"GARCH(1, 1) with alpha {self.alpha:.3f} and beta {self.beta:.3f}, and a jump at {self.chance:.1%} of the "
            f"bars, of {self.jump_mean:+.2f} ± {self.jump_deviation:.2f} deviations of its bar"
        )

    @classmethod
    def fitted(cls, returns: Float64Array) -> Self:
        """To returns, by maximum likelihood of all parameters at once; the long-run deviation is theirs."""
        from scipy.optimize import minimize  # noqa: PLC0415 - slow to import

        mean, deviation = float(returns.mean()), float(returns.std())
        scaled = (returns - mean) / deviation
        starts = ([0.05, 3.0, -2.0, -2.0, -0.5, 0.7], [0.05, 4.0, -3.0, -3.0, 0.5, 1.0])
        found = None
        for start in starts:
            rough = minimize(
                _jump_loss, start, (scaled,), "Nelder-Mead", options={"maxiter": 2_000, "xatol": 1e-3}
            )
            if found is None or rough.fun < found.fun:
                found = rough
        assert found is not None
        _, *rest = _jump_parameters(
            found.x
        )  # the mean of the paths is that of the returns, as in every model
        model = cls(mean, deviation, *rest)
        return replace(model, deviation=level(model, returns))


def _jump_parameters(free: Float64Array) -> tuple[float, float, float, float, float, float]:
    """Mean, alpha, beta, chance, jump_mean and jump_deviation, which have bounds, of six numbers that have none."""
    persistence, share, chance = 1.0 / (1.0 + np.exp(-np.clip(free[1:4], -30.0, 30.0)))
    persistence *= MOST_PERSISTENT
    chance *= 0.5
    jump_mean = math.tanh(free[4] / 4.0) * 4.0
    # The jump's deviation over that of the calm part is what is free; the variance of both is 1.
    ratio = math.exp(2.0 * min(max(free[5], -10.0), 4.0))
    left = 1.0 - chance * (1.0 - chance) * jump_mean**2
    jump_deviation = math.sqrt(max(left, 0.0) * ratio / (1.0 + chance * ratio))
    return float(free[0]), persistence * share, persistence * (1.0 - share), chance, jump_mean, jump_deviation


def _jump_loss(free: Float64Array, scaled: Float64Array) -> float:
    found = _jump_parameters(free)
    return float(_jump_likelihood(scaled, *found))


@compiled
def _variances_through(shocks: Float64Array, deviation: float, alpha: float, beta: float) -> Any:
    """Shocks of variance 1 as moves, float64[n]: each times the deviation that those before it have led to."""
    level = deviation * deviation
    variance = level
    found = np.empty(len(shocks))
    for bar in range(len(shocks)):
        move = math.sqrt(variance) * shocks[bar]
        found[bar] = move
        variance = (1.0 - alpha - beta) * level + alpha * move * move + beta * variance
    return found


@compiled
def _jump_likelihood(
    scaled: Float64Array,
    mean: float,
    alpha: float,
    beta: float,
    chance: float,
    jump_mean: float,
    jump_deviation: float,
) -> float:
    """Minus the log-likelihood of returns of variance 1, a constant apart; 1e12 where there are no such jumps."""
    calm = 1.0 - chance * (jump_deviation**2 + (1.0 - chance) * jump_mean**2)
    if calm < 1e-4:
        return 1e12
    wild, middle = calm + jump_deviation**2, -chance * jump_mean
    variance, loss = 1.0, 0.0
    for bar in range(len(scaled)):
        move = scaled[bar] - mean
        shock = move / math.sqrt(variance)
        without = (1.0 - chance) * math.exp(-0.5 * (shock - middle) ** 2 / calm) / math.sqrt(calm)
        jumped = chance * math.exp(-0.5 * (shock - middle - jump_mean) ** 2 / wild) / math.sqrt(wild)
        loss -= math.log(without + jumped + 1e-300) - 0.5 * math.log(variance)
        variance = 1.0 - alpha - beta + alpha * move * move + beta * variance
    return loss
