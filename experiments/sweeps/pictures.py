"""The charts of a sweep, drawn on figures and axes that are handed in; see `experiments.charts`."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from raysignal.engine.core.arrays import Float64Array
from raysignal.experiments.charts import INK, in_time, label, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PALETTE = ("#2f7fd1", "#d9822b", "#1d9a6c", "#c0529b", "#8a63d2")
_HELD = "#8a8f98"
_MOST_PAIRS = 3
_MOST_CELLS = 60  # values of an axis that a map shows
_MOST_LINES = 300
_MANY_TIMES = 10.0  # from here on a line needs a logarithmic scale


def numbers(table: pa.Table, name: str) -> Float64Array:
    """A column as floats, NaN where there is nothing."""
    values: Float64Array = table[name].combine_chunks().to_numpy(zero_copy_only=False).astype(np.float64)
    return values


def telling_pairs(table: pa.Table, varied: Sequence[str], objective: str) -> list[tuple[str, str]]:
    """The pairs of axes whose values matter most to the objective, by what they explain of it."""
    if len(varied) < 2:
        return []
    values = numbers(table, objective)
    telling = {name: _told(table, name, values) for name in varied}
    pairs = sorted(combinations(varied, 2), key=lambda pair: -(telling[pair[0]] + telling[pair[1]]))
    return pairs[:_MOST_PAIRS]


def draw_maps(figure: "Figure", table: pa.Table, pairs: Sequence[tuple[str, str]], objective: str) -> None:
    """The best value of the objective for each pair of values, a map a pair of axes."""
    values = numbers(table, objective)
    for axes, (across, up) in zip(figure.subplots(len(pairs), 1, squeeze=False)[:, 0], pairs, strict=True):
        columns, x = _codes(table, across)
        lines, y = _codes(table, up)
        best = np.full((len(lines), len(columns)), -np.inf)
        known = ~np.isnan(values)
        np.maximum.at(best, (y[known], x[known]), values[known])
        shown = np.where(np.isinf(best), np.nan, best)
        picture = axes.imshow(shown, origin="lower", aspect="auto", cmap="viridis", interpolation="nearest")
        _ticks(axes.set_xticks, columns)
        _ticks(axes.set_yticks, lines)
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        figure.colorbar(picture, ax=axes, label=objective.replace("_", " "))


def draw_parallel(axes: "Axes", table: pa.Table, varied: Sequence[str], objective: str) -> None:
    """Lines through the values of each axis, for the best and a sample of the others."""
    ranks = numbers(table, "rank")
    order = np.argsort(ranks)
    step = max(1, len(order) // _MOST_LINES)
    chosen = order[::step][::-1]
    heights = []
    for name in varied:
        names, codes = _codes(table, name, whole=True)
        heights.append(codes[chosen] / max(1, len(names) - 1))
        place = len(heights) - 1
        for end, at in ((0, -0.06), (-1, 1.06)):
            axes.text(place, at, label(str(names[end])), ha="center", va="center", fontsize=8)
    good = 1.0 - (ranks[chosen] - 1.0) / max(1, len(order) - 1)
    for lane, share in zip(np.array(heights).T, good, strict=True):
        axes.plot(range(len(varied)), lane, color=_PALETTE[0], alpha=0.04 + 0.6 * share**4, linewidth=1.0)
    axes.set_xticks(range(len(varied)), [label(name) for name in varied])
    axes.set_yticks([])
    axes.set_ylim(-0.12, 1.12)
    axes.spines["left"].set_visible(False)
    del objective


def draw_spread(figure: "Figure", table: pa.Table, objective: str, held: Mapping[str, Any]) -> None:
    """Histograms of the objective and of the largest drawdown."""
    names = list(dict.fromkeys((objective, "max_drawdown")))
    best = int(np.argmin(numbers(table, "rank")))
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        values = numbers(table, name)
        known = values[~np.isnan(values)]
        if len(known):
            axes.hist(known, bins=min(60, max(5, int(np.sqrt(len(known)) * 2))), color=_PALETTE[0], alpha=0.7)
        for value, colour, what in ((values[best], _PALETTE[1], "best"), (held.get(name), _HELD, "held")):
            if value is not None and np.isfinite(value):
                axes.axvline(value, color=colour, linewidth=1.6, label=what)
        axes.set_title(name.replace("_", " "))
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8)


def draw_folds(figure: "Figure", folds: pa.Table) -> None:
    """Training against test, and what the choices earned one after the other."""
    upper, lower = figure.subplots(2, 1)
    places = np.arange(len(folds))
    for name, colour in (("train", _HELD), ("test", _PALETTE[0])):
        upper.plot(
            places, numbers(folds, name), "o-", color=colour, markersize=3.5, linewidth=1.0, label=name
        )
    upper.axhline(0.0, color=INK, linewidth=0.6)
    upper.legend(frameon=False, fontsize=8)
    upper.set_title("In training and in the test")
    grown = np.cumprod(1.0 + np.nan_to_num(numbers(folds, "test_return")))
    lower.step(np.arange(len(grown) + 1), np.concatenate([[1.0], grown]), color=_PALETTE[0], where="post")
    lower.axhline(1.0, color=INK, linewidth=0.6)
    lower.set_title("Equity of what was chosen, test after test")
    lower.set_xlabel("fold")


def draw_curves(axes: "Axes", curves: Sequence[pa.Table], names: Sequence[str], table: pa.Table) -> None:
    """Equity of the best over their beginnings, beside the price over its own."""
    first = curves[0]
    close, stamps = numbers(first, "close"), _instants(first)
    rows = visible(close)
    axes.plot(stamps[rows], close[rows] / close[0], color=_HELD, linewidth=1.0, label="held")
    for curve, colour in zip(curves, _PALETTE * len(curves), strict=False):
        equity, stamps = numbers(curve, "equity"), _instants(curve)
        number = curve["configuration"][0].as_py()
        row = table.slice(number, 1).to_pylist()[0]
        said = " / ".join(str(row[name]) for name in names)
        rows = visible(equity)
        axes.plot(stamps[rows], equity[rows] / equity[0], color=colour, linewidth=1.1, label=label(said))
    levels = np.concatenate([close / close[0], *(_over_its_beginning(curve) for curve in curves)])
    if levels.min() > 0.0 and levels.max() > _MANY_TIMES * levels.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _place: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda _value, _place: "")
    axes.legend(frameon=False, fontsize=8, title=label(" / ".join(names)), title_fontsize=8)
    axes.grid(visible=True)
    in_time(axes)


def _over_its_beginning(curve: pa.Table) -> Float64Array:
    equity = numbers(curve, "equity")
    level: Float64Array = equity / equity[0]
    return level


def _instants(curve: pa.Table) -> Any:
    return curve["timestamp"].combine_chunks().to_numpy(zero_copy_only=False).astype("datetime64[us]")


def _told(table: pa.Table, name: str, values: Float64Array) -> float:
    """The share of the variance that the means of an axis's values have."""
    names, codes = _codes(table, name, whole=True)
    known = ~np.isnan(values)
    if known.sum() < 2 or values[known].var() <= 0.0:
        return 0.0
    counts = np.bincount(codes[known], minlength=len(names))
    means = np.bincount(codes[known], values[known], minlength=len(names)) / np.maximum(counts, 1)
    return float(np.sum(counts * (means - values[known].mean()) ** 2) / (known.sum() * values[known].var()))


def _codes(
    table: pa.Table, name: str, *, whole: bool = False
) -> tuple[list[Any], np.ndarray[Any, np.dtype[np.intp]]]:
    """The values of an axis in order, and each row's place among them; many neighbours as one."""
    column = table[name].combine_chunks().to_pylist()
    names = sorted(set(column), key=lambda value: (isinstance(value, str), value))
    places = {value: place for place, value in enumerate(names)}
    codes = np.array([places[value] for value in column], np.intp)
    if whole or len(names) <= _MOST_CELLS:
        return names, codes
    step = -(-len(names) // _MOST_CELLS)
    return names[::step], codes // step


def _ticks(put: Any, values: Sequence[Any]) -> None:
    step = -(-len(values) // 10)
    places = range(0, len(values), step)
    put(places, [label(str(values[place])) for place in places])
