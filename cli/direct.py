"""Straight to the portfolio actors: on a Ray cluster by its address, or on one that is started for the purpose."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from ray.util import list_named_actors

from raysignal.cli.ports import writers_below
from raysignal.cli.remarks import remarks_aside
from raysignal.cli.ways import SendResult, placed
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import Conflict, InputError, RaysignalError, RowErrors, error_entry
from raysignal.engine.core.policy import Policy
from raysignal.engine.journal.blobs import JOURNAL_FOLDER
from raysignal.engine.portfolio.receipts import RowResult, Submission
from raysignal.experiments.cluster import ray_session
from raysignal.runtime.local_cluster import NAMESPACE
from raysignal.runtime.portfolio_actors import PortfolioClient
from raysignal.runtime.settings import Settings
from raysignal.serve.startup import held_store


@dataclass(frozen=True, slots=True)
class DirectGateway:
    """The way to the portfolios without HTTP."""

    desk: PortfolioClient

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, *, take_over: bool) -> AsyncIterator["DirectGateway"]:
        """The actors of the configured store; those that had to be created are flushed and ended on exit.

        Args:
            settings: the store, and the cluster.
            take_over: whether the journal may be taken from a writer that lives.

        Raises:
            StoreInUse: somebody else writes the journal, and it was not to be taken over.
        """
        with remarks_aside() as ending, ExitStack() as stack:
            if settings.ray_address is None and not take_over:
                refuse_store_in_use(settings.store)
                stack.enter_context(held_store(settings.store, doing="raysignal replay --direct"))
            stack.enter_context(ray_session(settings.ray_address, cpus=max(os.cpu_count() or 1, 2)))
            served = any(actor["namespace"] == NAMESPACE for actor in list_named_actors(all_namespaces=True))
            if not served and not take_over and settings.ray_address is not None:
                refuse_store_in_use(settings.store)
            desk = PortfolioClient.connect(settings)
            try:
                await desk.ready()
                yield cls(desk)
            finally:
                ending()
                if not served:
                    await desk.close()

    async def standing(self, portfolio: str | None) -> dict[str, Any]:
        """See `PortfolioGateway.standing`."""
        return (await self.desk.standing(portfolio or self.desk.settings.primary)).as_dict()

    async def ensure(self, portfolio: str, policy: Policy | None) -> tuple[dict[str, Any], bool]:
        """See `PortfolioGateway.ensure`."""
        known = {standing.portfolio: standing for standing in await self.desk.standings()}
        if policy is None and portfolio in known:
            return known[portfolio].as_dict(), False
        standing, new = await self.desk.create(portfolio, policy or Policy())
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
            submission = await self.desk.submit(
                portfolio, await asyncio.to_thread(batch.encode), all_or_nothing=not skip,
                accept_price_jump=accept_price_jump, receipts=False, positions=batch.row,
            )  # fmt: skip
        except RowErrors as error:
            return SendResult(refused=error.fields["refused"], errors=error.fields["errors"])
        except (InputError, Conflict) as error:
            return SendResult(refused=1, errors=[error_entry(error)])
        return _sent(submission, batch)


class StoreInUse(RaysignalError):
    """Another process writes this store's journal."""


def refuse_store_in_use(store: str) -> None:
    """Raise `StoreInUse` if a process of this machine has the journal of a `file:` store open.

    Writers of a bucket, or on another machine, cannot be found; the journal fences whoever is superseded.
    """
    parts = urlsplit(store)
    if parts.scheme != "file":
        return
    if writers := writers_below(Path(unquote(parts.path)) / JOURNAL_FOLDER):
        raise StoreInUse(
            f"{store} is being written by {', '.join(writers)}; expected nobody, because the direct way would "
            "take the journal over: end that service, or go through it (--url instead of --direct, or --ray-address "
            "of its cluster); raysignal replay --take-over does it all the same"
        )


def _sent(submission: Submission, batch: SignalBatch) -> SendResult:
    return SendResult(
        submission.counted(RowResult.ACCEPTED),
        submission.counted(RowResult.REPLAYED),
        submission.counted(RowResult.REFUSED),
        [placed(error_entry(error), int(batch.row[index])) for index, error in submission.errors.items()],
    )
