"""`raysignal runs`: the experiments of a store."""

from typing import Annotated

import typer

from raysignal.cli import options
from raysignal.cli.output import Output
from raysignal.cli.verbs import Verb, VerbGroup

app = typer.Typer(
    cls=VerbGroup,
    help="The runs of raysignal compare in a store: which, what came out, what differs.",
    no_args_is_help=True,
)

RunId = Annotated[str, typer.Argument(metavar="ID", help="A run, as raysignal runs list shows it.")]


@app.command("list", cls=Verb)
def list_runs(store: options.Store = None, json: options.Json = False) -> None:
    """List the runs of a store, the oldest first."""
    from raysignal.cli.runs_job import list_all

    list_all(options.configured(store=store).store, Output(json))


@app.command("show", cls=Verb)
def show(run: RunId, store: options.Store = None, json: options.Json = False) -> None:
    """Show what came out of a run, where its files are, and how it was made."""
    from raysignal.cli.runs_job import show_one

    show_one(options.configured(store=store).store, run, Output(json))


@app.command("diff", cls=Verb)
def diff(run: RunId, other: RunId, store: options.Store = None, json: options.Json = False) -> None:
    """Show what differs between two runs, in how they were made and in what came out."""
    from raysignal.cli.runs_job import show_differences

    show_differences(options.configured(store=store).store, run, other, Output(json))
