"""The core of the live agent: it follows the primary portfolio row by row, and decides for the enhanced one.

The k-th row of the enhanced portfolio is the k-th of the primary one, so how many it has is the cursor. What
was decided is durable before anything rests on it; whatever is killed in between, the next follower reads both
portfolios, learns what the last one knew, and goes on with the first row that is not decided.

No Ray, no clock: desk, log and pauses are handed in. When a step fails, the follower is of no more use.
"""

import asyncio
import copy
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from raysignal.agents.llm.adviser import Adviser, Opinion
from raysignal.agents.override.agent import MemoryLookup
from raysignal.agents.override.decider import DecidedSignals, Decider, PendingDecision, ask, verdict_of
from raysignal.agents.override.explanation import decisions_of
from raysignal.agents.override.gate import REASONS
from raysignal.agents.override.live_embeddings import LiveEmbeddings
from raysignal.agents.override.log import BreakerReset, OutcomeLog
from raysignal.agents.override.outcomes import Outcomes
from raysignal.agents.override.readiness import Readiness, not_looked_up, readiness_of
from raysignal.agents.override.signal_columns import SignalColumns
from raysignal.agents.override.situations import Situations
from raysignal.agents.override.terms import AgentTerms
from raysignal.engine.core.arrays import Float32Array, Int8Array, Int64Array
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import Conflict, StoreError
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio.decisions import Decisions
from raysignal.engine.portfolio.receipts import FollowedRows, PortfolioStatus, RowResult, Submission

PULL = 128
"""Rows that are decided together, at most: more would hold up the actor of the portfolios, and receipts with it."""
SECTION = 32
"""Rows that are decided without a rest: a few milliseconds, so that who answers meanwhile does not fall behind."""
NEWEST = 512
"""A row that has more than so many behind it is decided without a model."""
LEARN = 16_384
"""Rows that are read together at the start."""
_RETRY_S = 0.5


class FollowedPortfolios(Protocol):
    """The portfolios: what of `runtime.portfolio_actors.PortfolioClient` is needed here."""

    async def follow(self, portfolio: str, first: int, limit: int, wait_s: float) -> FollowedRows | None: ...

    async def submit(
        self, portfolio: str, encoded: bytes, *, all_or_nothing: bool, accept_price_jump: bool, receipts: bool,
        positions: Int64Array | None = None, decisions: bytes | None = None,
    ) -> Submission: ...  # fmt: skip

    async def create(self, portfolio: str, policy: Policy) -> tuple[PortfolioStatus, bool]: ...

    async def standing(self, portfolio: str) -> PortfolioStatus: ...

    async def rename_symbol(self, portfolio: str, old: str, new: str) -> bool: ...


class PortfolioMismatch(Conflict):
    """The enhanced portfolio does not hold what the primary one does: something else wrote to it."""


