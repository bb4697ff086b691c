"""What the memory says about a signal, in numbers: statistics before language.

The signals most like it, as of its instant, were right or wrong. Being right is measured against the drift of
the horizon, not against 50 %: in a market that rose over three horizons of four, a BUY is right three times
of four without knowing anything. So every past signal counts with what it was right above its own side's
share of such moves so far, and the posterior of the one that asks is a Beta distribution:

    share of side s     up (or down) moves among all known outcomes of the symbol, half and half to begin with
    cohorts             how much more often signals of its source, symbol, side and regime are right than their
                        sides' shares, shrunk towards the whole (`agents.override.cohorts`), and the variance of that
    weight              prior + (1 / variance - prior) * (1 - neighbours / known)
    hits                sum over the neighbours of (right - their side's share) + n * own side's share
    posterior           Beta(weight * (share + cohorts) + hits * f, weight * (1 - share - cohorts) + (n - hits) * f)

Neighbours are of the cohorts too: what is known counts twice where they are all that is known, and so the cohorts
weigh no more than the prior then.

Neighbours whose horizons overlap tell much the same. `f = effective / n`, where `effective` is the number of
independent signals that would tell as much: n^2 / sum of the correlations between all pairs (Kish, Survey
Sampling, 1965), and the correlation at each lag is estimated from all outcomes known so far, begun with the
one that overlapping windows of a random walk have, by how many more of the signals so far apart were of one side
than of both. What the cohorts weigh beyond the prior adds to the effective number that the gate asks for.

The edge is the mean of what the neighbours' moves went their way, less the drift, in basis points; shrunk
towards that of the cohorts by their weight.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from raysignal.agents.override.cohorts import (
    OWN_EFFECTS,
    CohortEffects,
    find_effects,
    learn_effects,
    sum_effects,
)
from raysignal.agents.override.memory import OutcomeMemory, nearest, places_of
from raysignal.agents.override.relevance import Relevance, relate, weigh
from raysignal.agents.override.situations import SOURCE, Situations
from raysignal.engine.core.arrays import BoolArray, Float32Array, Float64Array, Int64Array, UInt64Array
from raysignal.engine.core.errors import InvalidField

LAGS = 32
MOST_NEIGHBOURS = 10_000
_COUNTS_FROM = 50.0  # pseudo-counts of a drift of half and half
_OVERLAP_WORTH = 50.0  # pseudo-counts of the correlation that overlapping windows have
_ONE_SIDED = 10.0  # pseudo-counts of signals that are all of one side
_SURE = 0.01  # cohorts bring no share of right signals nearer than this to none or all
_BLOCK = 4096

# What is found out about a signal: a line each.
KNOWN, USED, EFFECTIVE, SHARE, ALPHA, BETA, EDGE, ERROR, RADIUS = range(9)
_LINES = 9


@dataclass(frozen=True, slots=True)
class RecallOptions:
    """How the memory is asked.

    Attributes:
        neighbours: at most so many past signals; 1 to 10 000.
        least: at least so many, as soon as so many are known; 1 or more.
        part: between the two, this share of all that are known; 0 to 1.
        prior: what the prior weighs, in signals; above 0.
        shrinkage: cohorts and sides are taken along; False: a control, for which the prior is the side's share, and
            horizons that overlap tell the same whatever their sides. It was so, with a prior of 20.

    Raises:
        InvalidField: a value outside of these.
    """

    neighbours: int = 400
    least: int = 50
    part: float = 0.15
    prior: float = 10.0
    shrinkage: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.neighbours <= MOST_NEIGHBOURS:
            raise InvalidField("neighbours", self.neighbours, f"1 to {MOST_NEIGHBOURS}")
        if not self.least >= 1:
            raise InvalidField("least", self.least, "1 or more")
        if not 0.0 <= self.part <= 1.0:
            raise InvalidField("part", self.part, "a share from 0 to 1")
        if not 0.0 < self.prior < np.inf:
            raise InvalidField("prior", self.prior, "a finite number above 0")

    def most(self, known: int) -> int:
        """How many neighbours are taken where so many outcomes are known."""
        return min(self.neighbours, max(self.least, int(self.part * known)))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about n signals, each as of its own instant.

    Attributes:
        known: int64[n], outcomes that were known.
        used: int64[n], the neighbours among them.
        effective: float64[n], independent signals that would tell as much, by neighbours and cohorts.
        share: float64[n], how often a signal of this side is right without knowing anything.
        alpha, beta: float64[n], the posterior of being right.
        edge_bps: float64[n], how far the price is expected to go the signal's way, the drift included.
        edge_error_bps: float64[n], the standard error of that.
        radius: float64[n], the distance of the furthest neighbour.
        neighbours: int64[n, k], ordinals of the neighbours, by place in the stream; -1 behind the last.
    """

    known: Int64Array
    used: Int64Array
    effective: Float64Array
    share: Float64Array
    alpha: Float64Array
    beta: Float64Array
    edge_bps: Float64Array
    edge_error_bps: Float64Array
    radius: Float64Array
    neighbours: Int64Array

    @property
    def p_right(self) -> Float64Array:
        """float64[n], the posterior mean of being right."""
        result: Float64Array = self.alpha / (self.alpha + self.beta)
        return result


