"""`raysignal store`: what can be done to a store as a whole."""

from typing import Annotated

import typer

from raysignal.cli import options
from raysignal.cli.commands import Verb, VerbGroup
from raysignal.cli.output import Output

app = typer.Typer(cls=VerbGroup, no_args_is_help=True, help="What lies beside the journal of a store.")


@app.callback()
def _store() -> None:
    pass


@app.command("rebuild", cls=Verb)
def rebuild(
    store: options.Store = None,
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss",
            help="Set aside, under lost/, signals that the history has and the journal lacks.",
        ),
    ] = False,
    json: options.Json = False,
) -> None:
    """Write history, snapshots and identities anew from the journal: files of an older format, or damaged ones.

    The journal is read in full before anything is removed. No service may use the store meanwhile.
    """
    from raysignal.cli.rebuilding import rebuild_store  # noqa: PLC0415 - Ray and numba: only this verb waits for them

    rebuild_store(options.configured(store=store), accept_loss=accept_loss, output=Output(json))
