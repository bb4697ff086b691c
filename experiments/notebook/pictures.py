"""Figures that a notebook shows by themselves, in the look of the reports."""

import io
from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from raysignal.engine.core.arrays import Float64Array
from raysignal.experiments import charts

_BLUE, _GREY, _ORANGE = "#2f7fd1", "#8a8f98", "#d9822b"
_DPI = 110


class NotebookFigure(Figure):
    """A figure that needs no pyplot: a notebook asks it for its picture."""

    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """See matplotlib; on white, in the look that it was drawn in."""
        with charts.style():
            super().savefig(*args, **{"facecolor": "white", "dpi": _DPI, **kwargs})

    def _repr_png_(self) -> bytes:
        out = io.BytesIO()
        self.savefig(out, format="png")
        return out.getvalue()


def picture(size: tuple[float, float], draw: Callable[[Figure], None]) -> NotebookFigure:
    """A figure of that size in inches, drawn."""
    with charts.style():
        figure = NotebookFigure(figsize=size, layout="constrained")
        draw(figure)
    return figure


def draw_account(
    figure: Figure, at: Any, equity: Float64Array, drawdown: Float64Array, held: Float64Array | None
) -> None:
    """Equity over drawdown in percent; `held` is what the same money would be in the one thing that is traded."""
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    if held is not None:
        rows = charts.visible(held)
        upper.plot(at[rows], held[rows], color=_GREY, linewidth=1.0, label="held")
    rows = charts.visible(equity)
    upper.plot(at[rows], equity[rows], color=_BLUE, linewidth=1.4, label="equity")
    upper.legend(frameon=False, fontsize=8)
    upper.set_title("Equity")
    upper.yaxis.set_major_formatter(lambda value, _place: f"{value:,.6g}")
    below = -100.0 * drawdown
    rows = charts.visible(below)
    lower.fill_between(at[rows], below[rows], 0.0, color=_ORANGE, alpha=0.35, linewidth=0.0)
    lower.set_title("Drawdown in %")
    for axes in (upper, lower):
        axes.grid(visible=True, axis="y")
    charts.in_time(lower)


def draw_prices(figure: Figure, series: list[tuple[str, Any, Float64Array]]) -> None:
    """A line a symbol: its name, instants and prices; several of them each over its first."""
    axes = figure.subplots()
    for name, at, price in series:
        shown = price / price[0] if len(series) > 1 else price
        rows = charts.visible(shown)
        axes.plot(at[rows], shown[rows], linewidth=1.2, label=charts.label(name))
    axes.legend(frameon=False, fontsize=8)
    axes.set_title("Prices over their first" if len(series) > 1 else "Price")
    axes.grid(visible=True, axis="y")
    charts.in_time(axes)
