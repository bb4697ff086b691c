"""What the reviewer is told about a signal beside its precedents, as of the signal's own row.

- How its numbers stand in the history so far: the share of earlier values that are lower.
- How often settled signals were right that share one thing with it: side, source, symbol, a label, or a third of a
  number's range so far. Of all that are counted, those are shown that differ most from what the side of each signal is
  without knowing anything, in standard errors; how many were counted is told beside them.

Both are of numbers that a prompt shows: a signal may have hundreds. Counts are of plain signals: where
horizons overlap, neighbours repeat each other, so intervals are too narrow. The effective number of independent
precedents stands in the statistics.
"""

import math
from collections.abc import Container

import numpy as np

from raysignal.agents.llm.prompt_context import ConditionCount, ReviewContext
from raysignal.agents.llm.prompting import FIELDS_LIMIT
from raysignal.agents.override.agent import Override
from raysignal.agents.override.memory import OutcomeMemory, places_of
from raysignal.agents.override.situations import MARK, Situations, shown_name
from raysignal.agents.verdicts import Verdict
from raysignal.engine.core.arrays import BoolArray, Float64Array, Int64Array
from raysignal.engine.core.secrets import is_secret_name

HISTORY = 2_000
"""Of so many of the latest signals standings and patterns are told."""
PATTERNS = 8
"""So many patterns are shown, at most."""
LEAST = 8
"""Settled signals without which a pattern says nothing."""
_THIRDS = ("low third", "middle third", "high third")
_ACTION = f"{MARK}action"
_SIDES = {"1": "buy", "-1": "sell"}


def review_context_of(agent: Override, situations: Situations, row: int, ordinal: int) -> ReviewContext:
    """What is told about a signal that the agent took.

    Args:
        agent: which has the signal in its memory.
        situations: of the signals that were taken together.
        row: the signal's place among these.
        ordinal: its place in the stream.
    """
    memory = agent.memory
    start = max(0, ordinal - HISTORY)
    settled = _settled(memory, start, ordinal)
    right = memory.side[settled] * memory.move_bps[settled] > 0.0
    expected = _expected(memory, settled)
    net = memory.net_bps[settled, Verdict.APPROVE]
    standings: dict[str, float] = {}
    found: list[tuple[float, ConditionCount]] = []
    counted = 0

    def count(field: str, value: str, alike: BoolArray) -> None:
        nonlocal counted
        n = int(np.count_nonzero(alike))
        if n < LEAST:
            return
        counted += 1
        hits, usual = int(np.count_nonzero(right[alike])), float(expected[alike].sum())
        spread = math.sqrt(max(usual * (1.0 - usual / n), 1e-9))
        pattern = ConditionCount(field, value, n, hits, usual / n, float(net[alike].mean()))
        found.append((abs(hits - usual) / spread, pattern))

    given = {*situations.number_names, *situations.label_names}
    words = agent.encoder.describe(situations, row, own=True)
    label_places = places_of(situations.label_names, memory.label_names)
    for at, (name, place) in enumerate(zip(situations.label_names, label_places, strict=True)):
        if name not in words or (name[:1] == MARK and ", " in words[name]):  # several sources share a bit
            continue
        value = _SIDES.get(words[name], words[name]) if name == _ACTION else words[name]
        count(shown_name(name, given), value, memory.labels[place, settled] == situations.labels[at, row])
    number_places = places_of(situations.number_names, memory.number_names)
    for at in _shown_numbers(situations, row, given):
        name, place, number = (
            situations.number_names[at],
            number_places[at],
            float(situations.numbers[at, row]),
        )
        before = memory.numbers[place, start:ordinal]
        before = before[~np.isnan(before)]
        if not len(before):  # it was known once, and long ago
            continue
        standings[shown_name(name, given)] = float(np.count_nonzero(before < number)) / len(before)
        edges = np.quantile(before, (1 / 3, 2 / 3))
        values = memory.numbers[place, settled]
        third = int(np.searchsorted(edges, number))
        count(
            shown_name(name, given),
            _THIRDS[third],
            (np.searchsorted(edges, values) == third) & ~np.isnan(values),
        )
    found.sort(key=lambda each: (-each[0], each[1].field))
    patterns = tuple(pattern for _, pattern in found[:PATTERNS])
    return ReviewContext(standings, patterns, counted, agent.rules.gate.least)


def _shown_numbers(situations: Situations, row: int, given: Container[str]) -> list[int]:
    """The places of the numbers that the row has, without those that a prompt leaves out: there may be hundreds."""
    there = np.flatnonzero((situations.scale[row] > 0.0) & ~np.isnan(situations.numbers[:, row])).tolist()
    named = sorted((shown_name(situations.number_names[at], given), at) for at in there)
    left_out = {at for _, at in [each for each in named if not is_secret_name(each[0])][FIELDS_LIMIT:]}
    return [at for at in there if at not in left_out]


def _settled(memory: OutcomeMemory, start: int, ordinal: int) -> Int64Array:
    """The rows from `start` whose outcomes were known at a row, by place in the stream."""
    rows = np.arange(start, ordinal)
    known = (memory.known_at_us[rows] <= memory.timestamp_us[ordinal]) & (memory.exit[rows] <= ordinal)
    settled: Int64Array = rows[known]
    return settled


def _expected(memory: OutcomeMemory, settled: Int64Array) -> Float64Array:
    """How often a signal of each one's side and symbol was right among all of these, float64[m]."""
    symbol, side, move = memory.symbol[settled], memory.side[settled], memory.move_bps[settled]
    codes = int(symbol.max(initial=-1)) + 1
    n = np.maximum(np.bincount(symbol, minlength=codes), 1)
    up = np.bincount(symbol, weights=move > 0.0, minlength=codes) / n
    down = np.bincount(symbol, weights=move < 0.0, minlength=codes) / n
    expected: Float64Array = np.where(side > 0, up[symbol], down[symbol])
    return expected
