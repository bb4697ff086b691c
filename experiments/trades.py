"""The trades of accounts in a report: a table, the distribution of their returns, the last, best and worst of them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from raysignal.experiments.charts import label, svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 5
"""Trades of each list."""
_WIDTH = 6.0
_LISTS = (("last", "the last"), ("best", "the best"), ("worst", "the worst"), ("held", "ended with the file"))


def trades_view(summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What `templates/trades.html` shows.

    Args:
        summaries: of each account, see `engine.portfolio.trade_summary`.
    """
    drawn = {name: found for name, found in summaries.items() if found["distribution"] is not None}
    return {
        "summaries": summaries,
        "svg": svg((_WIDTH, 0.5 + 0.95 * len(drawn)), lambda figure: _draw(figure, drawn)) if drawn else "",
        "lists": {
            name: [(title, row) for which, title in _LISTS for row in found[which]]
            for name, found in summaries.items()
        },
    }


def _draw(figure: "Figure", summaries: Mapping[str, Mapping[str, Any]]) -> None:
    """The returns of each account's trades in percent, one below the other."""
    grid = figure.subplots(len(summaries), 1, squeeze=False, sharex=True)[:, 0]
    for axes, (name, found) in zip(grid, summaries.items(), strict=True):
        edges = [100.0 * edge for edge in found["distribution"]["edges"]]
        width = (edges[-1] - edges[0]) / len(found["distribution"]["counts"]) or 0.01
        centres = [edges[0] + (place + 0.5) * width for place in range(len(edges) - 1)]
        colours = ["#b3372a" if centre < 0.0 else "#15724f" for centre in centres]
        axes.bar(centres, found["distribution"]["counts"], 0.9 * width, color=colours)
        axes.axvline(0.0, linewidth=0.6, color="#70757d")
        axes.set_title(label(name))
    grid[-1].set_xlabel("return of a trade, %")
