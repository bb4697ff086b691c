"""`raysignal check-strategy`: whether a rule sees the future, says the same again, and warms up as it says."""

from pathlib import Path
from typing import Annotated

import typer

from raysignal.cli import options
from raysignal.cli.output import Output

Named = Annotated[
    str,
    typer.Argument(
        metavar="MODULE:CLASS|NAME", help="A class of yours, or one of sma, rsi, macd, bollinger, …"
    ),
]
Param = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="NAME=VALUE", help="A parameter; as often as there are any."),
]


def check_strategy(
    strategy: Named,
    param: Param = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Prices to try it on; default: made up, by the seed.")
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Of the prices, and of where they are cut.")
    ] = 0,
    tries: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="How many cuts are tried: more find a rule that seldom looks ahead."
        ),
    ] = 24,
    time_limit: Annotated[
        float, typer.Option(metavar="SECONDS", help="For one call of the strategy; at most a day.")
    ] = 60.0,
    accept_price_jump: options.AcceptPriceJump = False,
    timezone: options.Timezone = None,
    bar: options.Bar = None,
    label: options.Label = "close",
    symbol: options.Symbol = None,
    json: options.Json = False,
) -> None:
    """Check a strategy by cutting its bars off and letting them go on otherwise, each in a process of its own.

    Status 0: it passed; 1: it failed; 2: it could not be checked (no such strategy, parameter or file).
    """
    from raysignal.cli.checking_strategy import CheckStrategyConfig, run_job

    reading = options.ReadingOptions(timezone=timezone, bar=bar, label=label, symbol=symbol)
    run_job(
        CheckStrategyConfig(
            strategy, tuple(param or ()), data, reading, accept_price_jump, seed, tries, time_limit
        ),
        Output(json),
    )
