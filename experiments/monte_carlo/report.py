"""The report of a run of paths: how they spread, in words, tables and pictures."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from raysignal.engine.core.arrays import Float64Array
from raysignal.experiments import charts
from raysignal.experiments.monte_carlo.distributions import FIGURES
from raysignal.experiments.monte_carlo.fit import STATISTICS
from raysignal.experiments.report import ReportFiles, leaves, template, title_of

_WIDTH = 6.0
_BLUE, _ORANGE, _GREY = "#2f7fd1", "#d9822b", "#8a8f98"


def make_luck_report(
    metrics: Mapping[str, Any],
    manifest: Mapping[str, Any],
    figures: Float64Array,
    levels: Float64Array,
    fan: Float64Array,
    own: Float64Array,
) -> ReportFiles:
    """Both forms.

    Args:
        metrics: as in metrics.json.
        manifest: as in manifest.json.
        figures: float64[paths, 4], see `FIGURES`.
        levels: some paths to be drawn, float64[some, steps].
        fan: quantiles of all paths, float64[3, steps].
        own: the account as it was, float64[steps].
    """
    drawn = [
        ("Paths", "Some of them, the 5th, 50th and 95th of a hundred, and the account as it was.", 3.2,
         lambda figure: draw_fan(figure.subplots(), levels, fan, own)),
        ("How they spread",
         "Return, largest drawdown, and the longest time below a former high, each with the account as it was.", 3.0,
         lambda figure: _draw_spreads(figure, figures, metrics["own"])),
    ]  # fmt: skip
    html = template("luck.html").render(
        fit=None if metrics["fit"] is None else {
            "sentence": fit_sentence(metrics), "columns": FIT_COLUMNS, "rows": fit_rows(metrics)
        },
        title=title_of(manifest), headline=sentence(metrics), own=own_sentence(metrics), metrics=metrics,
        rows=[(name, spread) for name, spread in metrics["figures"].items()],
        charts=[
            {"title": title, "note": note, "svg": charts.svg((_WIDTH, high), draw)} for title, note, high, draw in drawn
        ],
        provenance=list(leaves(manifest)),
    )  # fmt: skip
    return ReportFiles(html, _picture(drawn, metrics, manifest))


def sentence(metrics: Mapping[str, Any]) -> str:
    """What came out."""
    figures, ruin = metrics["figures"], metrics["ruin"]
    deep = figures["max_drawdown"]["quantiles"]["q0.95"][0]
    ruined = f"{ruin['share']:.1%} fall to {ruin['at']:.0%} of their beginning"
    fall = f"one in twenty falls by {deep:.1%} or more; {ruined}."
    if metrics["equal_to_own"] == 1.0:
        drawn = f"{metrics['paths']:,d} paths ({metrics['method']})"
        return f"All {drawn} end where the account ended; {fall}"
    returns = figures["total_return"]["quantiles"]
    return (
        f"Of {metrics['paths']:,d} paths ({metrics['method']}), nine in ten end between {returns['q0.05'][0]:+.1%} and "
        f"{returns['q0.95'][0]:+.1%}; {fall}"
    )


def own_sentence(metrics: Mapping[str, Any]) -> str:
    """How the account as it was lies among the paths."""
    own, same = metrics["own"], metrics["equal_to_own"]
    began = f"The account as it was came to {own['total_return']:+.2%}"
    fell = f"it fell by {own['max_drawdown']:.1%}, and {metrics['deeper_than_own']:.0%} of the paths fall deeper."
    if metrics["method"] == "order":
        orders = f"every order of its {metrics['trades']:,d} trades"
        return f"{began}, as in {orders}: what the order changes is the way; {fell}"
    if same == 1.0:
        return f"{began}, as does every path; {fell}"
    ties = f" and {same:.0%} the same" if same > 0.0 else ""
    return f"{began}; {metrics['better_than_own']:.0%} of the paths are better{ties}; {fell}"


def fit_sentence(metrics: Mapping[str, Any]) -> str:
    """Whether the model's markets are like the source, by `STATISTICS`."""
    unmet = [STATISTICS[name] for name, each in metrics["fit"].items() if not each["met"]]
    if not unmet:
        return f"The markets of {metrics['method']} are like the source in all that is compared."
    return (
        f"The markets of {metrics['method']} are not like the source in: {'; '.join(unmet)}. What the paths show of "
        "that is the model's."
    )


