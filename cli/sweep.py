"""`raysignal sweep`: thousands of configurations over the prices of a file, and whether the best of them is luck."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from raysignal.cli import options
from raysignal.cli.extras import require_extras
from raysignal.cli.output import Output

_SPACE = "What is varied"
_HONEST = "How the choice is tried out of sample"
_RUN = "The run"

File = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="Prices, with or without signals: CSV, NDJSON, JSON or Parquet."),
]
Grid = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUES",
        rich_help_panel=_SPACE,
        help="An axis: fee_bps=0:20:1 or sma_fast=5,10,20. A member of the policy, a parameter of the strategy with "
        "its name before it, or of the agent's gate (gate_against). As often as there are axes.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "--set",
        metavar="NAME=VALUE",
        rich_help_panel=_SPACE,
        help="One value of what could be an axis, under the same name.",
    ),
]
Strategy = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=_SPACE,
        help="sma, rsi, macd, …, or signals for those of the file; told from the axes where it is not given.",
    ),
]
Search = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, rich_help_panel=_SPACE,
        help="Try N configurations that Optuna chooses, instead of all; for spaces too big for a grid.",
    ),
]  # fmt: skip
Objective = Annotated[
    str,
    typer.Option(
        metavar="FIGURE",
        help="What configurations are ranked by: sharpe, total_return, calmar, …; without a year if prices are short.",
    ),
]
WalkForward = Annotated[
    str | None,
    typer.Option(
        metavar="TRAIN,TEST",
        rich_help_panel=_HONEST,
        help="Choose on TRAIN bars, hold for the next TEST, and so on: 2000,500.",
    ),
]
Anchored = Annotated[
    bool, typer.Option("--anchored", rich_help_panel=_HONEST, help="Train on everything before a test.")
]
CrossValidation = Annotated[
    int | None,
    typer.Option(metavar="K", min=2, rich_help_panel=_HONEST, help="Cross-validate in K parts."),
]
Purge = Annotated[
    int,
    typer.Option(
        metavar="BARS", min=0, rich_help_panel=_HONEST, help="Bars left out of training before a test."
    ),
]
Embargo = Annotated[
    int,
    typer.Option(
        metavar="BARS", min=0, rich_help_panel=_HONEST, help="Bars left out of training after a test."
    ),
]
Instant = Annotated[
    str | None,
    typer.Option(metavar="INSTANT", rich_help_panel=_RUN, help="Such as 2024-01-01 or 2024-01-01T12:00Z."),
]


def sweep(
    file: File,
    grid: Grid = None,
    fixed: Set = None,
    strategy: Strategy = None,
    search: Search = None,
    objective: Objective = "sharpe",
    walk_forward: WalkForward = None,
    anchored: Anchored = False,
    cross_validation: CrossValidation = None,
    purge: Purge = 0,
    embargo: Embargo = 0,
    symbol: Annotated[
        str | None,
        typer.Option(
            "--symbol",
            "--symbols",
            metavar="NAMES",
            rich_help_panel=_RUN,
            help="Which of the file, with commas; default: all. One alone is that of rows that name none, too.",
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="INSTANT",
            rich_help_panel=_RUN,
            help="Portfolios begin here; strategies have seen what was before.",
        ),
    ] = None,
    until: Instant = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=10_000, rich_help_panel=_RUN, help="A core each; default: all there are."
        ),
    ] = None,
    curves: Annotated[
        int,
        typer.Option(metavar="N", min=0, rich_help_panel=_RUN, help="Keep the whole account of the N best."),
    ] = 3,
    run_id: Annotated[
        str | None,
        typer.Option(metavar="ID", rich_help_panel=_RUN, help="Go on with a run that was stopped."),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, rich_help_panel=_RUN, help="Of the bootstrap.")
    ] = 0,
    plan: Annotated[
        bool,
        typer.Option("--plan", rich_help_panel=_RUN, help="Say how large it is and how long it will take."),
    ] = False,
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
    """Run every configuration of a grid over the prices of a file, on all cores or a Ray cluster."""
    require_extras("sweep", "experiments")
    from raysignal.cli.sweep_job import SweepConfig, run_job

    names = tuple(name.strip() for name in symbol.split(",")) if symbol else ()
    asked = SweepConfig(
        path=file,
        reading=options.ReadingOptions(
            timezone=timezone,
            bar=bar,
            label=label,
            source=source,
            symbol=names[0] if len(names) == 1 else None,
        ),
        skip=on_error == "skip",
        accept_price_jump=accept_price_jump,
        strategy=strategy,
        grid=tuple(grid or ()),
        fixed=tuple(fixed or ()),
        search=search,
        objective=objective,
        walk_forward=walk_forward,
        anchored=anchored,
        cross_validation=cross_validation,
        purge=purge,
        embargo=embargo,
        symbols=names,
        from_=from_,
        until=until,
        workers=workers,
        curves=curves,
        run_id=run_id,
        seed=seed,
        plan=plan,
    )
    run_job(asked, options.configured(store=store, ray_address=ray_address), Output(json))
