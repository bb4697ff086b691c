"""The rule gate: from evidence to a verdict, without a token where the case is clear.

    evidence about the signal                                        verdict                by
    HOLD                                                             stands                 signal
    fewer independent precedents than `least`                        stands                 signal
    P(worse than drift) >= `against`, and another verdict pays more  that verdict           gate
    P(worse than drift) >= `grey`, and another verdict pays more     asked, else stands     model
    P(worse than drift) <= 1 - `grey`                                approve                gate
    all else                                                         stands                 signal

"Worse than drift" is: the posterior probability that the signal's chance of being right is below what its
side has without knowing anything. "Pays more": the expected net basis points of the verdict, under the
portfolio's own costs, are above those of approving. HOLD is the other verdict, unless flipping has a lower
bound (`sure` standard errors below its expectation) above nothing. What a model may answer is decided here,
and no text can change it.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from raysignal.agents.override.evidence import Evidence
from raysignal.agents.override.payoff import VerdictPayoff, earned_long, earned_short
from raysignal.agents.verdicts import DecidedBy, Reason, Verdict
from raysignal.engine.core.arrays import BoolArray, Float64Array, Int8Array, Int64Array
from raysignal.engine.core.errors import InvalidField

REASONS = tuple(Reason)
_CODE = {reason: code for code, reason in enumerate(REASONS)}


@dataclass(frozen=True, slots=True)
class GateRules:
    """When the gate speaks.

    Attributes:
        least: independent precedents below which nothing is overruled; above 0.
        against: posterior probability of being worse than drift from which the gate overrules; 0.5 to 1.
        grey: the same from which a model is asked; 0.5 to `against`.
        sure: standard errors that the edge of a flip must be above nothing.
    """

    least: float = 25.0
    against: float = 0.9
    grey: float = 0.75
    sure: float = 1.645

    def __post_init__(self) -> None:
        if not self.least > 0.0:
            raise InvalidField("least", self.least, "a number above 0")
        if not 0.5 <= self.against < 1.0:
            raise InvalidField("against", self.against, "a probability from 0.5 to below 1")
        if not 0.5 <= self.grey <= self.against:
            raise InvalidField("grey", self.grey, f"a probability from 0.5 to `against`, {self.against}")
        if not self.sure >= 0.0:
            raise InvalidField("sure", self.sure, "a number from 0 on")


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the gate says about n signals.

    Attributes:
        verdict: int8[n], a `Verdict`; for grey ones that of a model that does not answer: approve.
        by: int8[n], a `DecidedBy`.
        reason: int8[n], a position in `REASONS`.
        grey: bool[n], too unclear for the gate.
        other: int8[n], the best verdict beside approving.
        p_worse: float64[n], the posterior probability of being worse than drift; NaN without evidence.
        expected_bps: float64[n, 3], the expected net of each verdict; NaN without evidence.
    """

    verdict: Int8Array
    by: Int8Array
    reason: Int8Array
    grey: BoolArray
    other: Int8Array
    p_worse: Float64Array
    expected_bps: Float64Array


def rule(evidence: Evidence, action: Int8Array, payoff: VerdictPayoff, rules: GateRules) -> Ruling:
    """The gate's verdicts on n signals."""
    from scipy.special import betainc  # noqa: PLC0415 - a tenth of a second to import; paid at first use

    n = len(action)
    sides = np.array(action, np.int8)  # a copy: it may lie in memory that cannot be written
    enough = (sides != 0) & (evidence.effective >= rules.least)
    p_worse, expected = np.full(n, np.nan), np.full((n, 3), np.nan)
    if enough.any():
        p_worse[enough] = betainc(evidence.alpha[enough], evidence.beta[enough], evidence.share[enough])
    verdict, by, reason, other = codes = np.zeros((4, n), np.int8)
    grey = np.zeros(n, np.bool_)
    _rule(
        sides, enough, p_worse, evidence.edge_bps, evidence.edge_error_bps, *payoff.costs, float(rules.against),
        float(rules.grey), float(rules.sure), _ROW_CODES, expected, codes, grey,
    )  # fmt: skip
    return Ruling(verdict, by, reason, grey, other, p_worse, expected)


_FLIP, _HOLD = int(Verdict.FLIP), int(Verdict.HOLD)
_BY_GATE = int(DecidedBy.GATE)
_AGAINST, _UNCLEAR, _FOR, _LITTLE, _NO_TRADE = range(5)
_ROW_CODES = np.array(
    [
        _CODE[reason]
        for reason in (
            Reason.EVIDENCE_AGAINST,
            Reason.EVIDENCE_UNCLEAR,
            Reason.EVIDENCE_FOR,
            Reason.TOO_LITTLE_EVIDENCE,
            Reason.HOLD_SIGNAL,
        )
    ]
)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _earned(side: int, edge_bps: float, fee: float, slippage: float, shorts: bool) -> tuple[float, float]:
    """Net basis points of approving and of flipping, for a move of so much the signal's way."""
    if side > 0:
        return earned_long(edge_bps, fee, slippage), earned_short(edge_bps, fee, slippage) if shorts else 0.0
    return earned_short(-edge_bps, fee, slippage) if shorts else 0.0, earned_long(-edge_bps, fee, slippage)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _rule(
    action: Int8Array, enough: BoolArray, p_worse: Float64Array, edge_bps: Float64Array, error_bps: Float64Array, fee:
    float, slippage: float, shorts: bool, against: float, grey_from: float, sure: float, reasons: Int64Array,
    expected: Float64Array, codes: Int8Array, grey: BoolArray,
) -> None:  # fmt: skip
    """The table above, row by row; `codes` are verdict, by, reason and the other verdict, all 0 before."""
    for row in range(len(action)):
        codes[3, row] = _HOLD
        if not enough[row]:
            codes[2, row] = reasons[_LITTLE if action[row] else _NO_TRADE]
            continue
        approve, flip = _earned(action[row], edge_bps[row], fee, slippage, shorts)
        expected[row, 0], expected[row, _FLIP], expected[row, _HOLD] = approve, flip, 0.0
        _, least = _earned(action[row], edge_bps[row] + sure * error_bps[row], fee, slippage, shorts)
        if least > max(approve, 0.0):
            codes[3, row] = _FLIP
        other = codes[3, row]
        pays = expected[row, other] > approve
        if pays and p_worse[row] >= against:
            codes[0, row], codes[1, row], codes[2, row] = other, _BY_GATE, reasons[_AGAINST]
        elif pays and p_worse[row] >= grey_from:
            codes[2, row], grey[row] = reasons[_UNCLEAR], True
        elif p_worse[row] <= 1.0 - grey_from:
            codes[1, row], codes[2, row] = _BY_GATE, reasons[_FOR]
        else:
            codes[2, row] = reasons[_UNCLEAR]
