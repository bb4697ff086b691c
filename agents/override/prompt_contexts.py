"""From what was found about a signal to what a model is told about it."""

import numpy as np

from raysignal.agents.llm.prompt_context import Precedent, PromptContext, ReviewContext
from raysignal.agents.override.agent import MemoryLookup, Override
from raysignal.agents.override.precedents import PrecedentTable
from raysignal.agents.override.review_context import review_context_of
from raysignal.agents.override.situations import Situations, shown_name
from raysignal.engine.core.arrays import Float64Array
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import LookAhead


def prompt_context_of(
    agent: Override, batch: SignalBatch, taken: MemoryLookup, row: int, ids: "IdsOf", shown: PrecedentTable
) -> PromptContext:
    """The prompt context of one signal that a model is asked about.

    Args:
        agent: which took the batch.
        batch: the n signals.
        taken: what was found about them.
        row: which of them.
        ids: the ids of past signals by their place in the stream.
        shown: the precedents of the n signals.
    """
    signal = batch.signal(row)
    return PromptContext(
        signal_id=signal.signal_id,
        symbol=signal.symbol,
        timestamp_us=signal.timestamp_us,
        action=int(signal.action),
        price=signal.price,
        numbers=standardised(taken.situations, row),
        categories=agent.encoder.describe(taken.situations, row),
        texts={name: value for name, value in signal.features.items() if isinstance(value, str)},
        statistics={name: float(values[row]) for name, values in statistics_of(taken).items()},
        precedents=_precedents(shown, row, ids),
        allowed=taken.questions.allowed(row),
        review=_review(agent, taken, row),
    )


def statistics_of(taken: MemoryLookup) -> dict[str, Float64Array]:
    """What the evidence and the ruling say about n signals, n values a name; not finite where there is nothing."""
    evidence, ruling = taken.evidence, taken.ruling
    approve, flip, hold = ruling.expected_bps.T
    return {
        "precedents_used": evidence.used.astype(np.float64),
        "precedents_effective": evidence.effective,
        "p_right": evidence.p_right,
        "p_right_without_knowledge": evidence.share,
        "p_worse_than_drift": ruling.p_worse,
        "expected_net_bps_approve": approve,
        "expected_net_bps_flip": flip,
        "expected_net_bps_hold": hold,
    }


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

    def find(self, signal_id: str) -> int | None:
        """The place of a signal; None: none of this id was told."""
        try:
            return self._ids.index(signal_id)
        except ValueError:
            return None


def standardised(situations: Situations, row: int) -> dict[str, float]:
    """The numbers that one row has, in standard deviations, as far as they could be measured then, by name."""
    given = {*situations.number_names, *situations.label_names}
    there = (situations.scale[row] > 0.0) & ~np.isnan(situations.numbers[:, row])
    return {
        shown_name(situations.number_names[place], given): round(float(situations.standard[place, row]), 3)
        for place in np.flatnonzero(there).tolist()
    }


def _review(agent: Override, taken: MemoryLookup, row: int) -> ReviewContext | None:
    if agent.rules.review is None:
        return None
    return review_context_of(agent, taken.situations, row, taken.first + row)


def _precedents(shown: PrecedentTable, row: int, ids: IdsOf) -> tuple[Precedent, ...]:
    columns = (shown.ordinal, shown.side, shown.right, shown.net_bps, shown.age_s, shown.distance)
    told = (column[row, : shown.count[row]].tolist() for column in columns)
    return tuple(
        Precedent(ids[ordinal], side, right, (net[0], net[1], net[2]), age_s, distance)
        for ordinal, side, right, net, age_s, distance in zip(*told, strict=True)
    )
