"""Before anything runs: how large an effect would have to be for this stream to show it.

The selection of an arm that overrules a share r of the signals of each symbol and side, blind to their outcomes,
has the variance

    r * (1 - r) * s^2 / n

where s^2 is the variance of what the override gains on a signal within its symbol and side. Some overrides change
nothing on one side: under long-flat, holding a SELL. Those signals count among the n and carry nothing, so more are
needed. How verdicts that gather in time meet outcomes that depend on each other is not known beforehand; the plan
takes the larger of the plain and the long-run variance, which is that of verdicts that keep for long.

It holds where the overruled signals lie scattered. Where they lie together in time, the evaluation has fewer degrees of
freedom than the normal quantiles here: a little power is lost in 4 000 signals, and half of it in 600, in runs of 20.

The minimum detectable effect is (z of the level + z of the power) standard errors, for a one-sided test at
`paired.one_sided_level`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any

import numpy as np

from raysignal.agents.override.intervals import by_instant, dependence
from raysignal.agents.verdicts import Verdict
from raysignal.engine.core.arrays import BoolArray, Float64Array, Int64Array
from raysignal.engine.core.plain_values import plain_values
from raysignal.experiments.comparison.paired import (
    FEWEST,
    POWER,
    detectable,
    follow_one_another,
    one_sided_level,
)
from raysignal.experiments.comparison.strata import mean_from_on, rows_by
from raysignal.experiments.comparison.uplift import OVERRIDES, gains

RATES = (0.05, 0.1, 0.2, 0.4)
EFFECTS_BPS = (1.0, 5.0, 10.0)
_ROUNDING_BPS = 1e-6


@dataclass(frozen=True, slots=True)
class Reach:
    """What can be shown at one rate of one kind of override.

    Attributes:
        kind: `flip` or `hold`.
        share: of the judged signals that this override can change anything about, above 0.
        rate: share of these that is overruled.
        per_signal_bps: minimum detectable effect, bp per judged signal.
        per_override_bps: the same per overruled one of these: how much more its override must gain than that of one
            of its symbol and side that was left alone.
        signals_for: judged signals needed to show an effect of so many bp per overruled signal, by effect.
    """

    kind: str
    share: float
    rate: float
    per_signal_bps: float
    per_override_bps: float
    signals_for: dict[float, int]


@dataclass(frozen=True, slots=True)
class PowerPlan:
    """What an experiment on these outcomes could show.

    Attributes:
        judged: signals with an outcome.
        claims: arms that claim to help.
        level: of each one-sided test, after correction.
        power: how often an effect of the stated size is shown.
        dependence: long-run over plain variance of the outcomes, at least 1: so many signals count as one.
        reach: by kind and rate, of those that overrule `FEWEST` signals or more; nothing where there are none, where a
            kind changes nothing, and where it is `seldom`.
        seldom: fewer than `FEWEST` outcomes follow one another without overlap: there are no intervals.
    """

    judged: int
    claims: int
    level: float
    power: float
    dependence: float
    reach: tuple[Reach, ...]
    seldom: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; effects are written as texts."""
        plain: dict[str, Any] = plain_values(self)
        return plain


def plan(
    net_bps: Float64Array,
    *,
    timestamp_us: Int64Array,
    claims: int,
    strata: Int64Array | None = None,
    judged: BoolArray | None = None,
    known_at_us: Int64Array | None = None,
    rates: Sequence[float] = RATES,
    effects_bps: Sequence[float] = EFFECTS_BPS,
    alpha: float = 0.05,
    power: float = POWER,
) -> PowerPlan:
    """The reach of an experiment.

    Args:
        net_bps: float64[n, 3] by `Verdict`.
        timestamp_us: int64[n], not falling.
        claims: arms that will claim to help, at least 1.
        strata: int64[n], see `experiments.comparison.strata`; None: all of one.
        judged: bool[n]; None: where `net_bps` is a number.
        known_at_us: int64[n], see `paired.assess`.
        rates: shares of overruled signals to assume, between 0 and 1.
        effects_bps: per overruled signal, for which the needed number of signals is asked.
        alpha: one-sided, before correction over the claims.
        power: wanted.
    """
    if wrong := [rate for rate in rates if not 0.0 < rate < 1.0]:
        raise ValueError(f"an assumed override rate is {wrong[0]!r}; expected between 0 and 1")
    known = np.isfinite(net_bps).all(axis=1) if judged is None else judged
    gained, at = gains(net_bps[known]), timestamp_us[known]
    n = len(gained)
    level = one_sided_level(claims, alpha=alpha)
    seldom = known_at_us is not None and not follow_one_another(at, known_at_us[known])
    if n < 2 or seldom:
        return PowerPlan(n, claims, level, power, 1.0, (), seldom)
    within = np.zeros(n, np.int64) if strata is None else strata[known]
    apart = gained - mean_from_on(gained, within)
    worst, reach = 1.0, []
    for column, kind in enumerate(OVERRIDES):
        varying = [rows for rows in rows_by(within) if np.ptp(gained[rows, column]) > _ROUNDING_BPS]
        if not varying:
            continue
        plain = float((apart[:, column] ** 2).mean())
        series = by_instant(apart[:, column], at)
        variance = max(plain, dependence(series).ratio * float(series.var()) * n / len(series))
        worst = max(worst, variance / plain)
        share = sum(map(len, varying)) / n
        reach += [
            _reach(kind, share, rate, variance, n, claims, effects_bps, alpha, power)
            for rate in rates
            if n * share * min(rate, 1.0 - rate) >= FEWEST
        ]
    return PowerPlan(n, claims, level, power, worst, tuple(reach))


def _reach(
    kind: Verdict,
    share: float,
    rate: float,
    variance: float,
    n: int,
    claims: int,
    effects_bps: Sequence[float],
    alpha: float,
    power: float,
) -> Reach:
    per_signal = detectable(sqrt(rate * (1.0 - rate) * variance / n), claims, alpha=alpha, power=power)
    # An override that gains e more than the average of the others moves the selection by share * rate * (1 - rate) * e.
    per_override = per_signal / (share * rate * (1.0 - rate))
    needed = {effect: _needed(n, per_override, effect) for effect in effects_bps}
    return Reach(kind.name.lower(), share, rate, per_signal, per_override, needed)


def _needed(n: int, per_override: float, effect: float) -> int:
    return ceil(n * (per_override / effect) ** 2)
