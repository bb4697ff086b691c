"""Single decisions of an arm, explained: the signal, what the memory knew, what was done, what came of it.

They are typical ones, chosen by rule and not by hand: of the overrides that gained, of those that cost, and of the
signals that were followed on evidence, each time the one whose result is the median. What the memory knew is looked up
again as it was then; the answer of the arm is the one on record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal

import numpy as np

from raysignal.agents.override.decider import Decider
from raysignal.agents.override.prompt_contexts import statistics_of
from raysignal.agents.verdicts import DecidedBy, Verdict
from raysignal.engine.core.arrays import BoolArray, Float64Array
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.instants import format_instant
from raysignal.experiments.comparison.arms import CHUNK, Trial
from raysignal.experiments.comparison.cohorts import move_bps
from raysignal.experiments.comparison.evaluation import Evaluation
from raysignal.experiments.comparison.paired import Assessment, Judgment
from raysignal.experiments.comparison.results import ArmResult, SignalStream
from raysignal.experiments.comparison.uplift import uplift_of
from raysignal.experiments.formats import bp, counted, horizon_words, percent

Choice = Literal["gained", "lost", "followed"]

FIRST = 20_000
"""Examples are of the first so many signals: to explain one, all before it are looked up again."""
_LABELS = 2
_SIDES = {1: "BUY", -1: "SELL"}


@dataclass(frozen=True, slots=True)
class Example:
    """One decision.

    Attributes:
        arm: whose.
        choice: what it is an example of: an override that gained, one that lost, or a signal that was followed.
        signal_id, symbol, timestamp_us, price: of the signal.
        action, decision: what it asked for, and what was done: 1 buy, 0 nothing, -1 sell.
        labels: the market's regime and the first of the signal's short texts, a name and a value each.
        verdict, by, reason: of the arm, by name.
        precedents: past signals that the memory compared it with.
        independent: as many independent ones would tell as much.
        p_right: the posterior probability that the signal is right; None where there was no evidence.
        p_right_without: that of a signal of its side that knows nothing.
        move_bps: how far the price went over the horizon.
        followed_bps, decided_bps: what following the signal earned after costs, and what the decision did.
    """

    arm: str
    choice: Choice
    signal_id: str
    symbol: str
    timestamp_us: int
    price: float
    action: int
    decision: int
    labels: tuple[tuple[str, str], ...]
    verdict: str
    by: str
    reason: str
    precedents: int
    independent: float
    p_right: float | None
    p_right_without: float | None
    move_bps: float
    followed_bps: float
    decided_bps: float

    @property
    def signal(self) -> str:
        """The signal in words."""
        at = format_instant(self.timestamp_us)[:16].replace("T", " ")
        labels = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.labels)
        return (
            f"{at} {_SIDES[self.action]} {self.symbol} at {self.price:,.6g}{f' ({labels})' if labels else ''}"
        )

    @property
    def knew(self) -> str:
        """What the memory knew, in words."""
        if self.p_right is None or self.p_right_without is None:
            return f"{counted(self.precedents, 'earlier signal')} like it: too few to say anything"
        return (
            f"{counted(self.precedents, 'earlier signal')} like it ({self.independent:.0f} independent): "
            f"{percent(self.p_right, 0)} likely to be right, {percent(self.p_right_without, 0)} by chance"
        )

    @property
    def did(self) -> str:
        """What was done, and who decided it, in words."""
        done = _SIDES.get(self.decision)
        who = "" if self.by == DecidedBy.SIGNAL.name.lower() else f" by the {self.by}"
        if self.decision == self.action:
            return f"followed{who}"
        return f"held back{who}" if done is None else f"turned into a {done}{who}"

    def came(self, horizon: str) -> str:
        """What came of it, in words; `horizon` as in the evaluation."""
        way = "rose" if self.move_bps > 0.0 else "fell"
        moved = f"the price {way} {percent(abs(self.move_bps) / 1e4)} {horizon_words(horizon)}"
        if self.decision == self.action:
            return f"{moved}: {bp(self.decided_bps)} bp"
        return f"{moved}: {bp(self.decided_bps)} bp, not {bp(self.followed_bps)}"


def examples_of(
    batch: SignalBatch, stream: SignalStream, arms: Sequence[ArmResult], evaluation: Evaluation, trial: Trial
) -> tuple[Example, ...]:
    """Typical decisions of the arm that has most to show; fewer than three where a kind of them did not occur.

    Args:
        batch: the signals.
        stream: the same with their outcomes.
        arms: all of the experiment.
        evaluation: of them.
        trial: under which rules they ran.
    """
    name = most_to_show(evaluation)
    if name is None:
        return ()
    arm = next(arm for arm in arms if arm.name == name)
    chosen = _chosen(stream, arm)
    return tuple(_looked_up(batch, stream, arm, trial, chosen)) if chosen else ()


def most_to_show(evaluation: Evaluation) -> str | None:
    """Of the arms that claim to help the one that chose best, of those that help if any does; None without any.

    Those come first in which a model overruled.
    """
    if not evaluation.claims:
        return None

    def rank(one: Assessment) -> tuple[bool, bool, float]:
        by_model = evaluation.figures(one.arm).overruled_by["model"]
        return by_model > 0, one.judgment is Judgment.HELPS, one.parts.selection_bps

    return max(evaluation.claims, key=rank).arm


def _chosen(stream: SignalStream, arm: ArmResult) -> dict[int, Choice]:
    """The rows, in the order in which they are told."""
    early = np.arange(len(stream)) < FIRST
    known = early & stream.judged & np.isfinite(arm.p_right)
    gained, followed = uplift_of(arm.verdict, stream.net_bps), stream.net_bps[:, Verdict.APPROVE]
    overruled = known & (arm.verdict != Verdict.APPROVE)
    approved = known & (arm.verdict == Verdict.APPROVE) & (arm.by != DecidedBy.SIGNAL)
    kinds: tuple[tuple[Choice, BoolArray, Float64Array], ...] = (
        ("gained", overruled & (gained > 0.0), gained),
        ("lost", overruled & (gained < 0.0), gained),
        ("followed", approved & (followed != 0.0), followed),
    )
    return {_median_row(rows, values): choice for choice, rows, values in kinds if rows.any()}


def _median_row(rows: BoolArray, values: Float64Array) -> int:
    """The row whose value is the median, the lower one of two."""
    at = np.flatnonzero(rows)
    return int(at[np.argsort(values[at], kind="stable")[(len(at) - 1) // 2]])


def _looked_up(
    batch: SignalBatch, stream: SignalStream, arm: ArmResult, trial: Trial, chosen: Mapping[int, Choice]
) -> list[Example]:
    """The rows, with what the memory knew of each."""
    decider, found = Decider(trial.policy, trial.rules, breaker=None, embedder=trial.embedder), {}
    for first in range(0, max(chosen) + 1, CHUNK):
        part = batch.take(np.arange(first, min(first + CHUNK, len(batch))))
        begun = decider.begin(part)
        statistics = statistics_of(begun.taken)
        for row in chosen:
            if first <= row < first + CHUNK:
                known = {name: float(values[row - first]) for name, values in statistics.items()}
                found[row] = _example(stream, arm, row, chosen[row], known)
        decider.finish(begun)
    return [found[row] for row in chosen]


def _example(
    stream: SignalStream, arm: ArmResult, row: int, choice: Choice, known: Mapping[str, float]
) -> Example:
    verdict = Verdict(int(arm.verdict[row]))
    columns = {"market": stream.regimes} | dict(stream.category)
    told = [(name, text) for name, column in columns.items() if (text := column.texts()[row])]
    return Example(
        arm=arm.name,
        choice=choice,
        signal_id=stream.signal_id[row],
        symbol=stream.symbols[int(stream.symbol[row])],
        timestamp_us=int(stream.timestamp_us[row]),
        price=float(stream.price[row]),
        action=int(stream.action[row]),
        decision=int(arm.decision(stream)[row]),
        labels=tuple(told)[:_LABELS],
        verdict=verdict.name.lower(),
        by=DecidedBy(int(arm.by[row])).name.lower(),
        reason=arm.reasons.texts()[row],
        precedents=int(known["precedents_used"]),
        independent=known["precedents_effective"],
        p_right=_number(known["p_right"]),
        p_right_without=_number(known["p_right_without_knowledge"]),
        move_bps=float(move_bps(stream)[row]),
        followed_bps=float(stream.net_bps[row, Verdict.APPROVE]),
        decided_bps=float(stream.net_bps[row, verdict]),
    )


def _number(value: float) -> float | None:
    return value if isfinite(value) else None
