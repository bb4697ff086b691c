"""The override agent over a stream of signals: situations, outcomes, memory, evidence, ruling, in one order.

`Override.take` does for the next n signals what it would have done for each alone: however the stream is cut
into calls, the decisions are the same, and nothing that comes later changes them. What a model is to be asked
about is left grey here; the answer never feeds back into the memory, because every signal is scored for every
verdict whatever was decided.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from agents.evidence import Evidence, Recall, Witness
from agents.gate import GateRules, Ruling, rule
from agents.memory import WINDOW, OutcomeMemory
from agents.outcomes import Horizon, Outcomes, Settler, Worth
from agents.situations import Encoder, Situations
from engine.columns import SignalBatch
from engine.digests import Ints, Words
from engine.errors import LookAhead
from engine.policy import Policy


@dataclass(frozen=True, slots=True)
class AgentRules:
    """All that decides what the agent does, the model apart.

    Attributes:
        horizon: over which signals are scored.
        recall: how the memory is asked.
        gate: when the gate speaks.
        window: past signals that are searched.
    """

    horizon: Horizon = field(default_factory=Horizon)
    recall: Recall = field(default_factory=Recall)
    gate: GateRules = field(default_factory=GateRules)
    window: int = WINDOW


@dataclass(frozen=True, slots=True)
class Taken:
    """What was found about n signals.

    Attributes:
        first: the first one's place in the stream.
        situations, evidence, ruling: of the n signals.
        outcomes: what the n rows settled, of these signals and of earlier ones.
    """

    first: int
    situations: Situations
    evidence: Evidence
    ruling: Ruling
    outcomes: Outcomes


class Override:
    """The agent's state over one stream.

    Args:
        policy: the portfolio's fill and cost model.
        rules: see `AgentRules`.
        shuffle: a seed; then each signal is given the outcome of a random earlier one, so that situations tell
            nothing: a control.
    """

    __slots__ = ("_pool", "_settler", "_shuffle", "_witness", "encoder", "memory", "rules", "worth")

    def __init__(self, policy: Policy, rules: AgentRules, *, shuffle: int | None = None) -> None:
        self.rules = rules
        self.worth = Worth(policy)
        self.encoder = Encoder()
        self.memory = OutcomeMemory(rules.window)
        self._settler = Settler(policy, rules.horizon)
        self._witness = Witness(rules.recall)
        self._shuffle = shuffle
        self._pool: list[Outcomes] = []

    @property
    def count(self) -> int:
        """Signals taken so far."""
        return self.memory.count

    def take(self, batch: SignalBatch) -> Taken:
        """Decide the next n signals, which are in time order."""
        first = self.count
        situations, outcomes = self._learn(batch)
        evidence = self._witness.look(self.memory, situations)
        self._check(first, evidence)
        return Taken(
            first, situations, evidence, rule(evidence, batch.action, self.worth, self.rules.gate), outcomes
        )

    def learn(self, batch: SignalBatch) -> Outcomes:
        """Take the next n signals in without deciding them: they were decided before."""
        situations, outcomes = self._learn(batch)
        self._witness.look(self.memory, situations, search=False)
        return outcomes

    def _learn(self, batch: SignalBatch) -> tuple[Situations, Outcomes]:
        situations = self.encoder.encode(batch)
        symbol = self.encoder.codes(batch)
        ordinal = np.arange(self.count, self.count + len(batch))
        self.memory.add(ordinal, batch.timestamp_us, symbol, batch.action, situations)
        outcomes = self._settler.feed(ordinal, batch.timestamp_us, symbol, batch.action, batch.price)
        self.memory.settle(outcomes if self._shuffle is None else self._shuffled(outcomes, self._shuffle))
        return situations, outcomes

    def _shuffled(self, outcomes: Outcomes, seed: int) -> Outcomes:
        """The outcomes, each exchanged for that of a signal settled before or with it."""
        self._pool = [Outcomes.concat([*self._pool, outcomes])]
        pool, n = self._pool[0], len(outcomes)
        number = np.arange(len(pool) - n, len(pool))
        other = (_mixed(number, seed) % (number + 1).astype(np.uint64)).astype(np.int64)
        return replace(
            outcomes, side=pool.side[other], move_bps=pool.move_bps[other], gross_bps=pool.gross_bps[other],
            net_bps=pool.net_bps[other],
        )  # fmt: skip

    def _check(self, first: int, evidence: Evidence) -> None:
        known = self.memory.known_at_us[np.maximum(evidence.neighbours, 0)]
        asked = self.memory.timestamp_us[first : first + len(evidence.used), None]
        if ((known > asked) & (evidence.neighbours >= 0)).any():
            raise LookAhead("a decision was about to rest on an outcome that was not known yet")


def _mixed(number: Ints, seed: int) -> Words:
    """A well-mixed word for each number (the finaliser of SplitMix64; Steele et al., OOPSLA 2014)."""
    word = (number.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Words = word ^ (word >> np.uint64(31))
    return mixed
