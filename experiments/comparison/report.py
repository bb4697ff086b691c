"""The report of a run: one page that needs nothing else, and the same as one picture.

Everything in it comes from the evaluation and the manifest, so that the same run makes the same report. Names,
reasons and categories are the user's data: the template escapes them, and the charts draw them as plain text.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from raysignal.engine.core.instants import format_instant
from raysignal.experiments.charts import plain, style, svg
from raysignal.experiments.comparison import charts
from raysignal.experiments.comparison.accounts import held_return
from raysignal.experiments.comparison.cohorts import accuracy_over_time
from raysignal.experiments.comparison.controls import control_clause, control_meanings, odd_controls
from raysignal.experiments.comparison.evaluation import ArmFigures, Evaluation, is_canary
from raysignal.experiments.comparison.examples import Example
from raysignal.experiments.comparison.paired import FEWEST, Assessment, Judgment
from raysignal.experiments.comparison.patterns import Pattern
from raysignal.experiments.comparison.results import ArmResult, SignalStream
from raysignal.experiments.comparison.sentences import (
    JUDGED_WORDS,
    approximation_notes,
    model_note,
    money,
    not_shown,
    scoring,
    sentence,
    shown,
    verdict,
    where_from,
)
from raysignal.experiments.comparison.summary import account_cells, odd_p
from raysignal.experiments.formats import (
    NONE,
    bp,
    counted,
    horizon_words,
    interval,
    percent,
)
from raysignal.experiments.report import ReportFiles, leaves, template, title_of
from raysignal.experiments.trades import trades_view

NO_TRADES: Mapping[str, Mapping[str, Any]] = {}
_WIDTH = 6.0  # inches of a chart on the page; text of 9 points in it stays readable on a phone
_CHARTS_HIGH, _MARGIN, _GAP = (
    11.0,
    0.2,
    0.06,
)  # of the picture, inches: its charts, around and between its texts
_COHORTS = 60
_PAPER_INK = "#2b2f36"
_TONE = {Judgment.HELPS: "good", Judgment.HURTS: "bad", Judgment.NO_DIFFERENCE: "plain"}
_TONE_INK = {"good": "#15724f", "bad": "#b3372a", "plain": _PAPER_INK, "muted": "#5d636c"}


def make_report(
    stream: SignalStream, arms: Sequence[ArmResult], evaluation: Evaluation, manifest: Mapping[str, Any],
    patterns: Sequence[Pattern] = (), examples: Sequence[Example] = (),
    trades: Mapping[str, Mapping[str, Any]] = NO_TRADES,
) -> ReportFiles:  # fmt: skip
    """Both forms of the report; patterns, examples and trades (summaries by arm) are on the page."""
    return ReportFiles(
        html_report(stream, arms, evaluation, manifest, patterns, examples, trades),
        png_report(stream, arms, evaluation, manifest),
    )


def html_report(
    stream: SignalStream, arms: Sequence[ArmResult], evaluation: Evaluation, manifest: Mapping[str, Any],
    patterns: Sequence[Pattern] = (), examples: Sequence[Example] = (),
    trades: Mapping[str, Mapping[str, Any]] = NO_TRADES,
) -> str:  # fmt: skip
    """The page. `manifest` may hold a `title` and a `run_id`; all of it is listed as provenance."""
    return template("report.html").render(
        title=title_of(manifest),
        about=about(stream, evaluation),
        evaluation=evaluation,
        verdict=verdict(evaluation),
        careful=control_clause(evaluation),
        money=money(evaluation),
        odd=control_meanings(evaluation),
        scoring=scoring(evaluation),
        horizon=horizon_words(evaluation.horizon),
        fewest=FEWEST,
        claims=[_said(evaluation, one) for one in evaluation.claims],
        controls=[_said(evaluation, one) for one in evaluation.controls],
        choices=[_choice(evaluation, one) for one in evaluation.assessments],
        earned=[(arm.name, account_cells(arm)) for arm in evaluation.arms],
        held=next(
            (held for fill in _fills(arms) if (held := held_return(_baseline(evaluation), fill))), None
        ),
        charts=_page_charts(stream, arms, evaluation),
        fills=_fills(arms),
        colours=charts.colours(arms),
        cohorts=evaluation.accuracy.cohorts[:_COHORTS],
        cohorts_left=max(0, len(evaluation.accuracy.cohorts) - _COHORTS),
        patterns=patterns,
        standing_out=len(evaluation.accuracy.patterns()),
        examples=examples,
        asked=[(arm, model_note(arm)) for arm in evaluation.arms if arm.model_calls or arm.kind == "model"],
        abstained=abstentions(evaluation),
        trades=trades_view(trades) if trades else None,
        approximated=approximation_notes(evaluation),
        shown=shown(evaluation),
        not_shown=not_shown(evaluation),
        provenance=list(leaves(manifest)),
    )


def png_report(
    stream: SignalStream, arms: Sequence[ArmResult], evaluation: Evaluation, manifest: Mapping[str, Any]
) -> bytes:
    """The picture: what is said, equity and drawdown under both fills, differences, decisions, calibration."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    out = io.BytesIO()
    words = _words(stream, evaluation, manifest)
    high = sum(line.high for line in words) + _MARGIN
    with style(_PAPER_INK):
        figure = Figure(figsize=(10.0, high + _CHARTS_HIGH), layout="constrained", facecolor="white")
        shares = [5.4, 2.4, 3.2]
        parts: Any = figure.subfigures(
            4, 1, height_ratios=[high, *(_CHARTS_HIGH * each / sum(shares) for each in shares)]
        )
        heads, lines, forests, rest = parts
        _draw_words(heads, words, high)
        _draw_lines(lines, stream, arms)
        _draw_forests(forests, evaluation, arms, ("selection", "uplift"))
        left, right = rest.subplots(1, 2, width_ratios=[1.5, 1.0])
        charts.draw_decisions(left, evaluation)
        charts.draw_calibration(right, evaluation.calibration, arms, names=True)
        figure.savefig(out, format="png", dpi=110, metadata={"Software": None})
    return out.getvalue()


