"""`raysignal store`: what can be done to a store as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from raysignal.cli import options
from raysignal.cli.output import Output
from raysignal.cli.verbs import Verb, VerbGroup, verb

if TYPE_CHECKING:
    from raysignal.runtime.settings import Settings

app = typer.Typer(cls=VerbGroup, no_args_is_help=True, help="What lies beside the journal of a store.")


@app.callback()
def _store() -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildConfig:
    """Which store is written anew from its journal."""

    store: options.Store = None
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss",
            help="Set aside, under lost/, signals that the history has and the journal lacks.",
        ),
    ] = False
    json: options.Json = False


def rebuild_store(config: RebuildConfig) -> None:
    """Write history, snapshots and identities anew from the journal: files of an older format, or damaged ones.

    The journal is read in full before anything is removed. No service may use the store meanwhile.
    """
    from raysignal.runtime.processes import refuse_store_in_use
    from raysignal.serve.startup import held_store

    settings = options.configured(store=config.store)
    refuse_store_in_use(settings.store)
    with held_store(settings.store, doing="raysignal store rebuild"):
        _rebuild(settings, accept_loss=config.accept_loss, output=Output(config.json))


def _rebuild(settings: Settings, *, accept_loss: bool, output: Output) -> None:
    from raysignal.engine.core.private_files import cache_folder
    from raysignal.engine.journal.layout import check_layout, owner
    from raysignal.engine.journal.stores import open_stores
    from raysignal.engine.portfolio.rebuild import rebuild
    from raysignal.engine.portfolio.shard import ShardLimits

    stores = open_stores(settings.store)
    check_layout(stores, settings.journal.shards)

    told = []
    for number in range(settings.journal.shards):
        name = f"shard={number:04d}"
        made = rebuild(
            stores.journal_store(name), stores.blobs, prefix=f"state/{name}",
            cache_dir=cache_folder("index", settings.store) / name,
            limits=ShardLimits(checkpoint_rows=settings.journal.snapshot_rows),
            owns=owner(number, settings.journal.shards),
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


app.command("rebuild", cls=Verb)(verb(RebuildConfig, rebuild_store))
