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
import numpy.typing as npt

from agents.evidence import Evidence
from agents.outcomes import Actions, Worth
from agents.verdicts import By, Codes, Reason, Verdict
from engine.digests import Floats
from engine.errors import InvalidField

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
        by: int8[n], a `By`.
        reason: int8[n], a position in `REASONS`.
        grey: bool[n], a model may be asked.
        other: int8[n], the best verdict beside approving; what a model may answer as well.
        p_worse: float64[n], the posterior probability of being worse than drift; NaN without evidence.
        expected_bps: float64[n, 3], the expected net of each verdict; NaN without evidence.
    """

    verdict: Codes
    by: Codes
    reason: Codes
    grey: npt.NDArray[np.bool_]
    other: Codes
    p_worse: Floats
    expected_bps: Floats

    def allowed(self, row: int) -> tuple[Verdict, ...]:
        """What may be answered about a grey signal."""
        other = Verdict(int(self.other[row]))
        return (Verdict.APPROVE, other) if other == Verdict.HOLD else (Verdict.APPROVE, Verdict.HOLD, other)


def rule(evidence: Evidence, action: Actions, worth: Worth, rules: GateRules) -> Ruling:
    """The gate's verdicts on n signals."""
    from scipy.special import betainc  # noqa: PLC0415 - a tenth of a second to import; paid at first use

    n = len(action)
    enough = (action != 0) & (evidence.effective >= rules.least)
    p_worse = np.full(n, np.nan)
    p_worse[enough] = betainc(evidence.alpha[enough], evidence.beta[enough], evidence.share[enough])
    # The edge is towards the signal's own side; the move that is expected is up for a BUY, down for a SELL.
    expected = worth.verdicts(action, action * evidence.edge_bps)[1]
    expected[~enough] = np.nan
    error = np.where(enough, evidence.edge_error_bps, 0.0)  # without evidence it is infinite
    modest = worth.verdicts(action, action * (evidence.edge_bps + rules.sure * error))[1]
    flips = enough & (modest[:, Verdict.FLIP] > np.maximum(expected[:, Verdict.APPROVE], 0.0))
    other = np.where(flips, Verdict.FLIP, Verdict.HOLD).astype(np.int8)
    pays = enough & (expected[np.arange(n), other] > expected[:, Verdict.APPROVE])
    clear = pays & (p_worse >= rules.against)
    grey = pays & ~clear & (p_worse >= rules.grey)
    good = enough & (p_worse <= 1.0 - rules.grey)
    kinds = (action == 0, ~enough, clear, grey, good)
    reason = np.select(kinds, [_CODE[reason] for reason in _REASON], _CODE[Reason.EVIDENCE_UNCLEAR])
    by = np.where(clear | good, By.GATE, By.SIGNAL)
    return Ruling(
        verdict=np.where(clear, other, Verdict.APPROVE).astype(np.int8),
        by=by.astype(np.int8),
        reason=reason.astype(np.int8),
        grey=grey,
        other=other,
        p_worse=p_worse,
        expected_bps=expected,
    )


_REASON = (
    Reason.HOLD_SIGNAL,
    Reason.TOO_LITTLE_EVIDENCE,
    Reason.EVIDENCE_AGAINST,
    Reason.EVIDENCE_UNCLEAR,
    Reason.EVIDENCE_FOR,
)