@dataclass(frozen=True, slots=True)
class FollowerView:
    """What a follower has, for whoever shows it: consistent, because it is replaced after each step.

    Attributes:
        rows: decided.
        settled: outcomes.
    """

    rows: int
    settled: int


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some of the rows of a step, and what was decided about them."""

    batch: SignalBatch
    taken: MemoryLookup
    judged: DecidedSignals
    decisions: Decisions


async def _at_once() -> None:
    """No rest."""


class Follower:
    """One life of the agent.

    Args:
        book: the portfolios.
        terms: see `AgentTerms`.
        log: the agent's journal, opened.
        adviser: who asks a model; None: the gate decides alone.
        embeddings: of free texts, by a model; None: they are hashed.
        pause: sleeps so many seconds before a submission is sent again.
        rest: waits a little between two sections of work.

    Attributes:
        counts: decisions of this life, by reason.
        shown: what may be read meanwhile.
    """

    def __init__(
        self,
        book: FollowedPortfolios,
        terms: AgentTerms,
        log: OutcomeLog,
        *,
        adviser: Adviser | None,
        embeddings: LiveEmbeddings | None = None,
        pause: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        rest: Callable[[], Awaitable[None]] = _at_once,
    ) -> None:
        self._book, self._terms, self._log, self._adviser, self._pause = book, terms, log, adviser, pause
        self._rest, self._embeddings = rest, embeddings
        self.decider = Decider(terms.policy, terms.rules, breaker=terms.breaker, embedder=embeddings)
        self.past = SignalColumns(terms.policy)
        self.counts: Counter[str] = Counter()
        self.shown = FollowerView(0, 0)
        self._readiness: Readiness | None = None
        self._unlogged: list[Outcomes] = []
        self._settled = 0
        self._turn = asyncio.Lock()

    @property
    def count(self) -> int:
        """Rows decided."""
        return self.decider.count

    @property
    def origin(self) -> str:
        """Which store's outcomes these are, see `OutcomeLog`."""
        return self._log.origin

    @property
    def readiness(self) -> Readiness:
        """When the gate begins to speak, as of the latest BUY or SELL signal that this life decided."""
        return self._readiness or not_looked_up(self._terms.rules, self.shown.settled)

    async def recover(self) -> None:
        """Learn all that was decided before.

        Raises:
            PortfolioConflict: the enhanced portfolio exists with another policy.
            Misfit: it holds other rows than the primary one.
            StoreError: the store does not answer, or is damaged.
        """
        terms = self._terms
        standing, _ = await self._book.create(terms.portfolio, terms.policy)
        resets = list(self._log.resets)
        while self.count < standing.count:
            self._apply(resets)
            stop = min([standing.count, *(reset.ordinal for reset in resets)])
            await self._learn(min(LEARN, stop - self.count))
        self._apply(resets)

    async def step(self, wait_s: float) -> int:
        """Decide the next rows, if some come within so many seconds; how many they were, now durable."""
        followed = await self._book.follow(self._terms.primary, self.count, PULL, wait_s)
        if followed is None:
            return 0
        async with self._turn:
            batch = await asyncio.to_thread(followed.batch)
            for old, new in followed.renamed:
                await self._rename(old, new)
            if self._embeddings is not None and batch.texts:
                await self._embed(batch, self._embeddings)
            pieces = await self._pieces(batch)
            decisions = Decisions.concat([piece.decisions for piece in pieces])
            await self._submit(followed.first, batch, decisions)
            for piece in pieces:
                await self._rest()
                await asyncio.to_thread(self._take_note, piece, followed)
            return len(batch)

    async def _rename(self, old: str, new: str) -> None:
        """A symbol of the primary portfolio goes on under another name: in the enhanced one and in the memory, too."""
        while True:
            try:
                await self._book.rename_symbol(self._terms.portfolio, old, new)
            except StoreError:
                await self._pause(_RETRY_S)
            else:
                break
        self.decider.rename(old, new)

    async def reset(self, now_us: int) -> bool:
        """Close the breaker, durably; whether it was open."""
        async with self._turn:
            breaker = self.decider.breaker
            if breaker is None or not breaker.is_open:
                return False
            await asyncio.to_thread(self._log.reset, self.count, now_us)
            breaker.reset()
            return True

    async def preview(self, signal: SignalBatch) -> Float32Array:
        """The vector that a signal would have if it came now, behind those that were decided; it changes nothing."""

        def work() -> Float32Array:
            encoder = copy.deepcopy(self.decider.agent.encoder)
            vector: Float32Array = self.past.vectors.preview(encoder.encode(signal))[0]
            return vector

        async with self._turn:
            return await asyncio.to_thread(work)

    async def record(self) -> None:
        """Put the outcomes on record that are not yet."""
        async with self._turn:
            if self._unlogged:
                outcomes, self._unlogged = Outcomes.concat(self._unlogged), []
                await asyncio.to_thread(self._log.append, outcomes)

    async def _pieces(self, batch: SignalBatch) -> list["_Piece"]:
        """What is decided about the signals; in sections without a model, whose questions go out together."""
        section = SECTION if self._adviser is None else len(batch)
        pieces = []
        for start in range(0, len(batch), section):
            await self._rest()
            part = batch.take(np.arange(start, min(start + section, len(batch))))
            if self._adviser is None:
                pieces.append(await asyncio.to_thread(self._decide, part))
                continue
            begun = await asyncio.to_thread(self.decider.begin, part)
            judged = self.decider.finish(begun, await self._opinions(begun, self._adviser))
            decisions = await asyncio.to_thread(decisions_of, self.decider, begun, judged)
            pieces.append(_Piece(part, begun.taken, judged, decisions))
        return pieces

    async def _embed(self, batch: SignalBatch, embeddings: LiveEmbeddings) -> None:
        """Have the texts of the next rows embedded, as far as it is worth waiting for."""
        fields = await asyncio.to_thread(self.decider.agent.encoder.coming_free_texts, batch)
        if not fields:
            return
        newest = await self._newest(len(batch), self.count + len(batch))
        rows = [row for row in np.flatnonzero(batch.action).tolist() if row >= len(batch) - newest]
        await embeddings.fetch(fields, rows, first=self.count)

    async def _newest(self, n: int, stop: int) -> int:
        """How many of the last of n rows, which end at `stop`, a model is asked about."""
        if n < PULL:
            return n
        behind = (await self._book.standing(self._terms.primary)).count - stop
        return max(0, NEWEST - behind)

    def _decide(self, batch: SignalBatch) -> "_Piece":
        begun = self.decider.begin(batch)
        judged = self.decider.finish(begun)
        return _Piece(batch, begun.taken, judged, decisions_of(self.decider, begun, judged))

    def _take_note(self, piece: "_Piece", followed: FollowedRows) -> None:
        start = piece.taken.first - followed.first
        primary = followed.decision[start : start + len(piece.batch)]
        self._note(
            piece.batch, piece.taken.situations, piece.taken.outcomes, piece.judged.verdict,
            (primary, piece.decisions.action),
        )  # fmt: skip
        self._count(piece.judged)
        if piece.batch.side.any():
            self._readiness = readiness_of(self._terms.rules, piece.taken.evidence, piece.batch.side)

    async def _learn(self, n: int) -> None:
        """Read the next rows of both portfolios, at most n, and take them in."""
        own = await self._book.follow(self._terms.portfolio, self.count, n, 0.0)
        primary = await self._book.follow(self._terms.primary, self.count, n, 0.0)
        if own is None or primary is None:
            raise PortfolioMismatch(
                f"portfolio {self._terms.portfolio!r} has more rows than {self._terms.primary!r}, which it follows"
            )
        await asyncio.to_thread(self._take_in, own, primary)

    def _take_in(self, own: FollowedRows, primary: FollowedRows) -> None:
        batch, held = primary.batch(), own.batch(features=False)
        n = min(len(batch), len(held))
        if n < len(batch):
            batch = batch.take(np.arange(n))
        differs = (batch.key != held.key[:n]).any(axis=1)
        for old, new in primary.renamed:
            self.decider.rename(old, new)
        if differs.any():
            row = int(differs.argmax())
            raise PortfolioMismatch(
                f"row {self.count + row} of portfolio {self._terms.portfolio!r} is signal {held.signal_id[row]!r}, "
                f"that of {self._terms.primary!r} is {batch.signal_id[row]!r}; expected the same: name another "
                "portfolio for the agent"
            )
        decision = np.array(own.decision[:n], np.int8)
        verdict = verdict_of(batch.action, decision)
        situations, outcomes = self.decider.learn(batch, verdict)
        self._note(batch, situations, outcomes, verdict, (np.array(primary.decision[:n], np.int8), decision))

    async def _opinions(self, begun: PendingDecision, adviser: Adviser) -> Mapping[int, Opinion]:
        n = len(begun.batch)
        newest = await self._newest(n, begun.taken.first + n)
        return await ask(self.decider, begun, adviser, patience_s=0.0, newest=newest)

    async def _submit(self, first: int, batch: SignalBatch, decisions: Decisions) -> None:
        """Make decisions durable. While the store does not answer they are sent again: they count once."""
        n, encoded, told = len(batch), batch.encode(), decisions.encode()
        while True:
            try:
                submission = await self._book.submit(
                    self._terms.portfolio, encoded, all_or_nothing=True, accept_price_jump=True,
                    receipts=False, decisions=told,
                )  # fmt: skip
            except StoreError:
                await self._pause(_RETRY_S)
            else:
                break
        if not np.array_equal(submission.ordinal, np.arange(first, first + n)):
            raise PortfolioMismatch(
                f"rows {first} to {first + n - 1} of {self._terms.primary!r} are rows "
                f"{submission.ordinal[0]} to {submission.ordinal[-1]} of {self._terms.portfolio!r}; expected the same"
            )
        if submission.counted(RowResult.ACCEPTED) < n:
            await self._check_own(first, decisions)

    async def _check_own(self, first: int, decisions: Decisions) -> None:
        """Some rows were there already: by a call of ours that failed to say so, or by somebody else's."""
        at, end = first, first + len(decisions)
        while at < end:
            held = await self._book.follow(self._terms.portfolio, at, end - at, 0.0)
            assert held is not None
            stop = at + len(held.decision)
            if not np.array_equal(held.decision, decisions.action[at - first : stop - first]):
                raise PortfolioMismatch(
                    f"rows {at} to {stop - 1} of {self._terms.portfolio!r} were decided otherwise by somebody else"
                )
            at = stop

    def _note(
        self,
        batch: SignalBatch,
        situations: Situations,
        outcomes: Outcomes,
        verdict: Int8Array,
        decisions: tuple[Int8Array, Int8Array],
    ) -> None:
        """Take in what is decided and durable."""
        self.past.add(batch, self.decider.agent.encoder.codes(batch), situations, verdict, decisions)
        known = self._log.count + sum(map(len, self._unlogged))
        new = np.arange(max(0, known - self._settled), len(outcomes))
        if len(new):
            self._unlogged.append(outcomes.take(new))
        self._settled += len(outcomes)
        self.shown = FollowerView(self.past.count, self._settled)

    def _count(self, judged: DecidedSignals) -> None:
        for code, times in enumerate(np.bincount(judged.reason, minlength=len(REASONS)).tolist()):
            if times:
                self.counts[REASONS[code].value] += times

    def _apply(self, resets: list[BreakerReset]) -> None:
        while resets and resets[0].ordinal <= self.count:
            breaker = self.decider.breaker
            assert breaker is not None
            breaker.reset()
            del resets[0]
