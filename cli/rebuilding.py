"""What `raysignal store rebuild` does, shard by shard."""

from raysignal.cli.direct import refuse_store_in_use
from raysignal.cli.output import Output
from raysignal.engine.core.private_files import cache_folder
from raysignal.engine.journal.layout import check_layout, owner
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.portfolio.rebuild import rebuild
from raysignal.engine.portfolio.shard import ShardLimits
from raysignal.runtime.settings import Settings
from raysignal.serve.startup import held_store


def rebuild_store(settings: Settings, *, accept_loss: bool, output: Output) -> None:
    """Rebuild every shard, and say what was found.

    Raises:
        StoreInUse, StoreHeld: a process of this machine uses the store.
        JournalDamaged, JournalBehind: see `rebuild`.
    """
    refuse_store_in_use(settings.store)
    with held_store(settings.store, doing="raysignal store rebuild"):
        _rebuild(settings, accept_loss=accept_loss, output=output)


def _rebuild(settings: Settings, *, accept_loss: bool, output: Output) -> None:
    stores = open_stores(settings.store)
    check_layout(stores, settings.shards)

    told = []
    for number in range(settings.shards):
        name = f"shard={number:04d}"
        made = rebuild(
            stores.journal_store(name), stores.blobs, prefix=f"state/{name}",
            cache_dir=cache_folder("index", settings.store) / name,
            limits=ShardLimits(checkpoint_rows=settings.snapshot_rows), owns=owner(number, settings.shards),
            accept_loss=accept_loss,
        )  # fmt: skip
        told.append(
            {
                "journal": name, "records": made.records, "signals": made.signals, "lost": made.lost,
                "set_aside": made.set_aside,
            }
        )  # fmt: skip
        output.say(f"{name}: {made.records:,d} records, {sum(made.signals.values()):,d} signals written anew")
        for portfolio, rows in made.lost.items():
            output.say(
                f"{portfolio}: {rows:,d} signals that only the history held lie in {made.set_aside} now"
            )
    if output.as_json:
        output.json(told)
