"""Straight to the portfolio actors, on the Ray that this process is connected to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from ray.util import list_named_actors

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import Conflict, InputError, RowErrors, error_entry
from raysignal.engine.core.policy import Policy
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.portfolio.receipts import RowResult, Submission
from raysignal.engine.portfolio.trade_files import TradeReader
from raysignal.runtime.local_cluster import NAMESPACE
from raysignal.runtime.portfolio_actors import PortfolioClient
from raysignal.runtime.portfolio_gateway import SendResult, placed
from raysignal.runtime.settings import Settings


def is_served() -> bool:
    """Whether a service of raysignal runs on the Ray that this process is connected to."""
    return any(actor["namespace"] == NAMESPACE for actor in list_named_actors(all_namespaces=True))


@dataclass(frozen=True, slots=True)
class DirectGateway:
    """The way to the portfolios without HTTP."""

    portfolios: PortfolioClient

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, *, served: bool) -> AsyncIterator[Self]:
        """The actors of the configured store, on the Ray that this process is connected to.

        Args:
            settings: the store.
            served: a service has these actors; else those that are created here are flushed and ended on exit.
        """
        portfolios = PortfolioClient.connect(settings)
        try:
            await portfolios.ready(within_s=None)
            yield cls(portfolios)
        finally:
            if not served:
                await portfolios.close()

    async def standing(self, portfolio: str | None) -> dict[str, Any]:
        """See `PortfolioGateway.standing`."""
        return (await self.portfolios.standing(portfolio or self.portfolios.settings.primary)).as_dict()

    async def trade_summary(self, portfolio: str) -> dict[str, Any]:
        """See `PortfolioGateway.trade_summary`."""
        recent, blobs = (
            await self.portfolios.recent(portfolio),
            open_stores(self.portfolios.settings.store).blobs,
        )
        reader = TradeReader(blobs, portfolio, recent)
        return {"portfolio": portfolio} | await asyncio.to_thread(reader.summary)

    async def ensure(self, portfolio: str, policy: Policy | None) -> tuple[dict[str, Any], bool]:
        """See `PortfolioGateway.ensure`."""
        known = {standing.portfolio: standing for standing in await self.portfolios.standings()}
        if policy is None and portfolio in known:
            return known[portfolio].as_dict(), False
        standing, new = await self.portfolios.create(portfolio, policy or Policy())
        return standing.as_dict(), new

    async def send_one(
        self, portfolio: str, batch: SignalBatch, index: int, *, accept_price_jump: bool
    ) -> SendResult:
        """See `PortfolioGateway.send_one`."""
        one = batch.take(np.array([index]))
        return await self.send_batch(portfolio, one, skip=True, accept_price_jump=accept_price_jump)

    async def send_batch(
        self, portfolio: str, batch: SignalBatch, *, skip: bool, accept_price_jump: bool
    ) -> SendResult:
        """See `PortfolioGateway.send_batch`."""
        try:
            submission = await self.portfolios.submit(
                portfolio, await asyncio.to_thread(batch.encode), all_or_nothing=not skip,
                accept_price_jump=accept_price_jump, receipts=False, positions=batch.row,
            )  # fmt: skip
        except RowErrors as error:
            return SendResult(refused=error.fields["refused"], errors=error.fields["errors"])
        except (InputError, Conflict) as error:
            return SendResult(refused=1, errors=[error_entry(error)])
        return _sent(submission, batch)


def _sent(submission: Submission, batch: SignalBatch) -> SendResult:
    return SendResult(
        submission.counted(RowResult.ACCEPTED),
        submission.counted(RowResult.REPLAYED),
        submission.counted(RowResult.REFUSED),
        [placed(error_entry(error), int(batch.row[index])) for index, error in submission.errors.items()],
    )