def about(stream: SignalStream, evaluation: Evaluation) -> str:
    """What was looked at, in one line."""
    if not len(stream):
        return "no signals"
    names = ", ".join(stream.symbols[:4]) + (
        f" and {len(stream.symbols) - 4} more" if len(stream.symbols) > 4 else ""
    )
    first, last = format_instant(int(stream.timestamp_us[0])), format_instant(int(stream.timestamp_us[-1]))
    return (
        f"{counted(evaluation.signals, 'signal')} of {names}, {first[:10]} to {last[:10]}, {evaluation.judged:,d} of "
        f"them judged {horizon_words(evaluation.horizon)}"
    )


def abstentions(evaluation: Evaluation) -> list[tuple[str, list[int]]]:
    """Reasons with their counts, an arm a column, the most frequent first."""
    total: dict[str, int] = {}
    for arm in evaluation.arms:
        for reason, count in arm.reasons.items():
            total[reason] = total.get(reason, 0) + count
    order = sorted(total, key=lambda reason: (-total[reason], reason))
    return [(reason, [arm.reasons.get(reason, 0) for arm in evaluation.arms]) for reason in order]


def _said(evaluation: Evaluation, one: Assessment) -> dict[str, Any]:
    """A sentence with its tag; a control's tag says whether it did what a control has to do."""
    if is_canary(one.arm, one.kind):
        good = one.judgment is Judgment.HELPS
        tag, tone = ("wins, as it must", "plain") if good else ("does not win", "bad")
        if one.enough and not one.selection.is_known:
            tag, tone = "not known", "plain"
    elif one in evaluation.claims:
        tag, tone = JUDGED_WORDS[one.judgment], _TONE[one.judgment]
    elif not one.enough:
        tag, tone = "too few overruled to be tested", "plain"
    elif not one.selection.is_known:
        tag, tone = "not known", "plain"
    else:
        odd = next((odd for odd in odd_controls(evaluation) if odd.assessment is one), None)
        if odd is None:
            tag, tone = "no difference, as it should be", "plain"
        else:
            tag, tone = ("more than luck", "bad") if odd.beyond_luck else ("as luck would have it", "plain")
    if evaluation.blind and one in evaluation.claims:
        tag, tone = "not to be relied on", "plain"
    claim = one in evaluation.claims
    return {
        "arm": one.arm, "tag": tag, "tone": tone, "sentence": sentence(evaluation, one),
        "where_from": where_from(one) if claim and one.enough else "",
    }  # fmt: skip


def _choice(evaluation: Evaluation, one: Assessment) -> dict[str, Any]:
    """A row of the table of choices, as texts; dashes where too few signals were overruled for anything to be shown."""
    parts = one.parts
    figures = [
        bp(value) for value in (parts.uplift_bps, parts.costs_bps, parts.direction_bps, parts.selection_bps)
    ]
    return {
        "arm": one.arm,
        "overruled": percent(one.override_rate),
        "figures": figures if one.enough else [NONE] * len(figures),
        "interval": interval(one.selection.low, one.selection.high) if one.enough else NONE,
        "p_better": odd_p(evaluation, one, one.p_greater),
        "p_worse": odd_p(evaluation, one, one.p_less),
        "would_show": bp(one.detectable_bps, sign=False),
    }


def _baseline(evaluation: Evaluation) -> ArmFigures:
    return next(arm for arm in evaluation.arms if arm.kind == "baseline")


