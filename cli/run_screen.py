"""What `raysignal run` shows at its end: one screen that needs nothing else to be understood.

What was read, what following all signals earned, whether overruling some of them helped, under which conditions the
signals were right, three decisions explained, and where the rest lies. For any set of arms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raysignal.agents.verdicts import Reason
from raysignal.cli.compare import reach_sentence
from raysignal.experiments.comparison.accounts import held_return
from raysignal.experiments.comparison.controls import control_clause
from raysignal.experiments.comparison.examples import Example, most_to_show
from raysignal.experiments.comparison.metrics import evaluation_of
from raysignal.experiments.comparison.paired import Judgment
from raysignal.experiments.comparison.patterns import Pattern, leading
from raysignal.experiments.comparison.sentences import JUDGED_WORDS, verdict
from raysignal.experiments.formats import (
    NONE,
    bp,
    counted,
    horizon_words,
    interval,
    percent,
    share_interval,
    total_return,
)

if TYPE_CHECKING:
    from raysignal.experiments.comparison.evaluation import ArmFigures, Evaluation
    from raysignal.experiments.comparison.paired import Assessment

WIDTH = 100
_PATTERNS = 4
_STYLES = {Judgment.HELPS: "green", Judgment.HURTS: "red", Judgment.NO_DIFFERENCE: ""}
_WHAT_ARMS_DO = {
    "baseline": "follows every signal",
    "memory": "asks past signals like it",
    "model": "the same; Gemini where unsure",
    "random": "overrules as many, by lot",
    "shuffled": "remembers outcomes at random",
    "canary": "looks ahead, and must win",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What a run has come to.

    Attributes:
        file: what was read, in words.
        truth: what is planted in it, in words; empty where nobody knows.
        taken: how the service took it in, in words.
        standing: body of `GET /performance` of the portfolio that follows every signal.
        market: what became of the made-up exchange, in words.
        metrics: of the experiment.
        model: who was asked, in words.
        noise: the same on signals that know nothing, and where they lie; None where nobody can make such.
        places: where everything lies: a name and a place each.
    """

    file: str
    truth: str
    taken: str
    standing: Mapping[str, Any]
    market: str
    metrics: Mapping[str, Any]
    model: str
    noise: tuple[Evaluation, str] | None
    places: Sequence[tuple[str, str]]


def run_screen(summary: RunSummary) -> RenderableType:
    """The screen."""
    evaluation = evaluation_of(summary.metrics)
    patterns = [Pattern.from_dict(each) for each in summary.metrics["patterns"]]
    examples = [Example.from_dict(each) for each in summary.metrics["examples"]]
    read = [("file", summary.file), ("truth", summary.truth), ("service", summary.taken), ("market", summary.market)]
    read += [("account", account_words(summary.standing))]
    concluded = [("model", summary.model)]
    concluded += [("silent", said) for said in silences(evaluation)]
    concluded += [("reach", reach_words(evaluation))] if not _anything_shown(evaluation) else []
    concluded += [("noise", noise_words(*summary.noise))] if summary.noise is not None else []
    return Group(
        _lines(read),
        Text(),
        Text("Does overruling some of these signals help?", style="bold"),
        Text(answer(evaluation), style="bold red" if evaluation.blind else "bold"),
        _arms_table(evaluation),
        _lines(concluded),
        *_patterns_parts(patterns, evaluation),
        *_examples_parts(examples, evaluation.horizon),
        Text(),
        _lines(summary.places),
    )


def answer(evaluation: Evaluation) -> str:
    """The verdict, with its answer in a word before it."""
    judged = {one.judgment for one in evaluation.claims}
    word = ""
    if not evaluation.blind:
        word = "Yes: " if Judgment.HELPS in judged else "No: " if Judgment.HURTS in judged else ""
    return " ".join(part for part in (word + verdict(evaluation), control_clause(evaluation)) if part)


def account_words(standing: Mapping[str, Any]) -> str:
    """What following every signal came to, beside buying and holding."""
    found, policy = standing["performance"], standing["policy"]
    held = found["buy_and_hold"]["total_return"]
    side = "buys and sells short" if policy["side"] == "long-short" else "buys and sells, never short"
    return (
        f"following every signal made {total_return(found)} of {found['initial_cash']:,.0f} ({side}; fee "
        f"{policy['fee_bps']:g} bp a fill), buying and holding {total_return({'total_return': held})}: "
        f"{counted(found['trades'], 'trade')}, fees {found['fees']:,.0f}, largest drawdown "
        f"{percent(found['max_drawdown'], 0)}"
    )


def silences(evaluation: Evaluation) -> Iterator[str]:
    """Of arms that claim to help and overruled hardly anything: what kept them from it."""
    for one in evaluation.claims:
        if one.enough:
            continue
        arm = evaluation.figures(one.arm)
        sided = sum(arm.verdicts.values())
        little = arm.reasons.get(Reason.TOO_LITTLE_EVIDENCE.value, 0)
        unclear = arm.reasons.get(Reason.EVIDENCE_UNCLEAR.value, 0)
        agreed = arm.reasons.get(Reason.EVIDENCE_FOR.value, 0)
        yield (
            f"{one.arm} overruled {sum(one.overridden.values()):,d} of {counted(sided, 'signal')}: about {little:,d} "
            f"it knew too little, about {unclear:,d} its evidence was unclear, with {agreed:,d} it agreed"
        )


