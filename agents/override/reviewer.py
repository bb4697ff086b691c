"""Which signals a model is asked about, and how much of a stream may be overruled: the policies `grey` and `review`.

    policy    asked about                                                       may answer
    grey      what the gate leaves grey                                         what the gate's table allows
    review    every BUY and SELL that the gate did not decide, from `least`     approve, hold, and flip where
              settled precedents on, or the share of them that is picked        `allow` says so

What the gate decides is clear, and no model is asked about it under either. Under `review` a model overrules only
as long as at most `overruled_share` of the signals so far are overruled, those of the gate among them; while that is
used up a signal stands, and the model is not asked. The breaker watches what is left.
"""

from collections import deque
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from raysignal.agents.override.evidence import Evidence
from raysignal.agents.override.gate import Ruling
from raysignal.agents.verdicts import DecidedBy, Verdict
from raysignal.engine.core.arrays import BoolArray, Float64Array, Int8Array
from raysignal.engine.core.errors import InvalidField

Pick = Literal["uncertain", "spaced"]
Allow = Literal["hold", "flip"]
RECENT = 200
"""How uncertain a signal is, is measured against so many before it."""
SLACK = 2
"""Signals by which those that were asked about may be more or fewer than their share so far."""
_FIRST_FREE = 1
"""Signals that may be overruled before their share counts."""


@dataclass(frozen=True, slots=True)
class ReviewRules:
    """What the reviewer is asked about, and what it may do.

    Attributes:
        least: settled precedents from which it is asked; 1 or more.
        share: share of the signals it could be asked about that it is asked about; above 0, at most 1.
        pick: which these are: those whose evidence is the most uncertain (P(worse) nearest to one half), measured
            against the `RECENT` before, or evenly spaced ones. Either way they are spread over the stream.
        allow: whether it may only `hold` a signal, or `flip` it, too.
        overruled_share: share of the BUYs and SELLs so far up to which it may overrule; 0 to 1.

    Raises:
        InvalidField: a value outside of these.
    """

    least: int = 5
    share: float = 1.0
    pick: Pick = "uncertain"
    allow: Allow = "flip"
    overruled_share: float = 0.25

    def __post_init__(self) -> None:
        if not self.least >= 1:
            raise InvalidField("review_least", self.least, "1 or more")
        if not 0.0 < self.share <= 1.0:
            raise InvalidField("review_share", self.share, "a share above 0, at most 1")
        if self.pick not in get_args(Pick):
            raise InvalidField("review_pick", self.pick, " or ".join(get_args(Pick)))
        if self.allow not in get_args(Allow):
            raise InvalidField("review_allow", self.allow, " or ".join(get_args(Allow)))
        if not 0.0 <= self.overruled_share <= 1.0:
            raise InvalidField("overruled_share", self.overruled_share, "a share from 0 to 1")


@dataclass(frozen=True, slots=True)
class ModelQuestions:
    """About which of n signals a model is asked, and what it may answer.

    Attributes:
        asked: bool[n].
        other: int8[n], the furthest verdict beside approving that may be answered.
    """

    asked: BoolArray
    other: Int8Array

    def allowed(self, row: int) -> tuple[Verdict, ...]:
        """What may be answered about a signal."""
        other = Verdict(int(self.other[row]))
        return (Verdict.APPROVE, other) if other == Verdict.HOLD else (Verdict.APPROVE, Verdict.HOLD, other)


