"""What an arm gained over approving every signal, and what that is made of.

With g[t, k] = net_bps[t, k] - net_bps[t, APPROVE], what verdict k gains on signal t, over the judged signals:

    uplift    = mean over t of g[t, verdict_t]
    selection = mean over t and sum over k in (FLIP, HOLD) of (1{verdict_t = k} - r[k]) * (g[t, k] - m[t, k])

where, in the stratum of signal t (its symbol and side, see `strata`), r[k] is how often verdict k was
chosen, and m[t, k] what it gains on average from t on. Where nothing that is known at t tells gains of a stratum
apart, all gains from t on have one expectation, so that choosing gains nothing, also for verdicts that follow
earlier outcomes. (The rate makes the difference more exact. It knows how often such an arm will choose later, which
leaves its selection a little below 0: the test errs to "no".)

What is left of the uplift is what overriding brings wherever it falls. It has two parts: costs (trading less, or at
other prices) and direction (the signals on average lost or won before costs: the same difference on gross
outcomes). Neither is skill; only selection says that the right signals were overruled.
"""

from dataclasses import dataclass

import numpy as np

from raysignal.agents.verdicts import Verdict
from raysignal.engine.core.arrays import Float64Array, Int8Array, Int64Array
from raysignal.experiments.comparison.strata import mean_from_on, mean_within

OVERRIDES = (Verdict.FLIP, Verdict.HOLD)


@dataclass(frozen=True, slots=True)
class Decomposition:
    """Where an uplift comes from, bp per judged signal: `selection + costs + direction`."""

    uplift_bps: float
    selection_bps: float
    costs_bps: float
    direction_bps: float


def gains(net_bps: Float64Array) -> Float64Array:
    """What each override gains over approving: float64[n, 2] by `OVERRIDES`, from float64[n, 3] by `Verdict`."""
    return np.asarray(net_bps[:, list(OVERRIDES)] - net_bps[:, [Verdict.APPROVE]], np.float64)


def uplift_of(verdict: Int8Array, net_bps: Float64Array) -> Float64Array:
    """By signal, what the verdict gained over approving, bp; float64[n]."""
    return np.asarray(
        np.take_along_axis(net_bps, verdict[:, None].astype(np.intp), axis=1)[:, 0]
        - net_bps[:, Verdict.APPROVE],
        np.float64,
    )


def selection_of(verdict: Int8Array, net_bps: Float64Array, strata: Int64Array) -> Float64Array:
    """By signal, in time order, its share in the selection, bp; float64[n], whose mean is the selection."""
    chosen, gained = chosen_kinds(verdict), gains(net_bps)
    products = (chosen - mean_within(chosen, strata)) * (gained - mean_from_on(gained, strata))
    return np.asarray(products.sum(axis=1), np.float64)


def chosen_kinds(verdict: Int8Array) -> Float64Array:
    """1 where a kind of override was chosen: float64[n, 2] by `OVERRIDES`."""
    return np.stack([(verdict == kind).astype(np.float64) for kind in OVERRIDES], axis=1)


def decompose(
    verdict: Int8Array, net_bps: Float64Array, gross_bps: Float64Array, strata: Int64Array
) -> Decomposition:
    """The parts of the uplift of n judged signals; they add up to it."""
    if not len(verdict):
        return Decomposition(0.0, 0.0, 0.0, 0.0)
    uplift, selection = uplift_of(verdict, net_bps), selection_of(verdict, net_bps, strata)
    gross = uplift_of(verdict, gross_bps) - selection_of(verdict, gross_bps, strata)
    direction = float(gross.mean())
    return Decomposition(
        uplift_bps=float(uplift.mean()),
        selection_bps=float(selection.mean()),
        costs_bps=float((uplift - selection).mean()) - direction,
        direction_bps=direction,
    )
