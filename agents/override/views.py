"""What is shown of the agent: the comparison with the primary portfolio, and how often signals were right."""

from typing import Any

import numpy as np

from raysignal.agents.labels import CategoryColumn
from raysignal.agents.override.accuracy import Accuracy, accuracy
from raysignal.agents.override.follower import Follower
from raysignal.agents.override.intervals import mean_interval
from raysignal.agents.override.memory import places_of
from raysignal.agents.override.ranges import hours_of, numbers_by_third
from raysignal.agents.override.words import latest_rows, rows_by_word
from raysignal.agents.verdicts import Verdict
from raysignal.engine.core.arrays import Float64Array, Int64Array

LATEST = 100_000
"""Figures that are estimated anew each time rest on so many of the latest signals."""


def compared(follower: Follower) -> dict[str, Any]:
    """The paired difference between both portfolios, and what overruling brought, over the rows both have.

    Returns:
        `signals`; `difference`: the mean difference of the returns per signal; `uplift`: the mean of what each
        judged signal earned as decided less what it would have earned approved; `overruled`: how many signals,
        by verdict, and how many of them are judged.
    """
    rows = follower.shown.rows
    verdict = follower.past.verdict.values[:rows]
    judged = settled_rows(follower)
    told = verdict[judged]
    net = follower.decider.agent.memory.net_bps[judged]
    gained = net[np.arange(len(judged)), told] - net[:, Verdict.APPROVE]
    overruled = told != Verdict.APPROVE
    return {
        "signals": rows,
        "difference": _mean(follower.past.difference.values[:rows][-LATEST:] * 1e4),
        "uplift": _mean(gained[-LATEST:]),
        "overruled": {
            kind.name.lower(): int(np.count_nonzero(verdict == kind)) for kind in (Verdict.FLIP, Verdict.HOLD)
        }
        | {"judged": int(np.count_nonzero(overruled))},
    }


def accuracy_of(follower: Follower) -> Accuracy:
    """How often signals were right, by source, symbol, side, regime, hour, category, range and word.

    As of the last row: only outcomes that were known then are counted.
    """
    memory, encoder = follower.decider.agent.memory, follower.decider.agent.encoder
    rows = follower.shown.rows
    start = max(0, rows - LATEST)
    judged = np.zeros(rows, np.bool_)
    judged[settled_rows(follower)] = True
    part = slice(start, rows)
    dimensions = {
        "symbol": CategoryColumn(memory.symbol[part], tuple(encoder.symbols())),
        "hour": hours_of(memory.timestamp_us[part]),
    }
    numbers = {
        name: memory.numbers[place, part].astype(np.float64) + first
        for name, first in encoder.first_values().items()
        for place in places_of((name,), memory.number_names)
    }
    dimensions |= {f"range.{name}": thirds for name, thirds in numbers_by_third(numbers).items()}
    for name, labels in follower.past.dimensions().items():
        dimensions[name] = CategoryColumn(labels.codes[part], labels.names)
    looked_at = latest_rows(judged[part])
    texts = [follower.past.texts[row] for row in (start + looked_at).tolist()]
    words = rows_by_word(texts, looked_at, dimensions.values())
    side = memory.side[part]
    return accuracy(
        memory.action[part].copy(), side * memory.move_bps[part], memory.net_bps[part, Verdict.APPROVE],
        judged[part], memory.symbol[part], dimensions, words,
    )  # fmt: skip


def settled_rows(follower: Follower) -> Int64Array:
    """int64[m], the rows whose outcome was known at the last row, in their order."""
    memory, shown = follower.decider.agent.memory, follower.shown
    if not shown.rows:
        return np.zeros(0, np.int64)
    settled: Int64Array = memory.queue[: shown.settled]
    known = memory.known_at_us[settled] <= memory.timestamp_us[shown.rows - 1]
    return np.sort(settled[known])


def _mean(bps: Float64Array) -> dict[str, Any]:
    """A mean of dependent values, bp, with its 95 % interval; None where there is no number."""
    found = mean_interval(bps).as_dict()
    return {
        "mean_bps": found["estimate"],
        "low_bps": found["low"],
        "high_bps": found["high"],
        "n": found["n"],
    }
