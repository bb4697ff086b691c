"""The result of a run on a terminal: rich tables for a person, plain values for a program."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raysignal.experiments.comparison.accounts import held_return
from raysignal.experiments.comparison.controls import control_clause, control_meaning, control_meanings
from raysignal.experiments.comparison.evaluation import ArmFigures, Evaluation
from raysignal.experiments.comparison.paired import Assessment, Judgment
from raysignal.experiments.comparison.sentences import (
    approximation_notes,
    headline,
    money,
    scoring,
    sentence,
    verdict,
    where_from,
)
from raysignal.experiments.formats import (
    NONE,
    bp,
    horizon_words,
    interval,
    is_ruined,
    p_value,
    percent,
    total_return,
)

_STYLES = {Judgment.HELPS: "green", Judgment.HURTS: "red", Judgment.NO_DIFFERENCE: ""}
_ODD = "*"
_HOLDING = "holding"


def summary(evaluation: Evaluation) -> RenderableType:
    """What was found: the headline, a table of the choices and one of the accounts, a sentence for each claim."""
    parts: list[RenderableType] = [
        Text(verdict(evaluation), style="bold red" if evaluation.blind else "bold")
    ]
    if careful := control_clause(evaluation):
        parts.append(Text(careful, style="bold yellow"))
    parts += [Text(money(evaluation)), Text()]
    for one in evaluation.claims:
        parts.append(Text(sentence(evaluation, one), style=_STYLES[one.judgment]))
        if one.enough:
            parts.append(Text(where_from(one), style="dim"))
    parts += [Text(note) for note in approximation_notes(evaluation)]
    parts += [Text(), choices_table(evaluation)]
    parts += [Text(f"{_ODD} {meaning}", style="yellow") for meaning in control_meanings(evaluation)]
    parts += [Text(), accounts_table(evaluation), Text(), Text(scoring(evaluation), style="dim")]
    return Group(*parts)


def choices_table(evaluation: Evaluation) -> Table:
    """A row an arm: how much it overruled, and what choosing these signals was worth."""
    table = _table(
        f"What choosing was worth, bp per judged signal ({evaluation.judged:,d} judged "
        f"{horizon_words(evaluation.horizon)})",
        "Selection: what overruling these signals brought beyond overruling as many others of the same symbol and "
        "side. p: how often an arm that knows nothing would seem to choose this well (better) or this badly "
        f"(worse). Would show: the selection that 4 of 5 such runs would have shown. {NONE}: too few overruled, "
        "or left, or from too few stretches of time.",
        (
            "arm",
            "overruled",
            "selection",
            f"{100 * (1 - evaluation.alpha):.0f}% interval",
            "p better",
            "p worse",
            "would show",
        ),
    )
    for one in evaluation.assessments:
        table.add_row(Text(one.arm), *_choice_cells(evaluation, one))
    return table


def accounts_table(evaluation: Evaluation) -> Table:
    """A row an arm: what its trades and its account earned, and at which fee they would have earned nothing."""
    policy = evaluation.policy
    table = _table(
        f"What it earned ({policy.side}, fee {policy.fee_bps:g} bp and slippage {policy.slippage_bps:g} bp a fill)",
        f"Trades: one a judged signal, {horizon_words(evaluation.horizon)}, bp of its stake. The account holds until "
        "the opposite signal, and so breaks even at another fee (filled at the next bar). None: it earns nothing at a "
        "fee of 0 either.",
        (
            "arm", "trades", "before costs, bp", "after costs, bp", "fee to break even, bp", "account, next bar",
            "account, signal's price", "fee to break even, bp",
        ),
    )  # fmt: skip
    for arm in evaluation.arms:
        table.add_row(Text(arm.name), *account_cells(arm))
    base = next(arm for arm in evaluation.arms if arm.kind == "baseline")
    if held := held_return(base, "next"):
        table.add_row(_HOLDING, "", "", "", "", total_return(held), "", "")
    return table


def account_cells(arm: ArmFigures) -> list[str]:
    """Trades, bp before and after costs, their break-even fee; the account under both fills, its break-even fee."""
    earns = arm.earnings
    return [
        f"{earns.trades:,d}",
        bp(earns.gross_bps),
        bp(earns.net_bps),
        fee_cell(earns.break_even_fee_bps),
        *(
            total_return(arm.performance[fill]) if fill in arm.performance else NONE
            for fill in ("next", "signal")
        ),
        fee_cell(earns.account_break_even_fee_bps),
    ]


def fee_cell(fee_bps: float | None) -> str:
    """A break-even fee, bp."""
    return "none" if fee_bps is None else f"{fee_bps:,.2f}"


def odd_p(evaluation: Evaluation, one: Assessment, value: float) -> str:
    """A p-value; marked where it is the small one of a control that knows nothing; a dash where nothing is tested."""
    if not (one.enough and one.selection.is_known):
        return NONE
    odd = value <= evaluation.alpha and control_meaning(evaluation, one)
    return p_value(value) + (_ODD if odd else "")


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
                "ruined": {fill: is_ruined(own) for fill, own in arm.performance.items()},
                "buy_and_hold": (held_return(arm, "next") or {}).get("total_return"),
                "earnings": asdict(arm.earnings),
                "approximation": None if arm.approximation is None else asdict(arm.approximation),
                "assessment": None if assessment is None else assessment.as_dict(),
                "sentence": None if assessment is None else sentence(evaluation, assessment),
            }
        )
    return {
        "run_id": (manifest or {}).get("run_id"),
        "headline": headline(evaluation),
        "odd_controls": control_meanings(evaluation),
        "scoring": scoring(evaluation),
        "blind": evaluation.blind,
        "signals": evaluation.signals,
        "judged": evaluation.judged,
        "horizon": evaluation.horizon,
        "arms": arms,
        "plan": evaluation.plan.as_dict(),
    }


def _choice_cells(evaluation: Evaluation, one: Assessment) -> list[str]:
    return [
        percent(one.override_rate),
        bp(one.selection.estimate) if one.enough else NONE,
        interval(one.selection.low, one.selection.high) if one.enough else NONE,
        odd_p(evaluation, one, one.p_greater),
        odd_p(evaluation, one, one.p_less),
        bp(one.detectable_bps, sign=False),
    ]


def _table(title: str, caption: str, columns: Sequence[str]) -> Table:
    """A table with its terms explained below it; figures to the right."""
    table = Table(
        box=SIMPLE_HEAD,
        title=title,
        title_justify="left",
        caption=caption,
        caption_justify="left",
        padding=(0, 1, 0, 0),
    )
    for place, name in enumerate(columns):
        table.add_column(name, justify="right" if place else "left", overflow="fold")
    return table
