"""`raysignal replay`: a signal file into a portfolio."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from raysignal.cli import options
from raysignal.cli.output import Output


def replay(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV, NDJSON, JSON or Parquet; see data/README.md.")
    ],
    portfolio: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Into which; created if absent. Default: the primary one."),
    ] = None,
    one_by_one: Annotated[
        bool,
        typer.Option(
            "--one-by-one/--batch", help="A request a signal, or a request a batch.", show_default="batch"
        ),
    ] = False,
    batch_rows: Annotated[
        int, typer.Option(min=1, max=1_000_000, metavar="ROWS", help="Rows of a batch.")
    ] = 10_000,
    speed: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Send each signal when it is due, X times as fast as it happened; default: at once.",
        ),
    ] = None,
    on_error: Annotated[
        Literal["refuse", "skip"],
        typer.Option(help="On a row that is refused: stop, or leave it out and go on."),
    ] = "refuse",
    accept_price_jump: options.AcceptPriceJump = False,
    url: options.Url = None,
    direct: Annotated[
        bool,
        typer.Option(
            "--direct",
            rich_help_panel="Where the portfolios are",
            help="Straight to the actors: those of --ray-address, else of a Ray that is started for it.",
        ),
    ] = False,
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over",
            rich_help_panel="Where the portfolios are",
            help="With --direct: even from a process that is writing the store's journal.",
        ),
    ] = False,
    ray_address: options.RayAddress = None,
    store: options.Store = None,
    timezone: options.Timezone = None,
    bar: options.Bar = None,
    label: options.Label = "close",
    symbol: options.Symbol = None,
    source: options.Source = None,
    initial_cash: options.InitialCash = None,
    fee_bps: options.FeeBps = None,
    slippage_bps: options.SlippageBps = None,
    side: options.Side = None,
    weight: options.Weight = None,
    fill: options.Fill = None,
    json: options.Json = False,
) -> None:
    """Send the signals of a file to a portfolio, and show what came of it.

    A file may be sent again: signals that were taken in before are replayed and count once.
    """  # fmt: skip
    if speed is not None and not speed > 0.0:
        raise typer.BadParameter("--speed is a factor above 0; expected such as 60 for a minute a second")
    direct = direct or ray_address is not None
    if store is not None and not direct:
        raise typer.BadParameter("--store belongs to --direct; a running service has its own")
    if take_over and not direct:
        raise typer.BadParameter("--take-over belongs to --direct; a running service writes its own journal")
    reading = options.ReadingOptions(timezone, bar, label, symbol, source)
    policy = options.given(
        initial_cash=initial_cash,
        fee_bps=fee_bps,
        slippage_bps=slippage_bps,
        side=side,
        weight=weight,
        fill=fill,
    )
    if policy and portfolio is None:
        raise typer.BadParameter("a policy belongs to a portfolio: --portfolio NAME")
    from raysignal.cli.replay_job import ReplayConfig, run_job

    job = ReplayConfig(
        path=options.existing_file(file), reading=reading, portfolio=portfolio, policy=policy,
        one_by_one=one_by_one or speed is not None, batch_rows=batch_rows, speed=speed, skip=on_error == "skip",
        accept_price_jump=accept_price_jump, url=url, direct=direct, take_over=take_over,
    )  # fmt: skip
    run_job(job, options.configured(ray_address=ray_address, store=store), Output(json))
