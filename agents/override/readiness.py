"""When the gate begins to speak: how much evidence there is, and after how many more signals there is enough.

The k neighbours among n known outcomes (`agents.override.evidence`) lie about evenly, so that each has
`crowding * k / n` others that tell the same; cohorts are told by the n - k others, of which about half are of the
signal's own, and weigh so much more than the prior:

    neighbours(n) = k(n) / (1 + crowding * k(n) / n)
    cohorts(n)    = (1 / variance(n / 2 / (1 + crowding)) - prior) * (1 - k(n) / n)

`crowding` is what the latest evidence shows; where there is none yet, that of horizons of h bars that overlap in a
random walk, h - 1. Without overlap it is 0, and each outcome counts.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from raysignal.agents.override.agent import AgentRules
from raysignal.agents.override.cohorts import SHARES
from raysignal.agents.override.evidence import Evidence, RecallOptions
from raysignal.agents.override.outcomes import Horizon
from raysignal.engine.core.arrays import Int8Array

_LATEST = 50
"""So many of the latest signals say how crowded outcomes are."""
_MOST_CROWDED = 1e4
_STEPS = 40


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the gate may speak by now.

    Attributes:
        effective: independent precedents of the latest BUY or SELL signal.
        least: so many are asked for (`GateRules.least`).
        known: outcomes that were known to it.
        speaks_after: about so many further BUY and SELL signals until there are enough; 0: there are; None: not known
            yet, or never, see `never`.
        never: the memory looks at too few neighbours for there ever to be enough.
    """

    effective: float
    least: float
    known: int
    speaks_after: int | None
    never: bool = False

    @property
    def sentence(self) -> str:
        """The same in words."""
        if self.never:
            return (
                f"The gate will never speak: {self.least:g} independent precedents are asked for, and the neighbours "
                "that are looked at are too few or overlap too much; lower the least evidence, look at more "
                "neighbours, or take a shorter horizon."
            )
        found = (
            f"{self.effective:.1f} independent precedents of the {self.least:g} asked for, out of {self.known:,d} "
            f"outcome{'' if self.known == 1 else 's'}"
        )
        if self.speaks_after is None:
            return f"The gate does not speak yet, and when it will shows with the first outcomes: {found}."
        if self.speaks_after == 0:
            return f"The gate may speak: {found}."
        return (
            f"The gate begins to speak after about {self.speaks_after:,d} more BUY and SELL signals: {found}."
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "effective": self.effective,
            "least": self.least,
            "known": self.known,
            "speaks_after": self.speaks_after,
            "sentence": self.sentence,
        }


def readiness_of(rules: AgentRules, evidence: Evidence, action: Int8Array) -> Readiness:
    """How the gate stands after the signals that the evidence is about.

    Args:
        rules: of the agent.
        evidence: about the latest n signals.
        action: int8[n], of these.
    """
    sided = np.flatnonzero(action)
    if not len(sided):
        return not_looked_up(rules, 0)
    latest = sided[-1]
    effective, known = float(evidence.effective[latest]), int(evidence.known[latest])
    told = sided[-_LATEST:][evidence.used[sided[-_LATEST:]] > 0]
    if effective >= rules.gate.least or not len(told):
        return _forecast(rules, effective, known, crowding_of(rules.horizon))
    found = [
        _crowding(rules.recall, int(evidence.known[row]), float(evidence.effective[row]))
        for row in told.tolist()
    ]
    return _forecast(rules, effective, known, float(np.median(found)))


def not_looked_up(rules: AgentRules, known: int) -> Readiness:
    """How the gate stands with so many outcomes, before a BUY or SELL signal was looked up."""
    return _forecast(rules, 0.0, known, crowding_of(rules.horizon))


def crowding_of(horizon: Horizon) -> float | None:
    """That of horizons in a random walk with a signal a row; None: it follows from the signals."""
    return horizon.bars - 1.0 if horizon.kind == "bars" else None


def outcomes_needed(recall: RecallOptions, least: float, crowding: float, *, most: int) -> int | None:
    """Known outcomes that tell as much as `least` independent ones; None: `most` are too few."""
    if _effective(recall, crowding, most) < least:
        return None
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _effective(recall, crowding, middle) >= least else (middle, high)
    return high


def _effective(recall: RecallOptions, crowding: float, known: int) -> float:
    used = min(known, recall.neighbours, max(recall.least, int(recall.part * known)))
    found = used / (1.0 + crowding * used / known)
    if recall.shrinkage:
        shared, alone = sum(SHARES) / recall.prior, (1.0 - sum(SHARES)) / recall.prior
        variance = alone + 1.0 / (1.0 / shared + known / 2.0 / (1.0 + crowding))
        found += (1.0 / variance - recall.prior) * (1.0 - used / known)
    return found


def _crowding(recall: RecallOptions, known: int, effective: float) -> float:
    """How crowded so many known outcomes are that tell so much."""
    low, high = 0.0, _MOST_CROWDED
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _effective(recall, middle, known) > effective else (low, middle)
    return low


def _forecast(rules: AgentRules, effective: float, known: int, crowding: float | None) -> Readiness:
    least = rules.gate.least
    if effective >= least:
        return Readiness(effective, least, known, 0)
    if crowding is None:
        return Readiness(effective, least, known, None)
    needed = outcomes_needed(rules.recall, least, crowding, most=rules.window)
    if needed is None:
        return Readiness(effective, least, known, None, never=True)
    # Those whose horizon has not ended stay as many; before the first outcome, as many as the horizon has bars.
    waiting = 0 if known else rules.horizon.bars
    return Readiness(effective, least, known, max(1, needed - known + waiting))
