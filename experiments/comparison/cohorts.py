"""The cohorts of an experiment: how often the stream's own signals were right, by every dimension it has."""

import numpy as np

from raysignal.agents.labels import CategoryColumn
from raysignal.agents.override.accuracy import Accuracy, accuracy
from raysignal.agents.verdicts import Verdict
from raysignal.experiments.comparison.results import SignalStream


def accuracy_of(stream: SignalStream) -> Accuracy:
    """The accuracy of the signals as they came, by side, source, symbol, regime and category.

    Right is where the market followed, whether or not the policy opens a trade there: a SELL of long-flat earns nothing
    and can be right. The move is what the verdict that buys earns before costs, a flip where the signal is a SELL.
    """
    bought = stream.gross_bps[:, [Verdict.APPROVE, Verdict.FLIP]]
    move_bps = np.where(stream.action > 0, bought[:, 0], bought[:, 1])
    dimensions = {
        "source": CategoryColumn(stream.source.astype(np.int32, copy=False), tuple(stream.sources)),
        "symbol": CategoryColumn(stream.symbol.astype(np.int32, copy=False), tuple(stream.symbols)),
        "regime": stream.regimes,
        **{f"category.{name}": labels for name, labels in sorted(stream.category.items())},
    }
    return accuracy(
        stream.action,
        np.asarray(stream.action * move_bps, np.float64),
        stream.net_bps[:, Verdict.APPROVE],
        stream.judged,
        dimensions["symbol"].codes,
        dimensions,
    )
