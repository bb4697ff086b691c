"""The override agent over a stream of signals: situations, outcomes, memory, evidence, ruling, in one order.

`Override.take` does for the next n signals what it would have done for each alone: however the stream is cut
into calls, the decisions are the same, and nothing that comes later changes them. What a model is to be asked
about is left grey here; the answer never feeds back into the memory, because every signal is scored for every
verdict whatever was decided.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numba import njit

from raysignal.agents.override.evidence import Evidence, EvidenceEstimator, NeighbourSearch, RecallOptions
from raysignal.agents.override.gate import GateRules, Ruling, rule
from raysignal.agents.override.memory import WINDOW, OutcomeMemory
from raysignal.agents.override.outcomes import Horizon, Outcomes, Settler
from raysignal.agents.override.payoff import VerdictPayoff
from raysignal.agents.override.reviewer import ModelQuestions, Reviewer, ReviewRules
from raysignal.agents.override.situations import Encoder, Situations
from raysignal.agents.override.texts import Embedder, HashedNgrams, TextScores
from raysignal.engine.core.arrays import BoolArray, Float64Array, Int64Array, UInt64Array
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import LookAhead
from raysignal.engine.core.policy import Policy


@dataclass(frozen=True, slots=True)
class AgentRules:
    """All that decides what the agent does, the model apart.

    Attributes:
        horizon: over which signals are scored.
        recall: how the memory is asked.
        gate: when the gate speaks.
        window: past signals that are searched.
        review: what a reviewer is asked beside the gate; None: a model is asked about what the gate leaves grey.
        texts: whether free texts are compared, by what such texts told so far (`agents.override.texts`).
    """

    horizon: Horizon = field(default_factory=Horizon)
    recall: RecallOptions = field(default_factory=RecallOptions)
    gate: GateRules = field(default_factory=GateRules)
    window: int = WINDOW
    review: ReviewRules | None = None
    texts: bool = True


@dataclass(frozen=True, slots=True)
class MemoryLookup:
    """What was found about n signals.

    Attributes:
        first: the first one's place in the stream.
        situations, evidence, ruling, questions: of the n signals.
        outcomes: what the n rows settled, of these signals and of earlier ones.
    """

    first: int
    situations: Situations
    evidence: Evidence
    ruling: Ruling
    questions: ModelQuestions
    outcomes: Outcomes


class Override:
    """The agent's state over one stream.

    Args:
        policy: the portfolio's fill and cost model.
        rules: see `AgentRules`.
        shuffle: a seed; then each signal is given the move of a random earlier one, up or down as a coin falls, so
            that neither situations nor times tell anything: a control. Without the coin, a dealt memory would
            still know that of late most signals were wrong.
        search: see `EvidenceEstimator`.
        embedder: of free texts; None: hashed n-grams.
    """

    __slots__ = (
        "_estimator", "_pool", "_reviewer", "_settler", "_shuffle", "_texts", "encoder", "memory", "payoff", "rules",
    )  # fmt: skip

    def __init__(
        self,
        policy: Policy,
        rules: AgentRules,
        *,
        shuffle: int | None = None,
        search: NeighbourSearch | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        self.rules = rules
        self.payoff = VerdictPayoff(policy)
        self.encoder = Encoder()
        self._texts = TextScores(embedder or HashedNgrams()) if rules.texts else None
        self.memory = OutcomeMemory(rules.window)
        self._settler = Settler(policy, rules.horizon)
        self._estimator = EvidenceEstimator(rules.recall, search)
        self._reviewer = Reviewer(rules.review)
        self._shuffle = shuffle
        self._pool = _Pool()

    @property
    def count(self) -> int:
        """Signals taken so far."""
        return self.memory.count

    def take(self, batch: SignalBatch, bar: BoolArray | None = None) -> MemoryLookup:
        """Decide the next n signals, which are in time order; `bar`: see `Settler.feed`."""
        first = self.count
        situations, outcomes = self._learn(batch, bar)
        evidence = self._estimator.look(self.memory, situations)
        self._check(first, evidence)
        ruling = rule(evidence, batch.side, self.payoff, self.rules.gate)
        questions = self._reviewer.questions(batch.side, evidence, ruling)
        return MemoryLookup(first, situations, evidence, ruling, questions, outcomes)

    def learn(self, batch: SignalBatch) -> tuple[Situations, Outcomes]:
        """Take the next n signals in without deciding them: they were decided before."""
        situations, outcomes = self._learn(batch)
        self._estimator.look(self.memory, situations, search=False)
        return situations, outcomes

    def _learn(self, batch: SignalBatch, bar: BoolArray | None = None) -> tuple[Situations, Outcomes]:
        situations = self.encoder.encode(batch)
        symbol = self.encoder.codes(batch)
        ordinal = np.arange(self.count, self.count + len(batch))
        outcomes = self._settler.feed(
            ordinal, batch.timestamp_us, symbol, batch.action, batch.price, batch.order_terms(), bar=bar
        )
        counted = outcomes if self._shuffle is None else self._shuffled(outcomes, self._shuffle)
        if self._texts is not None:
            situations = self._texts.extend(
                situations, self.encoder.free_texts(batch), counted, first=self.count,
                timestamp_us=batch.timestamp_us, symbol=symbol, action=batch.side,
            )  # fmt: skip
        self.memory.add(ordinal, batch.timestamp_us, symbol, batch.side, situations)
        self.memory.settle(counted)
        return situations, outcomes

    def _shuffled(self, outcomes: Outcomes, seed: int) -> Outcomes:
        """The outcomes, each with the move of a signal that was settled before or with it, its way tossed."""
        number = self._pool.add(outcomes.move_bps)
        other = (_mixed(number, seed) % (number + 1).astype(np.uint64)).astype(np.int64)
        way = 1.0 - 2.0 * (_mixed(number, ~seed % 2**64) >> np.uint64(63)).astype(np.float64)
        move_bps = way * self._pool.moves_bps[other]
        gross, net = self.payoff.verdicts(outcomes.side, move_bps)
        return replace(outcomes, move_bps=move_bps, gross_bps=gross, net_bps=net)

    def _check(self, first: int, evidence: Evidence) -> None:
        late = _first_late(self.memory.known_at_us, self.memory.timestamp_us, first, evidence.neighbours)
        if late >= 0:
            raise LookAhead(f"the decision on signal {late} was about to rest on what was not known yet")


class _Pool:
    """The moves of all outcomes so far."""

    __slots__ = ("count", "moves_bps")

    def __init__(self) -> None:
        self.count = 0
        self.moves_bps = np.empty(0)

    def add(self, moves_bps: Float64Array) -> Int64Array:
        """Add some; int64[n], their numbers, from 0 in the order in which they became known."""
        number = np.arange(self.count, self.count + len(moves_bps))
        self.count += len(moves_bps)
        if self.count > len(self.moves_bps):
            longer = np.empty(max(1024, 2 * self.count))
            longer[: number[0]] = self.moves_bps[: number[0]]
            self.moves_bps = longer
        self.moves_bps[number] = moves_bps
        return number


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _first_late(known_at_us: Int64Array, timestamp_us: Int64Array, first: int, neighbours: Int64Array) -> int:
    """The first signal from `first` on with a neighbour that was known later than it came; -1: there is none."""
    for row in range(len(neighbours)):
        for at in range(neighbours.shape[1]):
            neighbour = neighbours[row, at]
            if neighbour >= 0 and known_at_us[neighbour] > timestamp_us[first + row]:
                return first + row
    return -1


def _mixed(number: Int64Array, seed: int) -> UInt64Array:
    """A well-mixed word for each number (the finaliser of SplitMix64; Steele et al., OOPSLA 2014)."""
    word = (number.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: UInt64Array = word ^ (word >> np.uint64(31))
    return mixed