NeighbourSearch = Callable[[OutcomeMemory, Situations], Int64Array]
"""Another way to pick neighbours: int64[n, k] of the n latest signals of a memory, by place, -1 behind the last."""


class EvidenceEstimator:
    """Looks signals up in a memory, in the order of the stream, and keeps the running statistics it needs.

    Args:
        recall: how the memory is asked.
        search: picks neighbours in the place of the exact search; None: nobody does.
    """

    __slots__ = (
        "_cohorts", "_consumed", "_correlations", "_drift", "_recent", "_search", "_sides", "recall", "relevance",
    )  # fmt: skip

    def __init__(self, recall: RecallOptions, search: NeighbourSearch | None = None) -> None:
        self.recall, self._search = recall, search
        self._consumed = np.zeros(2, np.int64)  # outcomes taken in, the longest way to an exit so far
        self._drift = np.zeros((0, 4))  # a symbol: up moves, down moves, sum of moves, outcomes
        self._recent = np.zeros((0, LAGS + 1))  # a symbol: outcomes, the latest centred hits, a ring
        self._sides = np.zeros((0, LAGS))  # a symbol: their sides, a ring
        # Products by lag, their number; overlaps and their number; products of sides by lag.
        self._correlations = np.zeros((4, LAGS + 1))
        self._cohorts = CohortEffects(recall.prior)
        self.relevance = Relevance()

    def look(self, memory: OutcomeMemory, situations: Situations, *, search: bool = True) -> Evidence:
        """The evidence about the n latest signals of the memory.

        Args:
            memory: which has them; what they settled is in it already, and is seen from its own row on.
            situations: of the n signals, which go on from those of the last call.
            search: False takes the statistics along and looks for no neighbours.
        """
        n, stop = len(situations), memory.count
        first = stop - n
        missing = int(memory.symbol[first:stop].max(initial=-1)) + 1 - len(self._drift)
        if missing > 0:
            self._drift = np.concatenate([self._drift, np.zeros((missing, 4))])
            self._recent = np.concatenate([self._recent, np.zeros((missing, LAGS + 1))])
            self._sides = np.concatenate([self._sides, np.zeros((missing, LAGS))])
        self.relevance.keep_up(memory.number_names, memory.label_names)
        ask = self.recall
        table = np.zeros((_LINES, n))
        neighbours = np.full((n if search else 0, ask.neighbours), -1, np.int64)
        picked = search and self._search is not None
        if search and self._search is not None:
            neighbours = self._search(memory, situations)
        scale = situations.scale
        if n and situations.number_names != memory.number_names:
            scale = np.zeros((n, len(memory.number_names)), np.float32)
            scale[:, places_of(situations.number_names, memory.number_names)] = situations.scale
        source, cohorts = memory.label_names.index(SOURCE) if n else 0, self._cohorts
        _look(
            memory.numbers, memory.labels, memory.varies, scale, memory.timestamp_us, memory.symbol,
            memory.action, memory.known_at_us, memory.exit, memory.overlap, memory.side, memory.move_bps,
            memory.queue, memory.sequence, memory.settled, first, stop, memory.window, ask.neighbours, ask.least,
            float(ask.part), float(ask.prior), search, picked, self._consumed, self._drift, self._recent,
            self._correlations, self.relevance.by_number, self.relevance.of_texts, self.relevance.by_label, table,
            neighbours, memory.regime, source, ask.shrinkage, self._sides, cohorts.alone, cohorts.effects,
            cohorts.covariance,
        )  # fmt: skip
        return Evidence(
            known=table[KNOWN].astype(np.int64),
            used=table[USED].astype(np.int64),
            effective=table[EFFECTIVE],
            share=table[SHARE],
            alpha=table[ALPHA],
            beta=table[BETA],
            edge_bps=table[EDGE],
            edge_error_bps=table[ERROR],
            radius=table[RADIUS],
            neighbours=neighbours,
        )


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _share(drift: Float64Array, side: int) -> float:
    """How often the price went this way so far, begun with half and half."""
    went = drift[0] if side > 0 else drift[1]
    return float((went + 0.5 * _COUNTS_FROM) / (drift[3] + _COUNTS_FROM))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _mean_move(drift: Float64Array) -> float:
    return float(drift[2] / (drift[3] + _COUNTS_FROM))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _take_in(
    row: int, side: int, move: float, overlap: float, drift: Float64Array, recent: Float64Array,
    correlations: Float64Array, sequence: Int64Array, numbers: Float32Array, labels: UInt64Array, by_number:
    Float64Array, by_label: Float64Array, sides: Float64Array,
) -> None:  # fmt: skip
    """Take an outcome that became known into the running statistics."""
    hit = (1.0 if side * move > 0.0 else 0.0) - _share(drift, side)
    seen = int(recent[0])
    sequence[row] = seen
    for lag in range(min(seen, LAGS - 1) + 1):
        other = hit if lag == 0 else recent[1 + (seen - lag) % LAGS]
        correlations[0, lag] += hit * other
        correlations[1, lag] += 1.0
        correlations[3, lag] += 1.0 if lag == 0 else side * sides[(seen - lag) % LAGS]
    recent[1 + seen % LAGS], sides[seen % LAGS] = hit, side
    recent[0] = seen + 1
    relate(hit, row, numbers, labels, by_number, by_label)
    correlations[2, 0] += overlap
    correlations[2, 1] += 1.0
    drift[0] += move > 0.0
    drift[1] += move < 0.0
    drift[2] += move
    drift[3] += 1.0


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _correlation(correlations: Float64Array, by_lag: Float64Array, by_side: bool) -> tuple[int, float]:
    """Correlations between outcomes so many outcomes apart, 0 to 1; how many lags count, and how many outcomes that
    follow one another are worth one.
    """
    if correlations[2, 1] == 0.0:
        return 0, 1.0
    overlap = correlations[2, 0] / correlations[2, 1]
    lags = min(int(np.ceil(overlap)), LAGS)
    variance = correlations[0, 0] / correlations[1, 0]
    crowding = 1.0
    for lag in range(1, lags):
        worth = max(0.0, 1.0 - lag / overlap) * _OVERLAP_WORTH
        count = correlations[1, lag]
        if by_side:
            worth *= max(0.0, (correlations[3, lag] + _ONE_SIDED) / (count + _ONE_SIDED))
        own = correlations[0, lag] / count / variance if count > 0.0 and variance > 0.0 else 0.0
        found = (own * count + worth) / (count + _OVERLAP_WORTH)
        by_lag[lag] = min(1.0, max(0.0, found))
        crowding += 2.0 * found
    return lags, max(1.0, crowding)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _effective(
    found: Int64Array,
    symbol: Any,
    sequence: Int64Array,
    span: int,
    lags: int,
    by_lag: Float64Array,
    latest: Int64Array,
) -> float:
    """Kish's effective number of neighbours that are sorted by their place in the stream.

    `latest` has room for each symbol; it comes and goes filled with -1.
    """
    n = len(found)
    total = float(n)
    # The next one of the same symbol: many symbols that take turns are far apart, and few of them go together.
    following = np.empty(n, np.int64)
    for one in range(n - 1, -1, -1):
        code = symbol[found[one]]
        following[one], latest[code] = latest[code], one
    for one in range(n):
        latest[symbol[found[one]]] = -1
    for one in range(n):
        place, own = found[one], sequence[found[one]]
        other = following[one]
        while other >= 0 and found[other] - place <= span:
            apart = sequence[found[other]] - own
            if 0 < apart < lags:
                total += 2.0 * by_lag[apart]
            other = following[other]
    return n * n / total if n else 0.0


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _sum_up(
    found: Int64Array, symbol: Any, side: Any, move: Float64Array, drift: Float64Array, own_share: float
) -> tuple[float, float, float]:
    """Hits of the neighbours, the mean of their edges, and the standard deviation of these."""
    n = len(found)
    hits = 0.0
    edge = 0.0
    for at in range(n):
        row = found[at]
        own = drift[symbol[row]]
        hits += (1.0 if side[row] * move[row] > 0.0 else 0.0) - _share(own, side[row])
        edge += side[row] * (move[row] - _mean_move(own))
    edge /= n
    squares = 0.0
    for at in range(n):
        row = found[at]
        off = side[row] * (move[row] - _mean_move(drift[symbol[row]])) - edge
        squares += off * off
    spread = np.sqrt(squares / (n - 1.0)) if n > 1 else np.inf
    return min(max(hits + n * own_share, 0.0), float(n)), edge, spread


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _from_cohorts(
    own: Int64Array, effects: Float64Array, covariance: Float64Array, alone: float, share: float, prior: float,
    others: float,
) -> tuple[float, float, float]:  # fmt: skip
    """How often a signal is right by its cohorts, its edge by them, and what these weigh where so much of what is known
    is about others than its neighbours.
    """
    hits, edge, variance = sum_effects(own, effects, covariance)
    mean = min(max(share + hits, min(share, _SURE)), max(share, 1.0 - _SURE))
    return mean, edge, prior + (1.0 / (variance + alone) - prior) * others


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _look(
    numbers: Float32Array, labels: UInt64Array, varies: BoolArray, scale: Float32Array, timestamp_us: Int64Array,
    symbol: Any, action: Any, known_at_us: Int64Array, exits: Int64Array, overlap: Int64Array, side: Any, move:
    Float64Array, queue: Int64Array, sequence: Int64Array, settled: int, first: int, stop: int, window: int, most:
    int, least: int, part: float, prior: float, search: bool, picked: bool, consumed: Int64Array, drift:
    Float64Array, recent: Float64Array, correlations: Float64Array, by_number: Float64Array, of_texts: BoolArray,
    by_label: Float64Array, table: Float64Array, neighbours: Int64Array, regime: Any, source: int, shrinkage: bool,
    sides: Float64Array, alone: float, effects: Float64Array, covariance: Float64Array,
) -> None:  # fmt: skip
    block, distance = np.empty(_BLOCK, np.float32), np.empty(most, np.float32)
    own_effects, by_lag, latest = np.empty(OWN_EFFECTS, np.int64), np.zeros(LAGS), np.full(len(drift), -1)
    weights, label_weights = np.ones(len(numbers), np.float32), np.ones(len(labels), np.float32)
    query, masks = np.empty(len(numbers), np.float32), np.empty(len(labels), np.uint64)
    for row in range(first, stop):
        as_of = timestamp_us[row]
        while consumed[0] < settled:
            told = queue[consumed[0]]
            if exits[told] > row or known_at_us[told] > as_of:
                break
            code = symbol[told]
            if shrinkage:
                find_effects(regime[told], side[told], labels[source, told], code, own_effects)
                learn_effects(
                    own_effects,
                    (1.0 if side[told] * move[told] > 0.0 else 0.0) - _share(drift[code], side[told]),
                    side[told] * (move[told] - _mean_move(drift[code])),
                    _correlation(correlations, by_lag, shrinkage)[1],
                    effects,
                    covariance,
                )
            _take_in(
                told, side[told], move[told], overlap[told], drift[code], recent[code], correlations,
                sequence, numbers, labels, by_number, by_label, sides[code],
            )  # fmt: skip
            consumed[0] += 1
            consumed[1] = max(consumed[1], exits[told] - told)
        at = row - first
        own = drift[symbol[row]]
        share = _share(own, action[row])
        table[KNOWN, at], table[SHARE, at] = consumed[0], share
        table[ALPHA, at], table[BETA, at] = prior * share, prior * (1.0 - share)
        table[EDGE, at] = action[row] * _mean_move(own)
        table[ERROR, at], table[RADIUS, at] = np.inf, np.nan
        if action[row] == 0 or not search:
            continue
        k = min(most, max(least, int(part * consumed[0])))
        query[:], masks[:], found = numbers[:, row], labels[:, row], neighbours[at]
        weigh(by_number, of_texts, by_label, weights, label_weights)
        if picked:
            used, distance[:] = (found[:k] >= 0).sum(), np.nan
        else:
            used = nearest(
                numbers, labels, varies, known_at_us, exits, max(0, row - window), row, row, as_of, query, scale[at],
                masks, weights, label_weights, block, found[:k], distance[:k],
            )  # fmt: skip
        if used == 0:
            continue
        table[USED, at], table[RADIUS, at] = used, distance[:used].max()
        near = found[:used]
        weight, told_edge = prior, 0.0
        if shrinkage:
            find_effects(regime[row], action[row], labels[source, row], symbol[row], own_effects)
            mean, told_edge, weight = _from_cohorts(
                own_effects, effects, covariance, alone, share, prior, 1.0 - used / max(consumed[0], used)
            )
            table[ALPHA, at], table[BETA, at] = weight * mean, weight * (1.0 - mean)
        lags = _correlation(correlations, by_lag, shrinkage)[0]
        effective = _effective(near, symbol, sequence, consumed[1], lags, by_lag, latest)
        hits, edge, spread = _sum_up(near, symbol, side, move, drift, share)
        enough = effective + (weight - prior)
        table[EFFECTIVE, at] = enough
        table[ALPHA, at] += effective / used * hits
        table[BETA, at] += effective / used * (used - hits)
        table[EDGE, at] += (edge * effective + told_edge * weight) / (effective + weight)
        table[ERROR, at] = spread / np.sqrt(enough)
