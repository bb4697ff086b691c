"""From signals to decisions: what the live agent and the arms of an experiment run alike.

    begun = decider.begin(batch)                         situations, evidence, ruling
    opinions = await ask(decider, begun, adviser)        of a model, about what it is to be asked, if there is one
    judged = decider.finish(begun, opinions)             the verdicts, after the limit and the breaker

However a stream is cut into batches, the decisions are the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raysignal.agents.llm.adviser import Adviser, Opinion
from raysignal.agents.override.agent import AgentRules, MemoryLookup, Override
from raysignal.agents.override.breaker import Breaker, BreakerRules
from raysignal.agents.override.evidence import NeighbourSearch
from raysignal.agents.override.gate import REASONS
from raysignal.agents.override.outcomes import Outcomes
from raysignal.agents.override.precedents import shown_of
from raysignal.agents.override.prompt_contexts import IdsOf, prompt_context_of
from raysignal.agents.override.reviewer import OverruleLimit
from raysignal.agents.override.situations import Situations
from raysignal.agents.override.texts import Embedder
from raysignal.agents.verdicts import DecidedBy, Reason, Verdict
from raysignal.engine.core.arrays import BoolArray, Int8Array, Int64Array
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.policy import Policy

NO_OPINIONS: Mapping[int, Opinion] = {}


@dataclass(frozen=True, slots=True)
class PendingDecision:
    """n signals that were looked up and ruled about; `batch` has the instants at which they were processed."""

    batch: SignalBatch
    taken: MemoryLookup


@dataclass(frozen=True, slots=True)
class DecidedSignals:
    """What was decided about n signals.

    Attributes:
        verdict: int8[n], a `Verdict`.
        by: int8[n], a `DecidedBy`.
        reason: int8[n], a position in `gate.REASONS`.
        opinions: of a model that was asked, by row.
    """

    verdict: Int8Array
    by: Int8Array
    reason: Int8Array
    opinions: Mapping[int, Opinion]


class Decider:
    """The agent with its breaker over one stream.

    Args:
        policy: the portfolio's fill and cost model.
        rules: of the agent.
        breaker: when it is turned off; None: never.
        shuffle, search, embedder: see `Override`.

    Attributes:
        limit: how many signals a model may overrule.
    """

    __slots__ = ("_instants", "agent", "breaker", "ids", "limit")

    def __init__(
        self,
        policy: Policy,
        rules: AgentRules,
        *,
        breaker: BreakerRules | None,
        shuffle: int | None = None,
        search: NeighbourSearch | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        self.agent = Override(policy, rules, shuffle=shuffle, search=search, embedder=embedder)
        self.breaker = None if breaker is None else Breaker(breaker)
        self.ids = IdsOf()
        self._instants = Instants()
        self.limit = OverruleLimit(None if rules.review is None else rules.review.overruled_share)

    @property
    def count(self) -> int:
        """Signals taken so far."""
        return self.agent.count

    @property
    def is_off(self) -> bool:
        """Whether the breaker is open: every signal stands."""
        return self.breaker is not None and self.breaker.is_open

    def begin(self, batch: SignalBatch, bar: BoolArray | None = None) -> PendingDecision:
        """Look the next n signals up and rule about them; `finish` must follow before the next `begin`.

        `bar`: which rows a horizon in bars counts, see `Settler.feed`.
        """
        self.ids.add(self.count, batch)
        batch = self._instants.of(batch)
        return PendingDecision(batch, self.agent.take(batch, bar))

    def finish(self, begun: PendingDecision, opinions: Mapping[int, Opinion] = NO_OPINIONS) -> DecidedSignals:
        """The decisions, with the opinions there are about rows."""
        taken, action = begun.taken, begun.batch.side
        ruling = taken.ruling
        verdict, by, reason = ruling.verdict.copy(), ruling.by.copy(), ruling.reason.copy()
        for row, opinion in opinions.items():
            verdict[row], reason[row] = opinion.verdict, REASONS.index(opinion.reason)
            by[row] = DecidedBy.MODEL if opinion.reason is Reason.MODEL_ANSWERED else DecidedBy.SIGNAL
        self._let_stand(
            self.limit.beyond(action, verdict, by), Reason.OVERRULED_ENOUGH, (verdict, by, reason)
        )
        if self.breaker is not None:
            stands = self.breaker.pass_on(taken.first, begun.batch.timestamp_us, verdict, taken.outcomes)
            self._let_stand(~stands & (action != 0), Reason.AGENT_OFF, (verdict, by, reason))
        self.limit.count(action, verdict)
        return DecidedSignals(verdict, by, reason, opinions)

    def allowed_late(self, action: int, opinion: Opinion) -> Verdict:
        """What an opinion may still do about an earlier signal, which was finished before it came; nothing changes.

        It stands where as many are overruled as may be, and while the breaker is open.
        """
        columns = (np.array([each], np.int8) for each in (action, opinion.verdict, DecidedBy.MODEL))
        return Verdict.APPROVE if self.is_off or self.limit.beyond(*columns)[0] else opinion.verdict

    def finish_late(self, ordinal: int, verdict: Verdict) -> None:
        """An earlier signal, by its place in the stream, which stood when it was finished, has this verdict."""
        if verdict != Verdict.APPROVE:
            self.limit.count_late()
            if self.breaker is not None:
                self.breaker.count_late(ordinal, verdict)

    @staticmethod
    def _let_stand(rows: BoolArray, why: Reason, columns: tuple[Int8Array, Int8Array, Int8Array]) -> None:
        """Approve some rows in the columns verdict, by and reason."""
        verdict, by, reason = columns
        verdict[rows], by[rows], reason[rows] = Verdict.APPROVE, DecidedBy.SIGNAL, REASONS.index(why)

    def rename(self, old: str, new: str) -> None:
        """From the next signal on a symbol has another name; what is known of it stays."""
        self._instants.rename(old, new)
        self.agent.encoder.rename(old, new)

    def learn(self, batch: SignalBatch, verdict: Int8Array) -> tuple[Situations, Outcomes]:
        """Take the next n signals in, which were decided before; the memory and the breaker go on as they did."""
        first = self.count
        self.ids.add(first, batch)
        batch = self._instants.of(batch)
        situations, outcomes = self.agent.learn(batch)
        if self.breaker is not None:
            self.breaker.pass_on(first, batch.timestamp_us, verdict, outcomes)
        self.limit.count(batch.side, verdict)
        return situations, outcomes


async def ask(
    decider: Decider,
    begun: PendingDecision,
    adviser: Adviser,
    *,
    patience_s: float,
    newest: int | None = None,
) -> Mapping[int, Opinion]:
    """The opinions of a model about the rows that it is asked about, by row; none while the breaker is open.

    While the share that may be overruled is used up it is not asked, and the opinion says so.

    Args:
        decider: which began with them.
        begun: the signals.
        adviser: who asks.
        patience_s: for each question, seconds that it may wait beside its deadline.
        newest: only the last so many rows are asked about; None: all.
    """
    if decider.is_off:
        return NO_OPINIONS
    rows = np.flatnonzero(begun.taken.questions.asked)
    if newest is not None:
        rows = rows[rows >= len(begun.batch) - newest]
    if not len(rows):
        return NO_OPINIONS
    shown = shown_of(decider.agent, begun.taken)
    verdict, waiting = begun.taken.ruling.verdict.copy(), rows.tolist()
    opinions: dict[int, Opinion] = {}
    while waiting:
        now, used_up = decider.limit.questions_now(begun.batch.action, verdict, waiting)
        contexts = [
            prompt_context_of(decider.agent, begun.batch, begun.taken, row, decider.ids, shown) for row in now
        ]
        answers = await adviser.ask_all(contexts, patience_s=len(contexts) * patience_s)
        for row, opinion in zip(now, answers, strict=True):
            opinions[row], verdict[row] = opinion, opinion.verdict
        opinions |= dict.fromkeys(used_up, _NOT_ASKED)
        waiting = waiting[len(now) + len(used_up) :]
    return dict(sorted(opinions.items()))


_NOT_ASKED = Opinion(
    Verdict.APPROVE, Reason.OVERRULED_ENOUGH, None, (),
    "not asked: as many signals are overruled as may be, so that an answer could change nothing", "", 0.0, 0, 0,
)  # fmt: skip


def verdict_of(action: Int8Array, decision: Int8Array) -> Int8Array:
    """The verdicts that made decisions of actions, int8[n]: what `verdicts.decided` is undone by."""
    turned = np.where(decision == -action, Verdict.FLIP, Verdict.HOLD)
    return np.where(decision == action, Verdict.APPROVE, turned).astype(np.int8)


class Instants:
    """The instants at which rows are processed, as the agent counts time.

    Signals of one symbol come in increasing time, but those of several symbols need not: one may come with a
    stamp before that of the row before it. It is processed all the same after that row, when what was known
    then is known. So a row's instant is its own stamp, or that of the latest row before it; and one
    microsecond after the last one of its own symbol at least. Over a stream in time order nothing changes.
    """

    __slots__ = ("_by_symbol", "_latest", "_moved")

    def __init__(self) -> None:
        self._latest = -1
        self._moved = False
        self._by_symbol: dict[str, int] = {}

    def of(self, batch: SignalBatch) -> SignalBatch:
        """The next n rows of the stream, with these instants in the place of their stamps."""
        stamps: Int64Array = batch.timestamp_us
        if not len(stamps):
            return batch
        if not self._moved and stamps[0] >= self._latest and bool((stamps[1:] >= stamps[:-1]).all()):
            self._note(batch, stamps)
            return batch
        moved = self._go(stamps.tolist(), [batch.symbols[code] for code in batch.symbol.tolist()])
        self._moved = True
        return replace(batch, timestamp_us=np.array(moved, np.int64))

    def rename(self, old: str, new: str) -> None:
        """A symbol goes on under another name."""
        if old in self._by_symbol:
            self._by_symbol.setdefault(new, self._by_symbol.pop(old))

    def _go(self, stamps: list[int], symbols: list[str]) -> list[int]:
        found = []
        for stamp, symbol in zip(stamps, symbols, strict=True):
            self._latest = max(stamp, self._latest, self._by_symbol.get(symbol, -1) + 1)
            self._by_symbol[symbol] = self._latest
            found.append(self._latest)
        return found

    def _note(self, batch: SignalBatch, stamps: Int64Array) -> None:
        self._latest = int(stamps[-1])
        last = np.full(len(batch.symbols), -1, np.int64)
        np.maximum.at(last, batch.symbol, stamps)
        known: dict[str, Any] = dict(zip(batch.symbols, last.tolist(), strict=True))
        self._by_symbol.update((symbol, stamp) for symbol, stamp in known.items() if stamp >= 0)
