"""`raysignal luck`: how much of a result is luck, by other orders, other histories and other markets."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from raysignal.cli import options
from raysignal.cli.extras import require_extras
from raysignal.cli.output import Output

_ACCOUNT = "Whose luck"
_PATHS = "The paths"

File = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="Prices, with or without signals: CSV, NDJSON, JSON or Parquet."),
]


def luck(
    file: File,
    strategy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_ACCOUNT,
            help="sma, rsi, macd, …; default: the signals of the file.",
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="NAME=VALUE", rich_help_panel=_ACCOUNT, help="Of the strategy."),
    ] = None,
    symbol: Annotated[
        str | None,
        typer.Option(
            "--symbol",
            "--of",
            metavar="NAME",
            rich_help_panel=_ACCOUNT,
            help="Which of the file; default: its only one. It is that of rows that name none, too.",
        ),
    ] = None,
    initial_cash: options.InitialCash = None,
    fee_bps: options.FeeBps = None,
    slippage_bps: options.SlippageBps = None,
    side: options.Side = None,
    weight: options.Weight = None,
    fill: options.Fill = None,
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_PATHS,
            help="order (its trades in another order), trades (drawn from them), bootstrap (blocks of its returns), or "
            "made-up markets like this one: gbm, garch, regimes, jumps.",
        ),
    ] = "bootstrap",
    paths: Annotated[int, typer.Option(metavar="N", rich_help_panel=_PATHS, help="How many.")] = 10_000,
    ruin: Annotated[
        float,
        typer.Option(
            metavar="SHARE", rich_help_panel=_PATHS, help="Of the beginning, at which a path is ruined."
        ),
    ] = 0.5,
    seed: Annotated[int, typer.Option(metavar="N", rich_help_panel=_PATHS, help="Of all paths.")] = 0,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=10_000, help="A core each; default: all there are.")
    ] = None,
    run_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Go on with a run that was stopped.")
    ] = None,
    on_error: Annotated[
        Literal["refuse", "skip"],
        typer.Option(help="On a row that cannot be used: stop, or leave it out and go on."),
    ] = "refuse",
    accept_price_jump: options.AcceptPriceJump = False,
    timezone: options.Timezone = None,
    bar: options.Bar = None,
    label: options.Label = "close",
    source: options.Source = None,
    ray_address: options.RayAddress = None,
    store: options.Store = None,
    json: options.Json = False,
) -> None:
    """Draw many paths that an account could have taken, and show how they spread."""
    require_extras("luck", "experiments")
    from raysignal.cli.luck_job import LuckConfig, run_job

    policy = options.given(
        initial_cash=initial_cash,
        fee_bps=fee_bps,
        slippage_bps=slippage_bps,
        side=side,
        weight=weight,
        fill=fill,
    )
    asked = LuckConfig(
        path=file,
        reading=options.ReadingOptions(timezone=timezone, bar=bar, label=label, symbol=symbol, source=source),
        skip=on_error == "skip",
        accept_price_jump=accept_price_jump,
        strategy=strategy,
        param=tuple(param or ()),
        symbol=symbol,
        policy=policy,
        method=method,
        paths=paths,
        ruin=ruin,
        seed=seed,
        workers=workers,
        run_id=run_id,
    )
    run_job(asked, options.configured(store=store, ray_address=ray_address), Output(json))
