"""The report of a run of paths: how they spread, in words, tables and pictures."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.account import Floats
from experiments import charts
from experiments.luck.distributions import FIGURES
from experiments.report import Report, leaves, template, title_of

_WIDTH = 6.0
_BLUE, _ORANGE, _GREY = "#2f7fd1", "#d9822b", "#8a8f98"


def make_luck_report(
    metrics: Mapping[str, Any], manifest: Mapping[str, Any], figures: Floats, levels: Floats, fan: Floats
) -> Report:
    """Both forms.

    Args:
        metrics: as in metrics.json.
        manifest: as in manifest.json.
        figures: float64[paths, 4], see `FIGURES`.
        levels: some paths to be drawn, float64[some, steps].
        fan: quantiles of all paths, float64[3, steps].
    """
    drawn = [
        ("Paths", "Some of them, and the 5th, 50th and 95th of a hundred.", 3.2,
         lambda figure: _draw_fan(figure.subplots(), levels, fan)),
        ("How they spread", "Return, largest drawdown, and the longest time below a former high.", 3.0,
         lambda figure: _draw_spreads(figure, figures, metrics)),
    ]  # fmt: skip
    html = template("luck.html").render(
        title=title_of(manifest), headline=sentence(metrics), metrics=metrics,
        rows=[(name, spread) for name, spread in metrics["figures"].items()],
        charts=[
            {"title": title, "note": note, "svg": charts.svg((_WIDTH, high), draw)} for title, note, high, draw in drawn
        ],
        provenance=list(leaves(manifest)),
    )  # fmt: skip
    return Report(html, _picture(drawn, metrics, manifest))


def sentence(metrics: Mapping[str, Any]) -> str:
    """What came out."""
    drawdown = metrics["figures"]["max_drawdown"]["quantiles"]["q0.95"][0]
    returns = metrics["figures"]["total_return"]["quantiles"]
    ruin = metrics["ruin"]
    return (
        f"Of {metrics['paths']:,d} paths ({metrics['method']}), nine in ten end between {returns['q0.05'][0]:+.1%} and "
        f"{returns['q0.95'][0]:+.1%}; one in twenty falls by {drawdown:.0%} or more; {ruin['share']:.1%} fall to "
        f"{ruin['at']:.0%} of their beginning"
    )


def _draw_fan(axes: Any, levels: Floats, fan: Floats) -> None:
    steps = np.linspace(0.0, 1.0, levels.shape[1])
    axes.plot(steps, levels.T, color=_GREY, alpha=0.12, linewidth=0.7)
    axes.fill_between(steps, fan[0], fan[2], color=_BLUE, alpha=0.2, linewidth=0.0)
    axes.plot(steps, fan[1], color=_BLUE, linewidth=1.6)
    axes.axhline(1.0, color=charts.INK, linewidth=0.6)
    if (levels > 0.0).all() and levels.max() / levels.min() > 20.0:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _place: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda _value, _place: "")
    axes.set_xlabel("share of the way")
    axes.set_title("Equity over its beginning")


def _draw_spreads(figure: Any, figures: Floats, metrics: Mapping[str, Any]) -> None:
    for place, (axes, name) in enumerate(zip(figure.subplots(1, 3), FIGURES, strict=False)):
        values = figures[:, place]
        low, high = np.quantile(values, (0.0, 0.995))
        axes.hist(values[values <= high] if high > low else values, bins=40, color=_BLUE, alpha=0.7)
        axes.axvline(float(np.median(values)), color=_ORANGE, linewidth=1.4)
        axes.set_title(name.replace("_", " "))
        axes.set_yticks([])
    del metrics


def _picture(drawn: Any, metrics: Mapping[str, Any], manifest: Mapping[str, Any]) -> bytes:
    from textwrap import wrap  # noqa: PLC0415 - beside the one use

    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    out = io.BytesIO()
    with charts.style("#2b2f36"):
        figure = Figure(figsize=(9.0, 8.2), layout="constrained", facecolor="white")
        parts: Any = figure.subfigures(3, 1, height_ratios=[1.2, 3.4, 3.0])
        parts[0].text(0.02, 0.9, charts.plain(title_of(manifest)), fontsize=13, va="top")
        for place, line in enumerate(wrap(sentence(metrics), 110)):
            parts[0].text(0.02, 0.6 - 0.17 * place, line, fontsize=9.5, va="top")
        for part, (*_, draw) in zip(parts[1:], drawn, strict=True):
            draw(part)
        figure.savefig(out, format="png", dpi=100, metadata={"Software": None})
    return out.getvalue()
