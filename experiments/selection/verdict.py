"""The sweep's own verdict about its best configuration.

What is judged is timing: each trial's returns less what it would have earned by being in the market as much as it was
(its beta times the market's returns), so that a market that went up makes nobody skilful.

*Significant* means: Hansen's test at 5 % says that some trial's timing beats none; the deflated Sharpe ratio says so of
the best one in particular at 95 %; and choosing the best of a part of the time was more often right than wrong in the
rest: it was below the median there less than half of the time, and lost there less than half of the time.

The deflated Sharpe ratio counts the trials by the effective rank of their correlation, and any choice as one among two
at least. It is given for the larger count by their expected best, too: the truth lies between. Trials that are all but
the same (a grid over fees alone) rank alike in every part of the time; the probability of overfitting would be near 0
whatever they earn, so none is given. `python -m raysignal.experiments.validation.sweeps` shows how often
each part errs.
"""

from dataclasses import dataclass, replace

import numpy as np

from raysignal.engine.core.arrays import Float64Array
from raysignal.engine.core.errors import InvalidField
from raysignal.experiments.selection.deflated import deflated_sharpe, effective_trials, trials_by_best
from raysignal.experiments.selection.overfitting import GROUPS, overfitting
from raysignal.experiments.selection.reality import RESAMPLES, reality_check

LEVEL = 0.05
CONFIDENCE = 0.95
FEWEST = 2 * GROUPS
_LEAST_CHOICE = 2.0  # independent trials that a choice amounts to at least
_SAME = 1.05  # an effective rank below it: all trials are one in other words


@dataclass(frozen=True, slots=True)
class SelectionVerdict:
    """What is said about the best.

    Attributes:
        significant: see the module.
        sentence: for people.
        deflated_sharpe: probability that its Sharpe ratio is above that of the best of `effective_trials` without
            skill; 0 for one that was ruined.
        deflated_sharpe_at_most_trials: the same with `most_trials`, so never above it.
        pbo: probability of overfitting; None with one trial, or where all are but one.
        loss: how often the best of a part of the time lost in the rest, by its timing; None as `pbo`.
        p_value: Hansen's test of superior predictive ability, of the timing of all trials.
        white: White's reality check.
        trials: configurations.
        effective_trials: how many independent ones they amount to, by the effective rank of their correlation.
        most_trials: the same by their expected best, at least `effective_trials`.
        periods: returns that were looked at.
    """

    significant: bool
    sentence: str
    deflated_sharpe: float
    deflated_sharpe_at_most_trials: float
    pbo: float | None
    loss: float | None
    p_value: float
    white: float
    trials: int
    effective_trials: float
    most_trials: float
    periods: int


def judge(
    returns: Float64Array,
    market: Float64Array,
    *,
    best: int,
    trials: int,
    seed: int,
    resamples: int = RESAMPLES,
) -> SelectionVerdict:
    """The verdict about one column of the returns.

    A trial is ruined from the first return of -100 % or less on; it counts as a trial, and is looked at no further.

    Args:
        returns: float64[periods, sampled trials], of all of them or of every so many, and of the best.
        market: float64[periods], of holding what is traded.
        best: the column of the best.
        trials: how many there were, at least as many as columns.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Raises:
        InvalidField: fewer than `FEWEST` periods, no such column, fewer trials than columns, or returns that are not
            finite.
    """
    _check(returns, market, best, trials)
    periods = len(market)
    alive = np.flatnonzero(returns.min(axis=0) > -1.0)
    if best not in alive:
        return SelectionVerdict(
            significant=False, sentence="The best lost all that it had: there is nothing to be judged.",
            deflated_sharpe=0.0, deflated_sharpe_at_most_trials=0.0, pbo=None, loss=None, p_value=1.0, white=1.0,
            trials=trials, effective_trials=float(trials), most_trials=float(trials), periods=periods,
        )  # fmt: skip
    timing = timed(returns[:, alive], market)
    own = timing[:, int(np.searchsorted(alive, best))]
    rank = effective_trials(timing)
    effective, most = _counts(timing, rank, trials, seed)
    found = reality_check(timing, np.zeros(periods), seed=seed, resamples=resamples)
    parts = overfitting(timing) if timing.shape[1] > 1 and rank >= _SAME else None
    deflated = deflated_sharpe(own, effective)
    verdict = SelectionVerdict(
        significant=(
            found.spa < LEVEL
            and deflated > CONFIDENCE
            and (parts is None or max(parts.probability, parts.loss) < 0.5)
        ),
        sentence="",
        deflated_sharpe=deflated,
        deflated_sharpe_at_most_trials=deflated_sharpe(own, most),
        pbo=None if parts is None else parts.probability,
        loss=None if parts is None else parts.loss,
        p_value=found.spa,
        white=found.white,
        trials=trials,
        effective_trials=effective,
        most_trials=most,
        periods=periods,
    )
    return replace(verdict, sentence=_sentence(verdict))


