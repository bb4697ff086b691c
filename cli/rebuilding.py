"""What `raysignal store rebuild` does, shard by shard."""

from cli.direct import refuse_store_in_use
from cli.output import Output
from engine.actors import cache_dir, check_layout, shard_of
from engine.journal.stores import open_stores
from engine.rebuilding import rebuild
from engine.settings import Settings
from engine.shard import Limits


def rebuild_store(settings: Settings, *, accept_loss: bool, output: Output) -> None:
    """Rebuild every shard, and say what was found.

    Raises:
        StoreInUse: a process of this machine writes the store.
        JournalDamaged, JournalBehind: see `rebuild`.
    """
    refuse_store_in_use(settings.store)
    stores = open_stores(settings.store)
    check_layout(stores.blobs, settings.shards)
    told = []
    for number in range(settings.shards):
        name = f"shard={number:04d}"
        made = rebuild(
            stores.journal_store(name), stores.blobs, prefix=f"state/{name}",
            cache_dir=cache_dir(settings.store) / name, limits=Limits(checkpoint_rows=settings.snapshot_rows),
            owns=lambda portfolio, number=number: shard_of(portfolio, settings.shards) == number,
            accept_loss=accept_loss,
        )  # fmt: skip
        told.append({"journal": name, "records": made.records, "signals": made.signals, "lost": made.lost})
        output.say(f"{name}: {made.records:,d} records, {sum(made.signals.values()):,d} signals written anew")
        for portfolio, rows in made.lost.items():
            output.say(
                f"{portfolio}: {rows:,d} signals that only the history held lie under lost/history now"
            )
    if output.as_json:
        output.json(told)
