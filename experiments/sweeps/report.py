"""The report of a sweep: one page that needs nothing else, and the same as one picture."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from raysignal.experiments import charts
from raysignal.experiments.report import ReportFiles, leaves, template, title_of
from raysignal.experiments.sweeps import pictures
from raysignal.experiments.trades import trades_view

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH = 6.0
_SHOWN = ("total_return", "sharpe", "max_drawdown", "trades", "win_rate", "exposure")
_BEST = 10
_MOST_FOLDS = 40
_PAPER_INK = "#2b2f36"


@dataclass(frozen=True, slots=True)
class MarketView:
    """What a sweep found on one market.

    Attributes:
        symbol: its name.
        table: as in `sweep.parquet`: rank, parameters, figures.
        objective: what configurations are ranked by, see `experiments.sweeps.tables.ranked_by`.
        names: the axes.
        varied: those with more than one value.
        verdict: see `experiments.selection.verdict`; None: none was given.
        folds: as in `folds.parquet`; None: there are none.
        out_of_sample: what became of the folds' choices, in a sentence; None: there are no folds.
        curves: whole accounts of the best, as in `curves.parquet`.
        buy_and_hold: figures of holding.
        trades: what those of the best come to, by its name; see `engine.portfolio.trade_summary`.
        calendar: what says how many periods a year has.
    """

    symbol: str
    table: pa.Table
    objective: str
    names: tuple[str, ...]
    varied: tuple[str, ...]
    verdict: Mapping[str, Any] | None
    folds: pa.Table | None
    out_of_sample: str | None
    curves: Sequence[pa.Table]
    buy_and_hold: Mapping[str, Any]
    trades: Mapping[str, Mapping[str, Any]]
    calendar: str


Draw = Callable[["Figure"], None]


def make_sweep_report(views: Sequence[MarketView], manifest: Mapping[str, Any]) -> ReportFiles:
    """Both forms; the same for the same sweep."""
    return ReportFiles(_page(views, manifest), _picture(views, manifest))


def headline(views: Sequence[MarketView]) -> str:
    """What came out, in a sentence."""
    sure = [view.symbol for view in views if view.verdict and view.verdict["significant"]]
    if not sure:
        return (
            "The best configuration may be luck"
            if len(views) == 1
            else "Every best configuration may be luck"
        )
    if len(views) == 1:
        return "The best configuration is more than luck, as far as these prices tell"
    return f"More than luck, as far as these prices tell: {', '.join(sure[:4])}"


def _about(views: Sequence[MarketView]) -> str:
    configurations = len(views[0].table)
    symbols = ", ".join(view.symbol for view in views[:4]) + (
        f" and {len(views) - 4} more" if len(views) > 4 else ""
    )
    ruined = sum(int(np.count_nonzero(pictures.numbers(view.table, "ruined"))) for view in views)
    said = f"; {ruined:,d} ended ruined and stand last" if ruined else ""
    return (
        f"{configurations:,d} configurations over {symbols}, by {views[0].objective.replace('_', ' ')}{said}"
    )


def _page(views: Sequence[MarketView], manifest: Mapping[str, Any]) -> str:
    return template("sweep.html").render(
        title=title_of(manifest),
        headline=headline(views),
        about=_about(views),
        views=[_shown(view) for view in views],
        provenance=list(leaves(manifest)),
    )


def _shown(view: MarketView) -> dict[str, Any]:
    figures = tuple(dict.fromkeys((view.objective, *_SHOWN)))
    order = np.argsort(pictures.numbers(view.table, "rank"))[:_BEST]
    rows = [
        [_place(row), *(row[name] for name in view.names), *(_figure(row[name]) for name in figures)]
        for row in view.table.take(order).to_pylist()
    ]
    rows.append(
        ["held", *("" for _ in view.names), *(_figure(view.buy_and_hold.get(name), "") for name in figures)]
    )
    return {
        "symbol": view.symbol,
        "objective": view.objective,
        "configurations": f"{len(view.table):,d}",
        "names": view.names,
        "figures": figures,
        "rows": rows,
        "trades": trades_view(view.trades),
        "verdict": view.verdict,
        "out_of_sample": view.out_of_sample,
        "year": _year(view),
        "folds": None if view.folds is None else _fold_rows(view.folds),
        "charts": [
            {"title": title, "note": note, "svg": charts.svg((_WIDTH, high), draw)}
            for title, note, high, draw in _charts(view)
        ],
    }


def _year(view: MarketView) -> str:
    """What annual figures rest on."""
    a_year = view.table["periods_per_year"][0].as_py()
    return "" if a_year is None else f" A year is {a_year:,.6g} periods ({view.calendar})."


def _place(row: Mapping[str, Any]) -> str:
    return f"{row['rank']:,d}{' (ruined)' if row['ruined'] else ''}"


def _charts(view: MarketView) -> list[tuple[str, str, float, Draw]]:
    """Title, note, height in inches and how to draw it, of every chart that says something."""
    found: list[tuple[str, str, float, Draw]] = []
    if view.curves:
        found.append(
            ("Equity", "The best, and holding; the initial cash is 1.", 3.2,
             lambda figure: pictures.draw_curves(figure.subplots(), view.curves, view.names, view.table))
        )  # fmt: skip
    pairs = pictures.telling_pairs(view.table, view.varied, view.objective)
    if pairs:
        found.append(
            ("Where it is good", "The best over what is not shown: better good among good places than a peak.",
             3.2 * len(pairs), lambda figure: pictures.draw_maps(figure, view.table, pairs, view.objective))
        )  # fmt: skip
    if len(view.varied) > 2:
        found.append(
            ("Parameters together", "Each line is a configuration; the darker, the better.", 3.0,
             lambda figure: pictures.draw_parallel(figure.subplots(), view.table, view.varied, view.objective))
        )  # fmt: skip
    if len(view.table) > 1:
        found.append(
            ("All configurations", "How many came to what; the best and holding are marked.", 3.4,
             lambda figure: pictures.draw_spread(figure, view.table, view.objective, view.buy_and_hold))
        )  # fmt: skip
    if view.folds is not None:
        folds = view.folds
        found.append(
            ("Out of sample", "What was chosen, in training and in the test, and what it earned there.",
             4.2, lambda figure: pictures.draw_folds(figure, folds))
        )  # fmt: skip
    return found


def _fold_rows(folds: pa.Table) -> list[list[Any]]:
    return [
        [
            row["fold"], str(row["test_from"])[:16], str(row["test_to"])[:16], row["configuration"],
            _figure(row["train"]), _figure(row["test"]), f"{row['test_return']:+.2%}", f"{row['beaten']:.0%}",
        ]
        for row in folds.slice(0, _MOST_FOLDS).to_pylist()
    ]  # fmt: skip


def _figure(value: Any, otherwise: str = "—") -> str:
    if value is None:
        return otherwise
    return f"{value:,d}" if isinstance(value, int) else f"{value:,.4g}"


def _picture(views: Sequence[MarketView], manifest: Mapping[str, Any]) -> bytes:
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    view = views[0]
    drawn = _charts(view)
    said = [view.verdict["sentence"]] if view.verdict else []
    if view.out_of_sample is not None:
        said.append(f"Out of sample: {view.out_of_sample}.")
    out = io.BytesIO()
    with charts.style(_PAPER_INK):
        heights = [1.9, *(high for *_, high, _ in drawn)]
        figure = Figure(figsize=(9.0, sum(heights) + 0.6), layout="constrained", facecolor="white")
        parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        at = 0.95
        blocks = [(13.0, title_of(manifest)), (9.0, _about(views)), (12.0, headline(views))]
        blocks += [(9.0, one) for one in said]
        for size, text in blocks:
            for line in wrap(charts.plain(text), int(1100 / size)):
                parts[0].text(0.02, at, line, fontsize=size, color=_PAPER_INK, va="top")
                at -= size * 0.0098
            at -= 0.03
        for part, (*_, draw) in zip(parts[1:], drawn, strict=True):
            draw(part)
        figure.savefig(out, format="png", dpi=100, metadata={"Software": None})
    return out.getvalue()
