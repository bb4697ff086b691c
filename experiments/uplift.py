"""What an arm gained over approving every signal, and what that is made of.

With g[t, k] = net_bps[t, k] - net_bps[t, APPROVE], what verdict k gains on signal t, over the judged signals:

    uplift    = mean over t of g[t, verdict_t]
    selection = mean over t and sum over k in (FLIP, HOLD) of (1{verdict_t = k} - rate_k) * (g[t, k] - mean g[k])
    uplift    = selection + sum over k of rate_k * mean g[k]          exactly

The last sum is what as many overrides of each kind would have brought wherever they fell. It has two parts: costs
(trading less, or at other prices) and direction (the signals on average lost or won before costs). Neither is
skill; only selection says that the right signals were overruled.
"""

from dataclasses import dataclass

import numpy as np

from agents.verdicts import Verdict
from experiments.results import Codes, Floats

OVERRIDES = (Verdict.FLIP, Verdict.HOLD)


@dataclass(frozen=True, slots=True)
class Decomposition:
    """Where an uplift comes from, bp per judged signal: `selection + costs + direction`."""

    uplift_bps: float
    selection_bps: float
    costs_bps: float
    direction_bps: float


def gains(net_bps: Floats) -> Floats:
    """What each override gains over approving: float64[n, 2] by `OVERRIDES`, from float64[n, 3] by `Verdict`."""
    return np.asarray(net_bps[:, list(OVERRIDES)] - net_bps[:, [Verdict.APPROVE]], np.float64)


def uplift_of(verdict: Codes, net_bps: Floats) -> Floats:
    """By signal, what the verdict gained over approving, bp; float64[n]."""
    return np.asarray(
        np.take_along_axis(net_bps, verdict[:, None].astype(np.intp), axis=1)[:, 0]
        - net_bps[:, Verdict.APPROVE],
        np.float64,
    )


def selection_of(verdict: Codes, net_bps: Floats) -> Floats:
    """By signal, its share in the selection, bp; float64[n], whose mean is the selection."""
    chosen, gained = chosen_kinds(verdict), gains(net_bps)
    if not len(verdict):
        return np.zeros(0)
    products = (chosen - chosen.mean(axis=0)) * (gained - gained.mean(axis=0))
    return np.asarray(products.sum(axis=1), np.float64)


def chosen_kinds(verdict: Codes) -> Floats:
    """1 where a kind of override was chosen: float64[n, 2] by `OVERRIDES`."""
    return np.stack([(verdict == kind).astype(np.float64) for kind in OVERRIDES], axis=1)


def decompose(verdict: Codes, net_bps: Floats, gross_bps: Floats) -> Decomposition:
    """The parts of the uplift of n judged signals; they add up to it."""
    if not len(verdict):
        return Decomposition(0.0, 0.0, 0.0, 0.0)
    rate = chosen_kinds(verdict).mean(axis=0)
    mechanical = float(rate @ gains(net_bps).mean(axis=0))
    direction = float(rate @ gains(gross_bps).mean(axis=0))
    uplift = float(uplift_of(verdict, net_bps).mean())
    return Decomposition(
        uplift_bps=uplift,
        selection_bps=float(selection_of(verdict, net_bps).mean()),
        costs_bps=mechanical - direction,
        direction_bps=direction,
    )
