"""The result of a run on a terminal: rich tables for a person, plain values for a program."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.evaluation import Evaluation
from experiments.paired import Assessment, Judgment
from experiments.sentences import between, bp, headline, p_value, percent, sentence, where_from

_STYLES = {Judgment.HELPS: "green", Judgment.HURTS: "red", Judgment.NO_DIFFERENCE: ""}


def summary(evaluation: Evaluation) -> RenderableType:
    """What was found: the headline, a table of all arms, a sentence for each that claims to help."""
    parts: list[RenderableType] = [Text(headline(evaluation), style="bold"), arms_table(evaluation)]
    for one in evaluation.claims:
        parts.append(Text(sentence(evaluation, one), style=_STYLES[one.judgment]))
        if sum(one.overridden.values()):
            parts.append(Text(where_from(one), style="dim"))
    if evaluation.blind:
        parts.append(
            Text("The control that looks ahead did not win: the experiment is blind.", style="bold red")
        )
    return Group(*parts)


def print_summary(console: Console, evaluation: Evaluation) -> None:
    """Print the summary."""
    console.print(summary(evaluation))


def arms_table(evaluation: Evaluation) -> Table:
    """A row an arm: rate, uplift, selection with interval, p-values, what could have been shown, return."""
    table = Table(
        box=SIMPLE_HEAD, title=f"bp per judged signal, {evaluation.judged:,} judged", title_justify="left"
    )
    for name in (
        "arm",
        "overruled",
        "uplift",
        "selection",
        "interval",
        "p better",
        "p worse",
        "could show",
        "next-bar return",
    ):
        table.add_column(name, justify="left" if name == "arm" else "right")
    found = {one.arm: one for one in evaluation.assessments}
    for arm in evaluation.arms:
        cells = _cells(found[arm.name]) if arm.name in found else [""] * 7
        table.add_row(Text(arm.name), *cells, _return(arm.performance))
    return table


def plan_table(evaluation: Evaluation) -> Table:
    """What the stream could show, by kind and rate of overrides."""
    plan = evaluation.plan
    table = Table(box=SIMPLE_HEAD, title="smallest effects that can be shown, bp", title_justify="left")
    for name in ("override", "rate", "per signal", "per overruled"):
        table.add_column(name, justify="left" if name == "override" else "right")
    for row in plan.reach:
        table.add_row(
            row.kind,
            percent(row.rate, 0),
            bp(row.per_signal_bps, sign=False),
            bp(row.per_override_bps, sign=False),
        )
    return table


def summary_dict(evaluation: Evaluation, manifest: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The same for `--json`: the headline, a dict an arm, the plan; None where there is no number."""
    arms = []
    for arm in evaluation.arms:
        assessment = next((one for one in evaluation.assessments if one.arm == arm.name), None)
        arms.append(
            {
                "arm": arm.name,
                "kind": arm.kind,
                "verdicts": dict(arm.verdicts),
                "model_usd": arm.model_usd,
                "model_calls": arm.model_calls,
                "total_return": {fill: own.get("total_return") for fill, own in arm.performance.items()},
                "ruined": {fill: own.get("ruined") for fill, own in arm.performance.items()},
                "assessment": None if assessment is None else assessment.as_dict(),
                "sentence": None if assessment is None else sentence(evaluation, assessment),
            }
        )
    return {
        "run_id": (manifest or {}).get("run_id"),
        "headline": headline(evaluation),
        "blind": evaluation.blind,
        "signals": evaluation.signals,
        "judged": evaluation.judged,
        "horizon": evaluation.horizon,
        "arms": arms,
        "plan": evaluation.plan.as_dict(),
    }


def _cells(one: Assessment) -> list[str]:
    return [
        percent(one.override_rate),
        bp(one.parts.uplift_bps),
        bp(one.parts.selection_bps),
        between(bp(one.selection.low), bp(one.selection.high)),
        p_value(one.p_greater),
        p_value(one.p_less),
        "" if one.detectable_bps is None else bp(one.detectable_bps, sign=False),
    ]


def _return(performance: Mapping[str, Mapping[str, Any]]) -> str:
    """Of the next-bar fill where there is one: it is the one that can be traded."""
    for fill in ("next", *performance):
        if fill in performance:
            own = performance[fill]
            return percent(own.get("total_return")) + (", ruined" if own.get("ruined") else "")
    return percent(None)
