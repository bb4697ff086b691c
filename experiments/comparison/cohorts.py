"""The cohorts of an experiment: how often the stream's own signals were right, by every dimension it has."""

import numpy as np

from raysignal.agents.labels import CategoryColumn
from raysignal.agents.override.accuracy import Accuracy, accuracy
from raysignal.agents.override.ranges import hours_of
from raysignal.agents.verdicts import Verdict
from raysignal.engine.core.arrays import Float64Array
from raysignal.experiments.comparison.results import SignalStream


def accuracy_of(stream: SignalStream) -> Accuracy:
    """The accuracy of the signals as they came, by side, source, symbol, regime, hour, category and range.

    Right is where the market followed, whether or not the policy opens a trade there: a SELL of long-flat earns nothing
    and can be right.
    """
    dimensions = dimensions_of(stream)
    return accuracy(
        stream.side,
        np.asarray(stream.side * move_bps(stream), np.float64),
        stream.net_bps[:, Verdict.APPROVE],
        stream.judged,
        dimensions["symbol"].codes,
        dimensions,
    )


def move_bps(stream: SignalStream) -> Float64Array:
    """How far the price went over each signal's horizon, bp, float64[n]; NaN where it is not judged.

    It is what the verdict that buys earns before costs, a flip where the signal is a SELL.
    """
    return np.where(
        stream.action > 0, stream.gross_bps[:, Verdict.APPROVE], stream.gross_bps[:, Verdict.FLIP]
    )


def dimensions_of(stream: SignalStream) -> dict[str, CategoryColumn]:
    """What cohorts are told apart by beside the side: a name a row and dimension."""
    return {
        "source": CategoryColumn(stream.source.astype(np.int32, copy=False), tuple(stream.sources)),
        "symbol": CategoryColumn(stream.symbol.astype(np.int32, copy=False), tuple(stream.symbols)),
        "regime": stream.regimes,
        "hour": hours_of(stream.timestamp_us),
        **{f"category.{name}": labels for name, labels in sorted(stream.category.items())},
        **{f"range.{name}": labels for name, labels in sorted(stream.ranges.items())},
    }
