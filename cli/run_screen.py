"""What `raysignal run` shows at its end: one screen that needs nothing else to be understood.

What was read, what following all signals earned, whether overruling some of them helped, under which conditions the
signals were right, three decisions explained, and where the rest lies. For any set of arms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raysignal.agents.verdicts import Reason
from raysignal.cli.compare_plan import reach_sentence
from raysignal.cli.output import printable
from raysignal.engine.core.plain_values import from_plain
from raysignal.experiments.comparison.controls import OddControl, odd_controls
from raysignal.experiments.comparison.evaluation import Evaluation
from raysignal.experiments.comparison.examples import Example, most_to_show
from raysignal.experiments.comparison.paired import Judgment
from raysignal.experiments.comparison.patterns import Pattern, leading
from raysignal.experiments.comparison.sentences import JUDGED_WORDS, model_note, verdict
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
    from raysignal.experiments.comparison.paired import Assessment

WIDTH = 100
_PATTERNS = 4
_TYPICAL_RATE = 0.1
_STYLES = {Judgment.HELPS: "green", Judgment.HURTS: "red", Judgment.NO_DIFFERENCE: ""}
_WHAT_ARMS_DO = {
    "baseline": "follows every signal",
    "memory": "overrules by past outcomes",
    "model": "the same, asks a model too",
    "review": "asks a model for the rest",
    "random": "overrules as many, by lot",
    "shuffled": "by outcomes at random",
    "canary": "looks ahead: it must win",
}
_THAN_CHANCE = {Judgment.HELPS: "better", Judgment.HURTS: "worse", Judgment.NO_DIFFERENCE: "not shown"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What a run has come to.

    Attributes:
        file: what was read, in words.
        truth: what is planted in it, in words; empty where nobody knows.
        taken: how the service took it in, in words.
        standing: body of `GET /performance` of the portfolio that follows every signal.
        trades: body of `GET /v1/trades/summary` of that portfolio.
        market: what became of the made-up exchange, in words.
        path: what the sample pipeline came to, in words.
        metrics: of the experiment.
        model: who was asked, in words.
        noise: the same on signals that know nothing, and where they lie; None where nobody can make such.
        places: where everything lies: a name and a place each.
    """

    file: str
    truth: str
    taken: str
    standing: Mapping[str, Any]
    trades: Mapping[str, Any]
    market: str
    path: str
    metrics: Mapping[str, Any]
    model: str
    noise: tuple[Evaluation, str] | None
    places: Sequence[tuple[str, str]]


def run_screen(summary: RunSummary) -> RenderableType:
    """The screen."""
    evaluation = Evaluation.from_dict(summary.metrics)
    patterns = [from_plain(Pattern, each) for each in summary.metrics["patterns"]]
    examples = [from_plain(Example, each) for each in summary.metrics["examples"]]
    read = (
        ("file", summary.file), ("truth", summary.truth), ("service", summary.taken), ("market", summary.market),
        ("path", summary.path),
        ("account", account_words(summary.standing)), ("trades", trade_words(summary.trades)),
    )  # fmt: skip
    return Group(
        _lines(read),
        Text(),
        Text(f"Does overruling help? {answer(evaluation)}", style="bold red" if evaluation.blind else "bold"),
        _arms_table(evaluation),
        _lines([*_concluded(summary, evaluation)]),
        Text(),
        *_patterns_parts(patterns, evaluation),
        *_examples_parts(examples, evaluation.horizon),
        Text(),
        _lines(summary.places),
    )


