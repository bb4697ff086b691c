"""The words of an override: what can be answered about a signal, what was decided, by whom, and why.

A verdict is about a signal's own action: approve it, flip it to the other side, or hold (do nothing). What it
makes of the action is `decided`; a HOLD signal stays what it is.
"""

from enum import IntEnum, StrEnum

import numpy as np

from raysignal.engine.core.arrays import Int8Array


class Verdict(IntEnum):
    """The answer about one signal; the numbers are the columns of `Outcomes.net_bps`."""

    APPROVE = 0
    FLIP = 1
    HOLD = 2


class DecidedBy(IntEnum):
    """Who decided."""

    SIGNAL = 0  # nobody had a reason to overrule it: the signal stands
    GATE = 1
    MODEL = 2


class Reason(StrEnum):
    """Why a decision is what it is; every decision has exactly one, and each is counted."""

    HOLD_SIGNAL = "hold_signal"  # a HOLD is never overruled
    TOO_LITTLE_EVIDENCE = "too_little_evidence"
    EVIDENCE_FOR = "evidence_for"  # the gate approves
    EVIDENCE_AGAINST = "evidence_against"  # the gate overrules
    EVIDENCE_UNCLEAR = "evidence_unclear"  # between the two, and no model is there to be asked
    AGENT_OFF = "agent_off"  # the breaker is open, or the agent was switched off
    MODEL_ANSWERED = "model_answered"
    # The model was asked, and the signal stands because:
    MODEL_TIMEOUT = "model_timeout"  # no whole answer within the deadline
    MODEL_QUOTA = "model_quota"  # 429
    MODEL_UNAVAILABLE = "model_unavailable"  # 5xx, no connection, a key that is refused
    MODEL_BUDGET = "model_budget"  # no call was left in the budget
    MODEL_TRUNCATED = (
        "model_truncated"  # cut off at the most tokens that an answer may have, thinking included
    )
    MODEL_UNREADABLE = "model_unreadable"  # prose, or JSON that is no verdict
    MODEL_BLOCKED = "model_blocked"
    MODEL_EMPTY = "model_empty"  # no candidate
    MODEL_UNGROUNDED = "model_ungrounded"  # it cites evidence that it was not shown
    MODEL_NOT_ALLOWED = "model_not_allowed"  # a verdict that the gate's table does not allow
    # The last ones, because columns hold places in this list.
    OVERRULED_ENOUGH = "overruled_enough"  # the share that may be overruled is used up: no model is asked


def decided(action: Int8Array, verdict: Int8Array) -> Int8Array:
    """The actions after the verdicts, int8[n]: 1 buy, 0 hold, -1 sell."""
    factor = np.array(_FACTOR, np.int8)[verdict]
    result: Int8Array = action * factor
    return result


_FACTOR = (1, -1, 0)  # by verdict