def reach_words(evaluation: Evaluation) -> str:
    """What these signals could have shown, and how many it would take."""
    return reach_sentence(evaluation.plan, evaluation.horizon)


def noise_words(evaluation: Evaluation, place: str) -> str:
    """What the memory makes of signals that know nothing."""
    (one,) = evaluation.claims
    said = (
        f"the same market with signals that are right half of the time, always ({place}): memory overruled "
        f"{percent(one.override_rate)}, {JUDGED_WORDS[one.judgment]}"
    )
    between = interval(one.selection.low, one.selection.high)
    return f"{said} ({bp(one.selection.estimate)} bp, 95% interval {between})" if one.enough else said


# Tables


def _arms_table(evaluation: Evaluation) -> Table:
    table = _table(
        ("arm", "what it does", "overruled", "chose better by", f"{100 * (1 - evaluation.alpha):.0f}% interval",
         "", "account", "a bar later"),
        words=(0, 1, 5),
        caption=f"Chose better by: what overruling these and not as many others of the same symbol and side brought, bp "
        f"per signal, each followed {horizon_words(evaluation.horizon)}. A bar later: the account, filled then.",
    )  # fmt: skip
    for arm in evaluation.arms:
        one = next((one for one in evaluation.assessments if one.arm == arm.name), None)
        cells = (NONE, "", "", "") if one is None else _choice_cells(evaluation, one)
        ends = (total_return(arm.performance[fill]) if fill in arm.performance else NONE for fill in ("signal", "next"))
        style = _STYLES[one.judgment] if one is not None and one in evaluation.claims else ""
        table.add_row(arm.name, _WHAT_ARMS_DO.get(arm.name, ""), *cells, *ends, style=style)
    if held := held_return(_baseline(evaluation), "next"):
        table.add_row("", "buying and holding", "", "", "", "", total_return(held), "")
    return table


def _choice_cells(evaluation: Evaluation, one: Assessment) -> tuple[str, str, str, str]:
    if not one.enough:
        return percent(one.override_rate), NONE, NONE, "too few" if one.override_rate < 0.5 else "too many"
    shown = {Judgment.HELPS: "better", Judgment.HURTS: "worse", Judgment.NO_DIFFERENCE: "chance"}
    return (
        percent(one.override_rate),
        bp(one.selection.estimate),
        interval(one.selection.low, one.selection.high),
        shown[one.judgment] if one.selection.is_known else NONE,
    )


def _patterns_parts(patterns: Sequence[Pattern], evaluation: Evaluation) -> list[RenderableType]:
    looked_at = len(evaluation.accuracy.cohorts)
    if not patterns:
        return [Text(), Text(f"When were the signals right? None of {looked_at} conditions stands out.", style="bold")]
    arm = most_to_show(evaluation)
    did = () if arm is None else (f"{arm} overruled", "gained, bp each")
    table = _table(("when", "signals", "right", "95% interval", "by chance", *did), words=(0,))
    for one in leading(patterns, _PATTERNS):
        there = () if arm is None else one.arms[arm]
        cells = () if arm is None else (percent(there.overruled / one.n, 0), bp(there.gained_bps))
        table.add_row(
            one.condition, f"{one.n:,d}", percent(one.accuracy, 0), share_interval(one.low, one.high),
            percent(one.drift, 0), *cells, style="green" if one.flag == "good" else "red",
        )  # fmt: skip
    title = f"When were the signals right? {len(patterns)} of {looked_at} conditions stand out, such as:"
    return [Text(), Text(title, style="bold"), table]


def _examples_parts(examples: Sequence[Example], horizon: str) -> list[RenderableType]:
    if not examples:
        return []
    table = _table(
        ("", "the signal", "what the memory knew", "what was done", "what came of it"), words=range(5)
    )
    for one in examples:
        table.add_row(one.choice, one.signal, one.knew, one.did, one.came(horizon))
    title = f"Typical decisions of {examples[0].arm}, explained"
    return [Text(), Text(title, style="bold"), table]


def _lines(said: Sequence[tuple[str, str]]) -> Table:
    """A name and what is said of it, one below the other; nothing for what is not said."""
    table = Table.grid(padding=(0, 1))
    table.add_column(min_width=8, no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, text in said:
        if text:
            table.add_row(Text(name), Text(text))
    return table


def _table(columns: Sequence[str], *, words: Sequence[int], caption: str = "") -> Table:
    """A table without lines around it; the columns at the places `words` hold words, the others figures."""
    table = Table(
        box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, caption=caption or None, caption_justify="left"
    )
    for place, name in enumerate(columns):
        table.add_column(name, justify="left" if place in words else "right", overflow="fold")
    return table


def _anything_shown(evaluation: Evaluation) -> bool:
    return any(one.judgment is not Judgment.NO_DIFFERENCE for one in evaluation.claims)


def _baseline(evaluation: Evaluation) -> ArmFigures:
    return next(arm for arm in evaluation.arms if arm.kind == "baseline")