class Reviewer:
    """Says about which signals of one stream a model is asked, in their order.

    Args:
        rules: None: about what the gate leaves grey.
    """

    __slots__ = ("_asked", "_eligible", "_recent", "_rules")

    def __init__(self, rules: ReviewRules | None) -> None:
        self._rules = rules
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._eligible = self._asked = 0

    def questions(self, action: Int8Array, evidence: Evidence, ruling: Ruling) -> ModelQuestions:
        """About which of the next n signals a model is asked."""
        rules = self._rules
        if rules is None:
            return ModelQuestions(ruling.grey, ruling.other)
        eligible = (action != 0) & (evidence.used >= rules.least) & (ruling.by == DecidedBy.SIGNAL)
        asked = eligible & (rules.overruled_share > 0.0)
        if rules.share < 1.0:
            doubt = 0.5 - np.abs(_p_worse(evidence) - 0.5)
            for row in np.flatnonzero(asked).tolist():
                asked[row] = self._picked(rules, float(doubt[row]))
        other = Verdict.FLIP if rules.allow == "flip" else Verdict.HOLD
        return ModelQuestions(asked, np.where(asked, other, ruling.other).astype(np.int8))

    def _picked(self, rules: ReviewRules, doubt: float) -> bool:
        """Whether the next signal is among those that are asked about."""
        self._eligible += 1
        due = rules.share * self._eligible - self._asked
        if rules.pick == "spaced":
            chosen = due >= 1.0 - 1e-9
        else:
            above = sum(other > doubt for other in self._recent)
            uncertain = above < rules.share * max(1, len(self._recent))
            chosen = due > SLACK or (uncertain and due > -SLACK)
            self._recent.append(doubt)
        self._asked += chosen
        return chosen


class OverruleLimit:
    """Counts what was overruled of one stream, and lets a model overrule up to a share of it.

    Args:
        share: of the BUYs and SELLs so far; None: no limit.
    """

    __slots__ = ("_overruled", "_share", "_sided")

    def __init__(self, share: float | None) -> None:
        self._share = share
        self._sided = self._overruled = 0

    def questions_now(
        self, action: Int8Array, verdict: Int8Array, waiting: list[int]
    ) -> tuple[list[int], list[int]]:
        """Of the rows among the next n that a model is to be asked about, those that it is asked about now.

        There is room for an override of each, whatever is answered about those before. The next one may depend on the
        answers, and waits for them. So who is asked is the same however a stream is cut.

        Args:
            action: int8[n].
            verdict: int8[n], as far as they are known; a row that waits is approved.
            waiting: in their order.

        Returns:
            The rows, and those up to the last of them for which there is no room: both empty only if none waits.
        """
        if self._share is None:
            return waiting, []
        sides = action != 0
        sided = self._sided + np.cumsum(sides)
        overruled = self._overruled + np.cumsum(sides & (verdict != Verdict.APPROVE))
        now: list[int] = []
        used_up: list[int] = []
        for row in waiting:
            room = self._most(int(sided[row])) - int(overruled[row])
            if room < 1:
                used_up.append(row)
            elif room >= len(now) + 1:
                now.append(row)
            else:
                break
        return now, used_up

    def beyond(self, action: Int8Array, verdict: Int8Array, by: Int8Array) -> BoolArray:
        """Which of the next n verdicts are a model's and one too many: bool[n]. Nothing is counted yet, see `count`."""
        over = np.zeros(len(verdict), np.bool_)
        if self._share is None:
            return over
        sided, overruled = self._sided, self._overruled
        columns = (action.tolist(), verdict.tolist(), by.tolist())
        for row, (side, kind, decider) in enumerate(zip(*columns, strict=True)):
            sided += side != 0
            if kind == Verdict.APPROVE or not side:
                continue
            over[row] = decider == DecidedBy.MODEL and self._most(sided) - overruled < 1
            overruled += not over[row]
        return over

    def count(self, action: Int8Array, verdict: Int8Array) -> None:
        """Take in what was decided about the next n signals."""
        sides = action != 0
        self._sided += int(np.count_nonzero(sides))
        self._overruled += int(np.count_nonzero(sides & (verdict != Verdict.APPROVE)))

    def count_late(self) -> None:
        """One of those that were taken in is overruled after all."""
        self._overruled += 1

    def _most(self, sided: int) -> float:
        """How many of so many BUYs and SELLs may be overruled."""
        return max(_FIRST_FREE, self._share * sided) if self._share else 0.0


def _p_worse(evidence: Evidence) -> Float64Array:
    from scipy.special import betainc  # noqa: PLC0415 - a tenth of a second to import; paid at first use

    found: Float64Array = betainc(evidence.alpha, evidence.beta, evidence.share)
    return found
