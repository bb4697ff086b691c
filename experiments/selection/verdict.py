"""The sweep's own verdict about its best configuration.

What is judged is timing: each trial's returns less what it would have earned by being in the market as much as it was
(its beta times the market's returns), so that a market that went up makes nobody skilful.

*Significant* means: Hansen's test at 5 % says that some trial's timing beats none, the deflated Sharpe ratio says so of
the best one in particular at 95 %, and choosing the best of a part of the time was more often right than wrong in the
rest (probability of overfitting below one half). Each alone is fooled by some null: by few periods, by trials that are
alike, by one lucky stretch. `python -m experiments.selection.calibration` shows how often the verdict errs.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine.account import Floats
from engine.errors import InvalidField
from experiments.selection.deflated import deflated_sharpe, effective_trials
from experiments.selection.overfitting import GROUPS, overfitting
from experiments.selection.reality import RESAMPLES, reality_check

LEVEL = 0.05
CONFIDENCE = 0.95
FEWEST = 2 * GROUPS


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said about the best.

    Attributes:
        significant: see the module.
        sentence: for people.
        deflated_sharpe: probability that its Sharpe ratio is above that of the best of as many without skill.
        pbo: probability of overfitting; None with one trial.
        p_value: Hansen's test of superior predictive ability, of the timing of all trials.
        white: White's reality check.
        trials, effective_trials: configurations, and how many independent ones they amount to.
        periods: returns that were looked at.
    """

    significant: bool
    sentence: str
    deflated_sharpe: float
    pbo: float | None
    p_value: float
    white: float
    trials: int
    effective_trials: float
    periods: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def judge(
    returns: Floats, market: Floats, *, best: int, trials: int, seed: int, resamples: int = RESAMPLES
) -> Verdict:
    """The verdict about one column of the returns.

    Args:
        returns: float64[periods, sampled trials], of all of them or of every so many, and of the best.
        market: float64[periods], of holding what is traded.
        best: the column of the best.
        trials: how many there were.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Raises:
        InvalidField: fewer than `FEWEST` periods, no such column, or returns that are not finite.
    """
    periods, sampled = returns.shape
    if periods < FEWEST:
        raise InvalidField("periods", periods, f"at least {FEWEST}")
    if not 0 <= best < sampled:
        raise InvalidField("best", best, f"a column from 0 to {sampled - 1}")
    if trials < 1:
        raise InvalidField("trials", trials, "at least 1")
    if len(market) != periods:
        raise InvalidField("market", len(market), f"{periods} returns, one a period")
    if not (np.isfinite(returns).all() and np.isfinite(market).all()):
        raise InvalidField("returns", "some that are not finite", "finite ones")
    timing = timed(returns, market)
    independent = effective_trials(timing)
    # What was not sampled is as much alike as what was.
    independent = min(float(trials), max(1.0, independent * max(1.0, trials / sampled) ** 0.5))
    deflated = deflated_sharpe(timing, best, independent)
    found = reality_check(timing, np.zeros(periods), seed=seed, resamples=resamples)
    pbo = overfitting(timing).probability if sampled > 1 else None
    significant = found.spa < LEVEL and deflated > CONFIDENCE and (pbo is None or pbo < 0.5)
    return Verdict(
        significant, _sentence(significant, deflated, pbo, found.spa, trials, independent), deflated, pbo, found.spa,
        found.white, trials, independent, periods,
    )  # fmt: skip


def timed(returns: Floats, market: Floats) -> Floats:
    """Each column less its beta times the market's returns: what is left when being in the market is taken out."""
    apart = market - market.mean()
    spread = float(apart @ apart)
    if spread <= 1e-24:
        return returns
    beta = apart @ returns / spread
    left: Floats = returns - market[:, None] * beta
    return left


def _sentence(
    significant: bool, deflated: float, pbo: float | None, p_value: float, trials: int, independent: float
) -> str:
    said = (
        "The best is more than luck, as far as these prices tell" if significant else "The best may be luck"
    )
    chosen = ""
    if pbo is not None:
        chosen = f", the best of a part of the time was below the median of the rest {pbo:.0%} of the time"
    noun = "configuration" if trials == 1 else "configurations"
    return (
        f"{said}: p {p_value:.3f} that nobody's timing earns anything, deflated Sharpe {deflated:.1%}{chosen}; "
        f"{trials:,d} {noun}, worth {independent:,.0f} independent ones."
    )