def timed(returns: Float64Array, market: Float64Array) -> Float64Array:
    """Each column less its beta times the market's returns: what is left when being in the market is taken out."""
    apart = market - market.mean()
    spread = float(apart @ apart)
    if spread <= 1e-24:
        return returns
    beta = apart @ returns / spread
    left: Float64Array = returns - market[:, None] * beta
    return left


def _check(returns: Float64Array, market: Float64Array, best: int, trials: int) -> None:
    periods, sampled = returns.shape
    if periods < FEWEST:
        raise InvalidField("periods", periods, f"at least {FEWEST}")
    if not 0 <= best < sampled:
        raise InvalidField("best", best, f"a column from 0 to {sampled - 1}")
    if trials < sampled:
        raise InvalidField("trials", trials, f"at least {sampled}, as many as there are returns of")
    if len(market) != periods:
        raise InvalidField("market", len(market), f"{periods} returns, one a period")
    for name, values in (("returns", returns), ("market", market[:, None])):
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            period, column = bad[0]
            where = f"period {period}" + (f" of trial {column}" if name == "returns" else "")
            raise InvalidField(name, f"{values[period, column]} in {where}", "finite returns only")


def _counts(timing: Float64Array, rank: float, trials: int, seed: int) -> tuple[float, float]:
    """Independent trials that all trials amount to: by the effective rank, and at most."""
    if trials == 1:
        return 1.0, 1.0
    share = trials / timing.shape[1]
    # Of what was not sampled: as much alike as what was; and, at most, as if each sample had been other ones.
    effective = float(np.clip(rank * share**0.5, _LEAST_CHOICE, trials))
    return effective, float(np.clip(trials_by_best(timing, seed=seed) * share, effective, trials))


def _sentence(verdict: SelectionVerdict) -> str:
    said = (
        "The best is more than luck, as far as these prices tell"
        if verdict.significant
        else "The best may be luck"
    )
    if verdict.trials == 1:
        return (
            f"{said}: p {verdict.p_value:.3f} that its timing earns nothing, probabilistic Sharpe "
            f"{verdict.deflated_sharpe:.1%}; 1 configuration."
        )
    chosen = (
        "its configurations are all but the same, so that choosing among them shows nothing"
        if verdict.pbo is None
        else f"the best of a part of the time was below the median of the rest {verdict.pbo:.0%} of the time, and lost "
        f"there {verdict.loss:.0%}"
    )
    return (
        f"{said}: p {verdict.p_value:.3f} that nobody's timing earns anything; deflated Sharpe "
        f"{verdict.deflated_sharpe:.1%} for {verdict.trials:,d} configurations worth {verdict.effective_trials:,.0f} "
        f"independent ones, {verdict.deflated_sharpe_at_most_trials:.1%} if worth {verdict.most_trials:,.0f}; {chosen}."
    )
