"""Before anything runs: from which signal on the gate may speak about a stream, and how many it would leave grey."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raysignal.agents.override.agent import Override
from raysignal.agents.override.gate import rule
from raysignal.agents.override.outcomes import Horizon
from raysignal.agents.override.readiness import Readiness, readiness_of
from raysignal.agents.verdicts import DecidedBy
from raysignal.engine.core.arrays import BoolArray, Float64Array
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.plain_values import plain_values
from raysignal.experiments.comparison.arms import Trial

MOST = 5_000
"""So many of the first rows are looked at: the plan is to be there at once."""
_MOST_SHORTEST = 1_000
DIALS = (0.6, 0.69, 0.75)
SHORTEST = "1b"


@dataclass(frozen=True, slots=True)
class GatePlan:
    """What the gate would do on the first signals of a stream, the breaker apart.

    Attributes:
        signals: BUY and SELL signals that were looked at.
        whole: those are all that there are.
        speaks_about: those with enough independent precedents.
        speaks_from: the first of them, counted from 1; None: there is none.
        shortest_from: the same under the horizon `SHORTEST`; None: there is none, or that is the horizon.
        readiness: after the last signal.
        overruled: signals that the gate would overrule.
        grey: signals that a model would be asked about, by where the dial stands.
        dial: where it is set.
    """

    signals: int
    whole: bool
    speaks_about: int
    speaks_from: int | None
    shortest_from: int | None
    readiness: Readiness
    overruled: int
    grey: dict[float, int]
    dial: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; dials are written as texts."""
        plain: dict[str, Any] = plain_values(self)
        return plain | {"readiness": self.readiness.as_dict()}


def plan_gate(batch: SignalBatch, trial: Trial, *, dials: Sequence[float] = DIALS) -> GatePlan:
    """What the gate would do.

    Args:
        batch: of signals in time order.
        trial: the rules; those of the gate as well.
        dials: of `GateRules.grey`, to be tried beside the one that is set; those above `against` are left out.
    """
    rows = len(batch)
    batch = batch.take(np.arange(min(rows, MOST)))
    agent = Override(trial.policy, trial.rules)
    taken = agent.take(batch)
    gate, horizon = trial.rules.gate, trial.rules.horizon
    tried = sorted({dial for dial in (*dials, gate.grey) if dial <= gate.against})
    grey = {
        dial: rule(taken.evidence, batch.side, agent.payoff, replace(gate, grey=dial)).grey for dial in tried
    }
    may = _may_speak(taken.evidence.effective, batch, gate.least)
    shortest = Horizon.parse(SHORTEST, lag_us=horizon.lag_us)
    shorter = None
    if horizon != shortest:
        first = batch.take(np.arange(min(len(batch), _MOST_SHORTEST)))
        other = Override(trial.policy, replace(trial.rules, horizon=shortest)).take(first).evidence
        shorter = _first(_may_speak(other.effective, first, gate.least))
    return GatePlan(
        signals=len(may),
        whole=rows <= MOST,
        speaks_about=int(may.sum()),
        speaks_from=_first(may),
        shortest_from=shorter,
        readiness=readiness_of(trial.rules, taken.evidence, batch.side),
        overruled=int(np.count_nonzero((taken.ruling.by == DecidedBy.GATE) & (taken.ruling.verdict != 0))),
        grey={dial: int(flags.sum()) for dial, flags in grey.items()},
        dial=gate.grey,
    )


def _may_speak(effective: Float64Array, batch: SignalBatch, least: float) -> BoolArray:
    """bool[m], of the BUY and SELL signals."""
    found: BoolArray = effective[batch.side != 0] >= least
    return found


def _first(flags: BoolArray) -> int | None:
    return int(np.argmax(flags)) + 1 if flags.any() else None
