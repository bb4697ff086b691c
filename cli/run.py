"""`raysignal run`: the main job from end to end; `make run` calls it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from raysignal.cli import options
from raysignal.cli.extras import require_extras
from raysignal.cli.output import Output


def run(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A signal file; default: the sample.", show_default=False),
    ] = None,
    timezone: options.Timezone = None,
    bar: options.Bar = None,
    label: options.Label = "close",
    symbol: options.Symbol = None,
    source: options.Source = None,
    on_error: Annotated[
        Literal["refuse", "skip"],
        typer.Option(help="On a row that is refused: stop, or leave it out and go on."),
    ] = "refuse",
    accept_price_jump: options.AcceptPriceJump = False,
    folder: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Results go to the first number below it that is free.")
    ] = Path("run"),
    json: options.Json = False,
) -> None:
    """Start a service, replay a file through it in two ways, compare, show what it earned, and end.

    Every signal is posted on its own into the primary portfolio, and all of them in one batch into a second one;
    both must end the same, in every figure.
    """
    reading = options.ReadingOptions(timezone, bar, label, symbol, source)
    require_extras("run", "feeds", "experiments")
    from raysignal.cli.run_job import SAMPLE, SAMPLE_READING, RunConfig, run_job

    if file is None:
        if reading != options.ReadingOptions():
            raise typer.BadParameter("how to read is said of a FILE; the sample is read as it was made")
        path, reading = SAMPLE, SAMPLE_READING
    else:
        path = options.existing_file(file)
    job = RunConfig(
        path, reading, skip=on_error == "skip", accept_price_jump=accept_price_jump, folder=folder
    )
    run_job(job, Output(json))
