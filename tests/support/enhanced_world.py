"""A shard with two portfolios for the tests of the live agent: real judgement, ledger, journal; no Ray, no actor."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from raysignal.agents.override.agent import AgentRules
from raysignal.agents.override.breaker import BreakerRules
from raysignal.agents.override.evidence import RecallOptions
from raysignal.agents.override.follower import Follower
from raysignal.agents.override.gate import GateRules
from raysignal.agents.override.live_embeddings import LiveEmbeddings
from raysignal.agents.override.log import OutcomeLog
from raysignal.agents.override.outcomes import Horizon
from raysignal.agents.override.terms import AgentTerms
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import StoreUnavailable
from raysignal.engine.core.instants import format_instant
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.portfolio.receipts import FollowedRows, PortfolioStatus, Submission
from raysignal.engine.portfolio.shard import Shard, ShardLimits

MINUTE = 60_000_000
POLICY = Policy(side="long-short")
RULES = AgentRules(
    horizon=Horizon.parse("2b"),
    recall=RecallOptions(neighbours=20, least=10, part=0.2, prior=5.0),
    gate=GateRules(least=5.0, against=0.8, grey=0.6),
)


def terms(*, breaker: BreakerRules | None = None) -> AgentTerms:
    return AgentTerms("baseline", "enhanced", POLICY, RULES, breaker or BreakerRules(limit_bps=-1e6))


def stream(
    n: int = 400,
    seed: int = 0,
    *,
    turn: int | None = None,
    bars: int = 2,
    volatility: float = 0.002,
    symbol: str = "BTC",
) -> SignalBatch:
    """Signals that are mostly wrong while `mood` is bad; from row `turn` on it is the other way round."""
    rng = np.random.default_rng(seed)
    price = 100.0 * np.exp(np.cumsum(rng.normal(0.0, volatility, n + bars)))
    bad = (np.arange(n) // 40) % 2 == 1
    goes = np.sign(price[bars:] - price[:-bars]).astype(int)
    right = rng.random(n) < np.where(bad, 0.2, 0.8)
    action = np.where(rng.random(n) < 0.1, 0, np.where(right, goes, -goes))
    if turn is not None:
        action[turn:] *= -1
    return SignalBatch.of_signals(
        [
            Signal(
                symbol, (i + 1) * MINUTE, Action(int(action[i])), float(price[i]), source=("desk", "feed")[i % 2],
                features={"mood": -1.0 if bad[i] else 1.0, "session": ("asia", "us")[i // 7 % 2]},
            )
            for i in range(n)
        ]
    )  # fmt: skip


class CrashError(Exception):
    """The process ended here."""


@dataclass
class World:
    """A store, what is open of it, and when to fail.

    Attributes:
        crash: ends the follower before (`before`) or after (`after`) so many more submissions.
        refuse: submissions that are told to come again, after they were taken (`taken`) or not.
    """

    folder: Path
    crash: tuple[str, int] | None = None
    refuse: list[bool] = field(default_factory=list)
    shard: Shard = field(init=False)

    def __post_init__(self) -> None:
        stores = open_stores(self.folder.as_uri())
        self.shard = Shard.open(
            stores.journal_store("shard=0000"), stores.blobs, prefix="state/shard=0000",
            cache_dir=self.folder / "cache", limits=ShardLimits(checkpoint_rows=150), policies={"baseline": POLICY},
        )  # fmt: skip
        self._settle()

    def post(self, batch: SignalBatch, portfolio: str = "baseline") -> None:
        """Signals come in."""
        self.shard.submit(
            portfolio, batch.encode(), all_or_nothing=True, accept_price_jump=True, receipts=False
        ).finish()
        self._settle()

    def log(self, own: AgentTerms, embeddings: str = "") -> OutcomeLog:
        return OutcomeLog.open(
            open_stores(self.folder.as_uri()).journal_store("agent=enhanced"), own.outcomes(), embeddings
        )

    async def begin(self, own: AgentTerms, adviser=None, *, embeddings: str = "", caller=None) -> Follower:
        """A follower that has recovered; with a model that embeds texts, if one is named, asked by `caller`."""

        async def at_once(_seconds: float) -> None:
            return None

        log = self.log(own, embeddings)
        texts = LiveEmbeddings(log.texts, log.append_texts, caller) if embeddings else None
        follower = Follower(self, own, log, adviser=adviser, embeddings=texts, pause=at_once)
        await follower.recover()
        return follower

    # The book

    async def follow(self, portfolio: str, first: int, limit: int, wait_s: float) -> FollowedRows | None:  # noqa: ARG002 - it never waits
        look = self.shard.rows(portfolio, first, limit)
        return None if look is None else look()

    async def submit(self, portfolio: str, encoded: bytes, *, decisions=None, **options) -> Submission:
        if self.crash is not None:
            when, left = self.crash
            self.crash = (when, left - 1)
            if left == 0 and when == "before":
                raise CrashError
        if self.refuse and not self.refuse.pop(0):
            raise StoreUnavailable("not now")
        taken = self.shard.submit(portfolio, encoded, decisions=decisions, **options).finish()
        self._settle()
        if self.crash is not None and self.crash[1] < 0:
            raise CrashError
        if self.refuse and not self.refuse.pop(0):
            raise StoreUnavailable("taken, but not told")
        return taken

    async def create(self, portfolio: str, policy: Policy) -> tuple[PortfolioStatus, bool]:
        made = self.shard.create(portfolio, policy)
        self._settle()
        return made

    async def rename_symbol(self, portfolio: str, old: str, new: str) -> bool:
        renamed = self.shard.rename_symbol(portfolio, old, new)
        self._settle()
        return renamed

    async def standing(self, portfolio: str) -> PortfolioStatus:
        return self.shard.standing(portfolio)

    def _settle(self) -> None:
        while (commit := self.shard.next_commit()) is not None:
            self.shard.write(commit)
            self.shard.committed()
            if (checkpoint := self.shard.due_checkpoint()) is not None:
                self.shard.write_checkpoint(checkpoint)
                self.shard.checkpointed(checkpoint)

    # What became of it

    def decided(self, portfolio: str = "enhanced") -> list[int]:
        """What the ledger was told, row by row."""
        found: list[int] = []
        while (look := self.shard.rows(portfolio, len(found), 10_000)) is not None:
            found += look().decision.tolist()
        return found

    def equity(self, portfolio: str = "enhanced") -> bytes:
        return self.shard.standing(portfolio).account.tobytes()


async def live(follower: Follower) -> None:
    """Decide all there is."""
    while await follower.step(0.0):
        pass


def bodies(batch: SignalBatch) -> list[dict[str, Any]]:
    """The signals as they are posted."""
    rows = (batch.signal(row) for row in range(len(batch)))
    return [
        {
            "signal_id": row.signal_id, "symbol": row.symbol, "source": row.source, "price": row.price,
            "timestamp": format_instant(row.timestamp_us), "signal": int(row.action), **row.features,
        }
        for row in rows
    ]  # fmt: skip
