"""The precedents that are shown about signals: the nearest of the neighbours that their evidence rests on.

Distances here are for people and models to read: the root mean square of how far two signals are apart in
standard deviations, all numbers alike, whatever the memory weighed them with.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from raysignal.agents.override.agent import MemoryLookup, Override
from raysignal.agents.override.memory import places_of
from raysignal.engine.core.arrays import BoolArray, Float32Array, Float64Array, Int8Array, Int64Array

PRECEDENTS = 8
"""So many of the nearest past signals are shown."""


@dataclass(frozen=True, slots=True)
class PrecedentTable:
    """The m <= `PRECEDENTS` nearest past signals of n signals, the nearest first; a row has `count` of them.

    Attributes:
        count: int64[n].
        ordinal: int64[n, m], places in the stream.
        distance: float64[n, m], rounded to thousandths.
        side: int8[n, m], 1 for BUY, -1 for SELL.
        right: bool[n, m], whether the price went that way.
        net_bps: float64[n, m, 3], what each verdict would have made of it.
        age_s: float64[n, m], seconds before the signal that asks.
    """

    count: Int64Array
    ordinal: Int64Array
    distance: Float64Array
    side: Int8Array
    right: BoolArray
    net_bps: Float64Array
    age_s: Float64Array


def shown_of(agent: Override, taken: MemoryLookup) -> PrecedentTable:
    """What is shown about the n signals that the agent took."""
    situations, memory = taken.situations, agent.memory
    n = len(situations)
    count, ordinal = np.zeros(n, np.int64), np.zeros((n, PRECEDENTS), np.int64)
    distance = np.zeros((n, PRECEDENTS))
    _nearest(
        memory.numbers, places_of(situations.number_names, memory.number_names), situations.numbers,
        situations.scale, taken.evidence.neighbours, count, ordinal, distance,
    )  # fmt: skip
    side, asked_us = memory.side[ordinal], memory.timestamp_us[taken.first : taken.first + n]
    return PrecedentTable(
        count=count,
        ordinal=ordinal,
        distance=distance,
        side=side,
        right=side * memory.move_bps[ordinal] > 0.0,
        net_bps=memory.net_bps[ordinal],
        age_s=(asked_us[:, None] - memory.timestamp_us[ordinal]) / 1e6,
    )


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _nearest(
    numbers: Float32Array, places: Int64Array, queries: Float32Array, scale: Float32Array, neighbours: Int64Array,
    count: Int64Array, ordinal: Int64Array, distance: Float64Array,
) -> None:  # fmt: skip
    """Put the nearest neighbours of each row in order; of those that are shown as equally far, the earlier first."""
    most = ordinal.shape[1]
    for row in range(len(neighbours)):
        for neighbour in neighbours[row]:
            if neighbour < 0:
                break
            total, told = 0.0, 0
            for name in range(len(places)):
                measure = float(scale[row, name])
                off = float(numbers[places[name], neighbour] - queries[name, row]) * measure
                if measure > 0.0 and not np.isnan(off):
                    total += off * off
                    told += 1
            apart = np.rint(np.sqrt(total / max(told, 1)) * 1e3) / 1e3
            at = count[row]
            if at == most:
                if not apart < distance[row, at - 1]:
                    continue
                at -= 1
            else:
                count[row] += 1
            while at > 0 and apart < distance[row, at - 1]:
                distance[row, at], ordinal[row, at] = distance[row, at - 1], ordinal[row, at - 1]
                at -= 1
            distance[row, at], ordinal[row, at] = apart, neighbour
