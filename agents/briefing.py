"""From what was found about a signal to what a model is told about it."""

import numpy as np

from agents.briefs import Brief, Precedent
from agents.memory import places_of
from agents.override import Override, Taken
from engine.columns import SignalBatch
from engine.digests import Floats, Ints
from engine.errors import LookAhead

PRECEDENTS = 8
"""So many of the nearest past signals are shown."""


def brief_of(agent: Override, batch: SignalBatch, taken: Taken, row: int, ids: "IdsOf") -> Brief:
    """The brief about one signal that the gate left grey.

    Args:
        agent: which took the batch.
        batch: the n signals.
        taken: what was found about them.
        row: which of them.
        ids: the ids of past signals by their place in the stream.
    """
    signal = batch.signal(row)
    evidence, ruling = taken.evidence, taken.ruling
    expected = ruling.expected_bps[row]
    return Brief(
        signal_id=signal.signal_id,
        symbol=signal.symbol,
        timestamp_us=signal.timestamp_us,
        action=int(signal.action),
        price=signal.price,
        numbers=_standardised(taken, row),
        categories=agent.encoder.describe(taken.situations, row),
        texts={name: value for name, value in signal.features.items() if isinstance(value, str)},
        statistics={
            "precedents_used": float(evidence.used[row]),
            "precedents_effective": float(evidence.effective[row]),
            "p_right": float(evidence.p_right[row]),
            "p_right_without_knowledge": float(evidence.share[row]),
            "p_worse_than_drift": float(ruling.p_worse[row]),
            "expected_net_bps_approve": float(expected[0]),
            "expected_net_bps_flip": float(expected[1]),
            "expected_net_bps_hold": float(expected[2]),
        },
        precedents=_precedents(agent, taken, row, ids),
        allowed=ruling.allowed(row),
    )


class IdsOf:
    """The ids of a stream's signals by their place, as far as they were told."""

    __slots__ = ("_ids",)

    def __init__(self) -> None:
        self._ids: list[str] = []

    def add(self, first: int, batch: SignalBatch) -> None:
        """Tell the ids of the next signals.

        Raises:
            LookAhead: they do not go on from the last ones.
        """
        if first != len(self._ids):
            raise LookAhead(f"ids from place {first} on were told where {len(self._ids)} are known")
        self._ids += batch.signal_id.to_list()

    def __getitem__(self, ordinal: int) -> str:
        return self._ids[ordinal]


def _standardised(taken: Taken, row: int) -> dict[str, float]:
    situations = taken.situations
    return {
        name.lstrip("\0"): round(float(value), 3)
        for name, value, scale in zip(
            situations.number_names, situations.standard[:, row], situations.scale[row], strict=True
        )
        if scale > 0.0
    }


def _precedents(agent: Override, taken: Taken, row: int, ids: IdsOf) -> tuple[Precedent, ...]:
    """The nearest of the neighbours that the evidence rests on, the nearest first."""
    memory = agent.memory
    neighbours = taken.evidence.neighbours[row]
    neighbours = neighbours[neighbours >= 0]
    distances = _apart(agent, taken, row, neighbours)
    nearest = np.lexsort((neighbours, distances))[:PRECEDENTS]
    chosen = neighbours[nearest]
    ages = (memory.timestamp_us[taken.first + row] - memory.timestamp_us[chosen]) / 1e6
    columns = (chosen, memory.side[chosen], memory.move_bps[chosen], memory.net_bps[chosen], ages)
    shown = []
    for ordinal, side, move, net, age_s, distance in zip(
        *(column.tolist() for column in columns), distances[nearest].tolist(), strict=True
    ):
        shown.append(
            Precedent(
                id=ids[ordinal],
                action=side,
                right=side * move > 0.0,
                net_bps=(net[0], net[1], net[2]),
                age_s=age_s,
                distance=distance,
            )
        )
    return tuple(shown)


def _apart(agent: Override, taken: Taken, row: int, ordinals: Ints) -> Floats:
    """How far past signals are, in standard deviations a number (root mean square), all numbers alike."""
    situations = taken.situations
    places = places_of(situations.number_names, agent.memory.number_names)
    scale = situations.scale[row].astype(np.float64)
    off = agent.memory.numbers[np.ix_(places, ordinals)] - situations.numbers[:, row, None]
    squares = np.square(off * scale[:, None])
    told = ~np.isnan(squares) & (scale[:, None] > 0.0)
    total = np.where(told, squares, 0.0).sum(axis=0)
    apart: Floats = np.round(np.sqrt(total / np.maximum(told.sum(axis=0), 1)), 3)
    return apart