def _page_charts(stream: SignalStream, arms: Sequence[ArmResult], evaluation: Evaluation) -> dict[str, str]:
    high = 0.34 * max(2, len(charts.compared(arms)))
    drawn = {
        "lines": svg((_WIDTH, 7.6), lambda figure: _draw_lines(figure, stream, arms, columns=1)),
        "differences": svg(
            (_WIDTH, 1.6 + 2 * high),
            lambda figure: _draw_forests(figure, evaluation, arms, ("selection", "uplift"), stacked=True),
        ),
        "decisions": svg(
            (_WIDTH, 0.9 + 0.34 * len(evaluation.arms)),
            lambda figure: charts.draw_decisions(figure.subplots(), evaluation),
        ),
    }
    fills = [fill for fill in _fills(arms) if any(fill in one.returns_bps for one in evaluation.assessments)]
    if fills:
        drawn["returns"] = svg(
            (_WIDTH, 0.5 + len(fills) * (0.5 + high)),
            lambda figure: _draw_forests(figure, evaluation, arms, fills, stacked=True),
        )
    if (over_time := accuracy_over_time(stream)) is not None:
        drawn["accuracy"] = svg(
            (_WIDTH, 2.6), lambda figure: charts.draw_accuracy(figure.subplots(), over_time)
        )
    if evaluation.calibration:
        drawn["calibration"] = svg(
            (_WIDTH, 3.8),
            lambda figure: charts.draw_calibration(
                figure.subplots(), evaluation.calibration, arms, names=True
            ),
        )
    return drawn


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of text on the picture: points, weight, tone, and the height that it takes, in inches."""

    text: str
    size: float
    weight: str
    tone: str
    high: float


def _words(stream: SignalStream, evaluation: Evaluation, manifest: Mapping[str, Any]) -> list[_Line]:
    """What the picture says, wrapped to its width."""
    said = [_said(evaluation, one) for one in (*evaluation.claims, *evaluation.controls)]
    blocks = [
        (13.0, "bold", "plain", title_of(manifest)),
        (9.0, "normal", "muted", about(stream, evaluation)),
        (12.0, "bold", "bad" if evaluation.blind else "plain", verdict(evaluation)),
        (9.0, "bold", "bad", control_clause(evaluation)),
        (9.0, "normal", "plain", money(evaluation)),
        *((9.0, "normal", one["tone"], one["sentence"]) for one in said),
    ]
    lines = []
    for size, weight, tone, text in blocks:
        wrapped = wrap(plain(text), int((1060 if weight == "bold" else 1180) / size))
        for place, line in enumerate(wrapped, 1):
            gap = _GAP if place == len(wrapped) else 0.0
            lines.append(_Line(line, size, weight, tone, 1.5 * size / 72 + gap))
    return lines


def _draw_words(figure: Any, lines: Sequence[_Line], high: float) -> None:
    at = high - _MARGIN / 2
    for line in lines:
        figure.text(
            0.02,
            at / high,
            line.text,
            fontsize=line.size,
            weight=line.weight,
            color=_TONE_INK[line.tone],
            va="top",
        )
        at -= line.high


def _draw_lines(figure: Any, stream: SignalStream, arms: Sequence[ArmResult], *, columns: int = 2) -> None:
    """Equity and drawdown under every fill: side by side, or one below the other."""
    fills = _fills(arms)
    if not fills:
        return
    if columns == 1:
        grid = figure.subplots(
            2 * len(fills), 1, sharex=True, height_ratios=[2.0, 1.0] * len(fills), squeeze=False
        )
        places = [(grid[2 * k, 0], grid[2 * k + 1, 0]) for k in range(len(fills))]
    else:
        grid = figure.subplots(2, len(fills), sharex=True, height_ratios=[2.0, 1.0], squeeze=False)
        places = [(grid[0, k], grid[1, k]) for k in range(len(fills))]
    for fill, (upper, lower) in zip(fills, places, strict=True):
        charts.draw_equity(upper, stream, arms, fill)
        charts.draw_drawdown(lower, stream, arms, fill)
    charts.draw_legend(figure, arms)


_FOREST = {
    "selection": "Selection, bp per judged signal",
    "uplift": "Uplift, saved costs in it, bp per judged signal",
    "signal": "Portfolio against baseline, filled at the signal's price, bp per signal",
    "next": "Portfolio against baseline, filled at the next bar, bp per signal",
}


def _draw_forests(
    figure: Any,
    evaluation: Evaluation,
    arms: Sequence[ArmResult],
    what: Sequence[str],
    *,
    stacked: bool = False,
) -> None:
    rows, columns = (len(what), 1) if stacked else (1, len(what))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, one in zip(grid, what, strict=True):
        charts.draw_forest(axes, evaluation, arms, one)
        axes.set_title(_FOREST.get(one, one))


def _fills(arms: Sequence[ArmResult]) -> list[str]:
    return list(dict.fromkeys(fill for arm in arms for fill in arm.equity))
