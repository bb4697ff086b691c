"""The report of a training: whether anything is shown out of sample, in words, tables and pictures."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from raysignal.engine.core.arrays import Float64Array, Int64Array
from raysignal.experiments import charts
from raysignal.experiments.report import leaves, template, title_of
from raysignal.experiments.training.evaluation import TrainingFindings, sentence

_SIZE = (6.0, 3.2)
_LEARNING = "A round's episodes, in standard deviations of a bar's return; a line a seed. Costs grow until the middle."
_COLOURS = {"policy": "#2f7fd1", "holding": "#8a8f98", "random timing": "#c0529b", "the best SMA": "#d9822b"}


def make_training_report(
    findings: TrainingFindings, manifest: Mapping[str, Any], at_us: Int64Array, earned: Sequence[Float64Array]
) -> str:
    """The page.

    Args:
        findings: what came out.
        manifest: as in manifest.json.
        at_us: int64[n], the bars out of sample.
        earned: of each seed, what its rounds of training earned.
    """
    metrics, bars = findings.metrics, findings.metrics["bars"]
    drawn = [
        ("Accounts out of sample", "The beginning is 1; the thin lines are the seeds.",
         lambda figure: _draw_accounts(figure.subplots(), findings.returns, at_us)),
        ("Learning", _LEARNING, lambda figure: _draw_learning(figure.subplots(), earned)),
    ]  # fmt: skip
    return template("training.html").render(
        title=title_of(manifest),
        headline=sentence(metrics),
        about=f"{len(metrics['seeds'])} seeds, trained on {bars['trained']:,d} bars of {metrics['symbol']} and looked "
        f"at on the {bars['tested']:,d} at the end.",
        metrics=metrics,
        charts=[
            {"title": title, "note": note, "svg": charts.svg(_SIZE, draw)} for title, note, draw in drawn
        ],
        provenance=list(leaves(manifest)),
    )


def _draw_accounts(axes: Any, returns: Mapping[str, Float64Array], at_us: Int64Array) -> None:
    instants = [datetime.fromtimestamp(stamp / 1e6, UTC) for stamp in at_us.tolist()]
    for name, values in returns.items():
        level = np.asarray(np.cumprod(1.0 + values), np.float64)
        rows = charts.visible(level)
        across = [instants[row] for row in rows]
        if name in _COLOURS:
            axes.plot(across, level[rows], color=_COLOURS[name], linewidth=1.4, label=name)
        elif name.startswith("seed "):
            axes.plot(across, level[rows], color=_COLOURS["policy"], linewidth=0.6, alpha=0.4)
    axes.grid(visible=True)
    axes.legend(frameon=False)
    charts.in_time(axes)


def _draw_learning(axes: Any, earned: Sequence[Float64Array]) -> None:
    for values in earned:
        axes.plot(np.arange(1, len(values) + 1), values, color=_COLOURS["policy"], linewidth=0.8, alpha=0.6)
    axes.set_xlabel("round")
    axes.grid(visible=True)
