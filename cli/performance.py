"""`raysignal performance`: what a portfolio has earned, beside buy-and-hold."""

from typing import Annotated

import typer

from raysignal.cli import options
from raysignal.cli.output import Output


def performance(
    portfolio: Annotated[
        str | None,
        typer.Argument(metavar="PORTFOLIO", help="Which; default: the primary one.", show_default=False),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every portfolio, side by side.")] = False,
    url: options.Url = None,
    ray_address: options.RayAddress = None,
    json: options.Json = False,
) -> None:
    """Show what a portfolio has earned, beside buy-and-hold."""
    if every and portfolio is not None:
        raise typer.BadParameter("expected a portfolio or --all, not both")
    from raysignal.cli.asking import show_performance

    show_performance(
        portfolio, every=every, place=options.PortfolioAddress(url, ray_address), output=Output(json)
    )
