"""The charts of a comparison, drawn on axes that are handed in: the same for the page and for the picture."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from raysignal.engine.core.arrays import Float64Array
from raysignal.experiments.charts import INK, in_time, label, visible
from raysignal.experiments.comparison.calibration import Calibration
from raysignal.experiments.comparison.cohorts import AccuracyOverTime
from raysignal.experiments.comparison.evaluation import Evaluation, is_canary
from raysignal.experiments.comparison.paired import CLAIMS
from raysignal.experiments.comparison.results import ArmResult, SignalStream, drawdowns
from raysignal.experiments.formats import is_ruined

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PALETTE = ("#8a8f98", "#2f7fd1", "#d9822b", "#1d9a6c", "#c0529b", "#8a63d2", "#b5a42e", "#d2503f")
_VERDICTS = {"approve": "#8a8f98", "flip": "#d9822b", "hold": "#2f7fd1"}
_MANY_TIMES = 5.0


def colours(arms: Sequence[ArmResult]) -> dict[str, str]:
    """A colour an arm, the baseline's always grey."""
    others = [arm.name for arm in arms if arm.kind != "baseline"]
    named = {name: _PALETTE[1 + place % (len(_PALETTE) - 1)] for place, name in enumerate(others)}
    return {arm.name: named.get(arm.name, _PALETTE[0]) for arm in arms}


def compared(arms: Sequence[ArmResult]) -> list[ArmResult]:
    """The arms that are drawn: all but the one that looks ahead, beside which nothing else could be seen."""
    return [arm for arm in arms if not is_canary(arm.name, arm.kind)]


def draw_equity(axes: "Axes", stream: SignalStream, arms: Sequence[ArmResult], fill: str) -> None:
    """Equity of every arm under one fill, the baseline in front."""
    _lines(axes, stream, arms, fill, lambda arm: arm.equity[fill])
    _in_proportion(axes, [arm.equity[fill] for arm in compared(arms) if fill in arm.equity])
    axes.set_title(f"Equity, filled at the {_FILL.get(fill, fill)}")


def draw_drawdown(axes: "Axes", stream: SignalStream, arms: Sequence[ArmResult], fill: str) -> None:
    """Drawdown of every arm under one fill, in percent below the highest equity so far."""
    _lines(
        axes, stream, arms, fill, lambda arm: -100.0 * drawdowns(arm.equity[fill], arm.initial_equity(fill))
    )
    axes.set_title(f"Drawdown in %, filled at the {_FILL.get(fill, fill)}")


def draw_legend(figure: "Figure", arms: Sequence[ArmResult]) -> None:
    """One legend for all lines of a figure, below them."""
    from matplotlib.lines import Line2D  # noqa: PLC0415 - slow to import

    colour, drawn = colours(arms), compared(arms)
    handles = [Line2D([], [], color=colour[arm.name], linewidth=2.5) for arm in drawn]
    blank = [str(place) for place in range(len(handles))]  # a name that begins with _ would be left out
    legend = figure.legend(handles, blank, loc="outside lower left", ncols=3, frameon=False)
    for text, arm in zip(legend.get_texts(), drawn, strict=True):
        ruined = any(is_ruined(figures) for figures in arm.performance.values())
        text.set_text(f"{label(arm.name)} (ruined)" if ruined else label(arm.name))