def fit_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str, str, str, str, str]]:
    """A row for each of `STATISTICS`: its name, source, interval, model, where its paths lie, and whether it is met."""
    return [
        (
            STATISTICS[name], _figure(each["source"]), _interval(each["low"], each["high"]), _figure(each["model"]),
            _interval(each["model_low"], each["model_high"]), "yes" if each["met"] else "no",
        )
        for name, each in metrics["fit"].items()
    ]  # fmt: skip


FIT_COLUMNS = (
    "of a bar's log return",
    "source",
    "its 95 % interval",
    "model",
    "95 % of its paths",
    "like the source",
)


def _interval(low: float | None, high: float | None) -> str:
    return f"{_figure(low)} to {_figure(high)}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def draw_fan(axes: Any, levels: Float64Array, fan: Float64Array, own: Float64Array) -> None:
    """Paths, their 5 %, 50 % and 95 % quantiles, and the account as it was, at evenly spaced steps."""
    steps = np.linspace(0.0, 1.0, levels.shape[1])
    axes.plot(steps, levels.T, color=_GREY, alpha=0.12, linewidth=0.7)
    axes.fill_between(steps, fan[0], fan[2], color=_BLUE, alpha=0.2, linewidth=0.0, label="9 in 10")
    axes.plot(steps, fan[1], color=_BLUE, linewidth=1.6, label="median")
    axes.plot(steps, own, color=_ORANGE, linewidth=1.2, label="the account as it was")
    axes.axhline(1.0, color=charts.INK, linewidth=0.6)
    if (levels > 0.0).all() and levels.max() / levels.min() > 20.0:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _place: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda _value, _place: "")
    axes.set_xlabel("share of the way")
    axes.set_title("Equity over its beginning")


def _draw_spreads(figure: Any, figures: Float64Array, own: Mapping[str, float]) -> None:
    for place, (axes, name) in enumerate(zip(figure.subplots(1, 3), FIGURES, strict=False)):
        values = figures[:, place]
        low, high = np.quantile(values, (0.0, 0.995))
        shown = values[values <= high] if high > low else values
        # Such as the drawdowns of one losing trade in every order: they differ by rounding, which bins cannot.
        equal = np.ptp(shown) <= 1e-9 * max(1.0, abs(high))
        axes.hist(shown, bins=40, range=(low - 0.5, low + 0.5) if equal else None, color=_BLUE, alpha=0.7)
        axes.axvline(own[name], color=_ORANGE, linewidth=1.4)
        axes.set_title(name.replace("_", " "))
        axes.set_yticks([])


def _picture(drawn: Any, metrics: Mapping[str, Any], manifest: Mapping[str, Any]) -> bytes:
    from textwrap import wrap  # noqa: PLC0415 - beside the one use

    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    out = io.BytesIO()
    with charts.style("#2b2f36"):
        figure = Figure(figsize=(9.0, 8.2), layout="constrained", facecolor="white")
        parts: Any = figure.subfigures(3, 1, height_ratios=[1.2, 3.4, 3.0])
        parts[0].text(0.02, 0.9, charts.plain(title_of(manifest)), fontsize=13, va="top")
        for place, line in enumerate(wrap(f"{sentence(metrics)} {own_sentence(metrics)}", 110)):
            parts[0].text(0.02, 0.6 - 0.17 * place, line, fontsize=9.5, va="top")
        for part, (*_, draw) in zip(parts[1:], drawn, strict=True):
            draw(part)
        figure.savefig(out, format="png", dpi=100, metadata={"Software": None})
    return out.getvalue()
