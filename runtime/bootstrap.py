"""The composition root: what is built of the settings, for the service, its actors and whoever works without them.

`serve` and `experiments` are handed what is built here, and compose their own deployments and tasks of it alone.
"""

import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from raysignal.engine.core.instants import zone_named
from raysignal.engine.core.private_files import cache_folder
from raysignal.engine.journal.layout import owner, shard_of, write_layout
from raysignal.engine.journal.stores import Stores, open_stores
from raysignal.engine.portfolio.consistency import check_acknowledged
from raysignal.engine.portfolio.mailbox import Mailbox
from raysignal.engine.portfolio.shard import Shard, ShardLimits
from raysignal.runtime.settings import Settings


def build_stores(settings: Settings) -> Stores:
    """The journals and blobs of the configured store; nothing is opened yet."""
    return open_stores(settings.store)


def build_mailbox(settings: Settings, shard: int, *, on_fenced: Callable[[], None]) -> Mailbox:
    """The mailbox of one shard of a configured store; nothing is opened before its first call."""
    limits = ShardLimits(
        max_price_jump=settings.intake.max_price_jump, checkpoint_rows=settings.journal.snapshot_rows,
        zone=zone_named(settings.intake.timezone),
    )  # fmt: skip
    policies = {
        name: policy
        for name, policy in settings.policies().items()
        if shard_of(name, settings.journal.shards) == shard
    }
    name, number = f"shard={shard:04d}", shard

    def cache_dir() -> Path:
        return cache_folder("index", settings.store) / name

    def open_shard(durable: int) -> Shard:
        stores = build_stores(settings)
        # Before anything is made: where the store's folder is away, its place is no store that has not been made yet.
        check_acknowledged(stores.journal_store(name), durable)
        stores.probe()
        write_layout(stores, settings.journal.shards)
        shard = Shard.open(
            stores.journal_store(name), stores.blobs, prefix=f"state/{name}",
            cache_dir=cache_dir(), limits=limits, policies=policies,
            owns=owner(number, settings.journal.shards),
        )  # fmt: skip
        _tell_found(name, shard)
        # What is loaded by now stays: searching it for garbage would hold everyone up for a tenth of a second.
        gc.freeze()
        return shard

    def view_shard(last: int | None) -> Shard:
        stores = build_stores(settings)
        return Shard.view(
            stores.journal_store(name), stores.blobs, prefix=f"state/{name}", cache_dir=cache_dir(),
            limits=limits, last=last,
        )  # fmt: skip

    return Mailbox(
        open_shard, view_shard, clock=time.perf_counter, flush_s=settings.journal.flush_s, on_fenced=on_fenced
    )


def _tell_found(name: str, shard: Shard) -> None:
    """Write to the log what a start found in the journal."""
    found = shard.found
    structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr),
        processors=[structlog.processors.TimeStamper(fmt="iso", utc=True), structlog.processors.JSONRenderer()],
    ).info(
        "journal opened", journal=name, files=found.files, records=found.last, bytes_cut=found.cut,
        last_file=found.file, epoch=shard.journal.epoch,
        signals={portfolio: each.count for portfolio, each in shard.portfolios.items()}, beyond_the_journal=0,
    )  # fmt: skip