def draw_forest(axes: "Axes", evaluation: Evaluation, arms: Sequence[ArmResult], what: str) -> None:
    """`selection`, `uplift`, or the portfolio difference under a fill, with intervals, an arm a line.

    An arm that overruled too few signals, or left too few, has a line and no figure.
    """
    rows = []
    for assessment in evaluation.assessments:
        if is_canary(assessment.arm, assessment.kind):
            continue
        if what in {"selection", "uplift"}:
            rows.append((assessment, getattr(assessment, what)))
        elif what in assessment.returns_bps:
            rows.append((assessment, assessment.returns_bps[what]))
    colour = colours(arms)
    names = [label(one.arm) if one.enough else f"{label(one.arm)}\n(too few)" for one, _ in rows]
    for place, (one, interval) in enumerate(rows):
        name = one.arm
        if not one.enough:
            continue
        if np.isfinite(interval.low):
            axes.plot([interval.low, interval.high], [place, place], color=colour[name], linewidth=2.5)
        axes.plot([interval.estimate], [place], marker="o", markersize=6, color=colour[name])
    axes.axvline(0.0, color=INK, linewidth=1.0, linestyle=":")
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(visible=True, axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def draw_decisions(axes: "Axes", evaluation: Evaluation) -> None:
    """What every arm made of the signals, in percent."""
    for place, arm in enumerate(evaluation.arms):
        total, left = sum(arm.verdicts.values()) or 1, 0.0
        for name, colour in _VERDICTS.items():
            share = 100.0 * arm.verdicts[name] / total
            axes.barh(place, share, left=left, color=colour, height=0.6)
            if share >= 8.0:
                axes.text(
                    left + share / 2,
                    place,
                    f"{share:.0f}",
                    ha="center",
                    va="center",
                    color="white",
                    fontsize=8,
                )
            left += share
    axes.set_yticks(range(len(evaluation.arms)), [label(arm.name) for arm in evaluation.arms])
    axes.set_ylim(len(evaluation.arms) - 0.4, -0.6)
    axes.set_xlim(0.0, 100.0)
    axes.tick_params(axis="y", length=0)
    axes.set_title("Verdicts in % of the signals")
    for place, (name, colour) in enumerate(_VERDICTS.items()):
        axes.text(
            0.62 + (0.0, 0.2, 0.3)[place],
            1.03,
            name,
            color=colour,
            transform=axes.transAxes,
            weight="bold",
            fontsize=9.5,
        )


def draw_calibration(
    axes: "Axes", found: Mapping[str, Calibration], arms: Sequence[ArmResult], *, names: bool = False
) -> None:
    """Shares that were right against what the arms that claim to help said, with intervals.

    On the diagonal is calibrated.
    """
    colour = colours(arms)
    axes.plot([0.0, 1.0], [0.0, 1.0], color=INK, linewidth=1.0, linestyle=":")
    claims = [arm.name for arm in arms if arm.kind in CLAIMS and arm.name in found]
    for place, (name, calibration) in enumerate((name, found[name]) for name in claims):
        said = np.array([one.mean_p for one in calibration.bins]) + 0.006 * place
        share = np.array([one.share for one in calibration.bins])
        low = share - np.array([one.share_low for one in calibration.bins])
        high = np.array([one.share_high for one in calibration.bins]) - share
        bars = np.maximum(0.0, np.stack([low, high]))
        axes.errorbar(
            said,
            share,
            yerr=bars,
            color=colour[name],
            marker="o",
            markersize=4,
            linewidth=1.2,
            elinewidth=0.8,
        )
        if names:
            axes.text(
                0.03, 0.95 - 0.07 * place, label(name), color=colour[name], transform=axes.transAxes, va="top"
            )
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(0.0, 1.0)
    axes.set_xlabel("probability of being right, as said")
    axes.set_title("Share that was right")
    axes.grid(visible=True)


def draw_accuracy(axes: "Axes", found: AccuracyOverTime) -> None:
    """The rolling share that was right with its interval, and the drift beside it, dotted."""
    at = found.timestamp_us.astype("datetime64[us]")
    axes.fill_between(at, 100.0 * found.low, 100.0 * found.high, color=_PALETTE[1], alpha=0.2, linewidth=0.0)
    axes.plot(at, 100.0 * found.share, color=_PALETTE[1], linewidth=1.6)
    axes.plot(at, 100.0 * found.drift, color=INK, linewidth=1.2, linestyle=":")
    axes.set_title(f"Right in % of the last {found.window:,d} judged signals; by chance, dotted")
    in_time(axes)
    axes.grid(visible=True, axis="y")


_FILL = {"signal": "signal's price", "next": "next bar"}


def _in_proportion(axes: "Axes", equities: Sequence[Float64Array]) -> None:
    """On a logarithmic scale where the highest equity is several times the lowest."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: PLC0415 - slow to import

    low = min((float(equity.min()) for equity in equities if len(equity)), default=0.0)
    high = max((float(equity.max()) for equity in equities if len(equity)), default=0.0)
    if low > 0.0 and high > _MANY_TIMES * low:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 100.0 * low else (1.0,)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))


def _lines(
    axes: "Axes",
    stream: SignalStream,
    arms: Sequence[ArmResult],
    fill: str,
    values: Callable[[ArmResult], Float64Array],
) -> None:
    at, colour = stream.timestamp_us.astype("datetime64[us]"), colours(arms)
    for arm in compared(arms):
        if fill in arm.equity and len(stream):
            own = values(arm)
            rows = visible(own)
            base = arm.kind == "baseline"
            axes.plot(
                at[rows],
                own[rows],
                color=colour[arm.name],
                linewidth=1.8 if base else 1.2,
                zorder=3 if base else 2,
            )
    if len(stream):
        in_time(axes)
    axes.grid(visible=True, axis="y")