def _concluded(summary: RunSummary, evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    """What there is to say beside the table of the arms."""
    yield "model", " ".join([f"{summary.model}.", *cost_words(evaluation)])
    for odd in odd_controls(evaluation):
        if odd.beyond_luck:
            yield "careful", careful_words(odd)
    if all(one.judgment is Judgment.NO_DIFFERENCE for one in evaluation.claims):
        for said in silences(evaluation):
            yield "why", said
        yield "reach", reach_words(evaluation)
    if summary.noise is not None:
        yield "noise", noise_words(*summary.noise)


def answer(evaluation: Evaluation) -> str:
    """The verdict, with its answer in a word before it."""
    judged = {one.judgment for one in evaluation.claims}
    if evaluation.blind or judged <= {Judgment.NO_DIFFERENCE}:
        return verdict(evaluation)
    return f"{'Yes' if Judgment.HELPS in judged else 'No'}: {verdict(evaluation)}"


def path_words(figures: Mapping[str, Any]) -> str:
    """What a made-up market through the decision path came to, and who earned it."""
    earned = ", ".join(f"{each['strategy']} {each['contribution']:+,.0f}" for each in figures["strategies"])
    again = "replayed byte for byte" if figures["same"] else "its replay DIFFERS, see raysignal parity"
    return (
        f"another made-up market, {len(figures['strategies']):,d} strategies weighed by who was right: "
        f"{figures['orders']:,d} orders on paper, {figures['total_return']:+.1%} (by {earned}); {again}"
    )


def account_words(standing: Mapping[str, Any]) -> str:
    """What following every signal came to, beside buying and holding."""
    found, policy = standing["performance"], standing["policy"]
    held = {"total_return": found["buy_and_hold"]["total_return"]}
    return (
        f"every signal followed {total_return(found)}, bought and held {total_return(held)}; "
        f"{counted(found['trades'], 'trade')} at {policy['fee_bps']:g} bp, drawdown {percent(found['max_drawdown'], 0)}"
    )


def trade_words(trades: Mapping[str, Any]) -> str:
    """What the closed trades came to."""
    if not trades["trades"]:
        return "none closed"
    factor = NONE if trades["profit_factor"] is None else f"{trades['profit_factor']:.2f}"
    return (
        f"{trades['trades']:,d} closed, {percent(trades['win_rate'], 0)} won, profit factor {factor}, "
        f"{bp(1e4 * trades['mean_return'])} bp each, {trades['mean_bars']:,.1f} bars, "
        f"losing streak {trades['longest_losing_streak']:,d}"
    )


def careful_words(odd: OddControl) -> str:
    """That a control stands out for which luck is no explanation."""
    one = odd.assessment
    return (
        f"{one.arm} knows nothing and looks {'better' if odd.better else 'worse'} than chance; the report says what "
        "that can mean"
    )


def cost_words(evaluation: Evaluation) -> Iterator[str]:
    """Of each arm that asked a model: how often, how much of it was used, and what it cost."""
    for arm in evaluation.arms:
        if arm.model_calls:
            usd = (
                "at a cost that is not known"
                if arm.model_usd is None
                else f"for {arm.model_usd:,.4f} US$ at list prices"
            )
            yield (
                f"{arm.name} asked {counted(arm.model_calls, 'question')} {usd} and used "
                f"{counted(arm.deciders['model'], 'answer')}."
            )
        elif note := model_note(arm):
            yield note


def silences(evaluation: Evaluation) -> Iterator[str]:
    """Of each arm that claims to help and overruled hardly anything: what kept it from more."""
    for one in evaluation.claims:
        if one.enough:
            continue
        arm = evaluation.figures(one.arm)
        little, unclear, agreed = (
            arm.reasons.get(reason.value, 0)
            for reason in (Reason.TOO_LITTLE_EVIDENCE, Reason.EVIDENCE_UNCLEAR, Reason.EVIDENCE_FOR)
        )
        yield (
            f"of {counted(sum(arm.verdicts.values()), 'signal')} {arm.name} had too little evidence about {little:,d}, "
            f"unclear evidence about {unclear:,d}, agreed with {agreed:,d} and overruled "
            f"{sum(one.overridden.values()):,d}"
        )


def reach_words(evaluation: Evaluation) -> str:
    """What these signals could have shown, by an arm that holds about a tenth of them, and how many others take."""
    plan = evaluation.plan
    if not plan.reach:
        return reach_sentence(plan, evaluation.horizon)
    row = min(plan.reach, key=lambda row: (row.kind != "hold", abs(row.rate - _TYPICAL_RATE)))
    effect, needed = max(row.signals_for.items())
    return (
        f"{counted(plan.judged, 'signal')} show an arm that {row.kind}s {row.rate:.0%} of them only if these are worse "
        f"than the rest by about {row.per_override_bps:,.0f} bp each; a difference of {effect:g} bp takes {needed:,d} "
        "signals"
    )


def noise_words(evaluation: Evaluation, place: str) -> str:
    """What the memory makes of signals that know nothing."""
    (one,) = evaluation.claims
    said = (
        f"on the same market with signals that are right half of the time, calm or storm, memory overruled "
        f"{percent(one.override_rate)}: {JUDGED_WORDS[one.judgment]}"
    )
    if one.enough and one.selection.is_known:
        said += f" ({bp(one.selection.estimate)} bp, {interval(one.selection.low, one.selection.high)})"
    return f"{said}. {place}"


# Tables


def _arms_table(evaluation: Evaluation) -> Table:
    policy = evaluation.policy
    table = _table(
        (
            "arm",
            "what it does",
            "overruled",
            "by choice",
            f"{100 * (1 - evaluation.alpha):.0f}% interval",
            "than chance",
            "account",
        ),
        words=(0, 1),
        caption=f"By choice: bp a signal {horizon_words(evaluation.horizon)}, beyond overruling others of the same "
        "symbol and side.",
    )
    for arm in evaluation.arms:
        one = next((one for one in evaluation.assessments if one.arm == arm.name), None)
        cells = (NONE, "", "", "") if one is None else _choice_cells(one)
        account = total_return(arm.performance[policy.fill]) if policy.fill in arm.performance else NONE
        style = _STYLES[one.judgment] if one is not None and one in evaluation.claims else ""
        table.add_row(arm.name, _WHAT_ARMS_DO.get(arm.name, ""), *cells, account, style=style)
    return table


def _choice_cells(one: Assessment) -> tuple[str, str, str, str]:
    """How much it overruled, what the choice brought, with its interval, and what that shows."""
    overruled = percent(one.override_rate)
    if not one.enough:
        return overruled, NONE, NONE, "too few" if one.override_rate < 0.5 else "too many"
    selection, shown = one.selection, _THAN_CHANCE[one.judgment]
    return (
        overruled, bp(selection.estimate), interval(selection.low, selection.high),
        shown if selection.is_known else NONE,
    )  # fmt: skip


def _patterns_parts(patterns: Sequence[Pattern], evaluation: Evaluation) -> list[RenderableType]:
    looked_at = len(evaluation.accuracy.cohorts)
    asked = "When were the signals right?"
    if not patterns:
        return [Text(f"{asked} None of {looked_at} conditions stands out beyond chance.", style="bold")]
    arm = most_to_show(evaluation)
    did = () if arm is None else ("overruled", "gained, bp")
    table = _table(("when", "signals", "right", "95% interval", "by chance", *did), words=(0,))
    for one in leading(patterns, _PATTERNS):
        there = (
            () if arm is None else (percent(one.arms[arm].overruled / one.n, 0), bp(one.arms[arm].gained_bps))
        )
        table.add_row(
            Text(printable(one.condition)), f"{one.n:,d}", percent(one.accuracy, 0), share_interval(one.low, one.high),
            percent(one.drift, 0), *there, style="green" if one.flag == "good" else "red",
        )  # fmt: skip
    there_too = "" if arm is None else f", and what {arm} did there"
    return [
        Text(
            f"{asked} {len(patterns)} of {looked_at} conditions stand out, such as these{there_too}",
            style="bold",
        ),
        table,
    ]


def _examples_parts(examples: Sequence[Example], horizon: str) -> list[RenderableType]:
    """What an arm did about some signals: the signal, what the memory knew, what was done, what came of it."""
    if not examples:
        return []
    said = [
        (one.choice if not place else "", text)
        for one in examples
        for place, text in enumerate((one.signal, one.knew, f"{one.did}; {one.came(horizon)}"))
    ]
    title = f"Typical decisions of {examples[0].arm}: the signal, what the memory knew, what was done and came of it"
    return [Text(), Text(title, style="bold"), _lines(said)]


def _lines(said: Sequence[tuple[str, str]]) -> Table:
    """A name and what is said of it, one below the other; nothing for what is not said."""
    table = Table.grid(padding=(0, 1))
    table.add_column(min_width=8, no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, text in said:
        if text:
            table.add_row(Text(name), Text(printable(text)))
    return table


def _table(columns: Sequence[str], *, words: Sequence[int], caption: str = "") -> Table:
    """A table without lines around it; the columns at the places `words` hold words, the others figures."""
    table = Table(
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        caption=caption or None,
        caption_justify="left",
        header_style="dim",
    )
    for place, name in enumerate(columns):
        table.add_column(name, justify="left" if place in words else "right", overflow="fold")
    return table
