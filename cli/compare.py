"""`raysignal compare`: does overruling signals help? The standing arms on one file, in pairs."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from raysignal.cli import options
from raysignal.cli.extras import require_extras
from raysignal.cli.output import Output
from raysignal.cli.verbs import Verb, VerbGroup, reading_options

_AGENT = "The agent: memory and gate"
_MODEL = "The model that is asked about the grey zone"
_RUN = "The run"


class FileFirst(VerbGroup):
    """A group whose first argument may be a file: what is no subcommand is an argument of `run`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `run` before arguments that name no subcommand."""
        if args and args[0] not in self.commands:
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=FileFirst,
    help="Compare what an agent makes of the signals of a file with the signals alone.",
    no_args_is_help=True,
)

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="CSV, NDJSON, JSON or Parquet; see data/README.md.")
]
OnError = Annotated[
    Literal["refuse", "skip"],
    typer.Option(help="On a row that cannot be used: stop, or leave it out and go on."),
]
HorizonOption = Annotated[
    str | None,
    typer.Option(
        metavar="6b|90m|1d|close",
        rich_help_panel=_AGENT,
        help="How long a signal is followed: bars, a time, or until the opposite signal (RAYSIGNAL_HORIZON, 6b).",
    ),
]
Lag = Annotated[
    str | None,
    typer.Option(
        metavar="LENGTH",
        rich_help_panel=_AGENT,
        help="How much later than its end an outcome is known, such as 10m; at once.",
    ),
]
Arms = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        rich_help_panel=_RUN,
        help="Some of baseline,memory,model,random,shuffled,canary; default: all, model if it can be asked.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", rich_help_panel=_MODEL, help="Its name at the Gemini API; gemini-3.5-flash."
    ),
]
GeminiUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        rich_help_panel=_MODEL,
        help="Another host that speaks the Gemini API, such as python -m raysignal.loopback.gemini.",
    ),
]
Replay = Annotated[
    Path | None,
    typer.Option(
        metavar="CASSETTE", rich_help_panel=_MODEL, help="Answer from this record; nothing is asked."
    ),
]


@app.command("run", cls=Verb)
def compare(
    file: File,
    on_error: OnError = "refuse",
    accept_price_jump: options.AcceptPriceJump = False,
    horizon: HorizonOption = None,
    settlement_lag: Lag = None,
    against: Annotated[
        float | None,
        typer.Option(
            metavar="P", rich_help_panel=_AGENT, help="Overrule from this probability of worse on; 0.9."
        ),
    ] = None,
    grey: Annotated[
        float | None,
        typer.Option(metavar="P", rich_help_panel=_AGENT, help="Ask a model from this one on; 0.75."),
    ] = None,
    least_evidence: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            rich_help_panel=_AGENT,
            help="Independent precedents without which nothing is overruled; 25.",
        ),
    ] = None,
    neighbours: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10_000,
            metavar="N",
            rich_help_panel=_AGENT,
            help="Past signals that are looked at, at most; 400.",
        ),
    ] = None,
    model: Model = None,
    gemini_url: GeminiUrl = None,
    budget: Annotated[
        int, typer.Option(min=1, metavar="CALLS", rich_help_panel=_MODEL, help="Calls at most.")
    ] = 500,
    per_minute: Annotated[
        float | None,
        typer.Option(metavar="CALLS", rich_help_panel=_MODEL, help="Calls a minute; as they come."),
    ] = None,
    deadline: Annotated[
        float,
        typer.Option(metavar="SECONDS", rich_help_panel=_MODEL, help="For the answer about one signal."),
    ] = 8.0,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="CASSETTE",
            rich_help_panel=_MODEL,
            help="Record calls there, and ask nothing twice; default: cassette.ndjson in the run's folder.",
        ),
    ] = None,
    replay: Replay = None,
    arms: Arms = None,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", rich_help_panel=_RUN, help="Of what is drawn by lot.")
    ] = 0,
    run_id: Annotated[
        str | None, typer.Option(metavar="ID", rich_help_panel=_RUN, help="Go on with this run of the store.")
    ] = None,
    title: Annotated[str, typer.Option(metavar="TEXT", rich_help_panel=_RUN, help="Of the report.")] = "",
    store: options.Store = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            rich_help_panel=_RUN,
            help="Run on this Ray cluster (RAYSIGNAL_RAY_ADDRESS), such as host:6379 or auto; default: a new one.",
        ),
    ] = None,
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
    """Compare, on the signals of FILE, arms that may overrule signals with one that follows them all.

    Every arm sees the same signals, fills and costs. The differences are taken signal by signal, and the
    verdict comes with its interval and with the smallest effect that this file could have shown. Controls run
    beside: one that draws by lot, one with a shuffled memory, and one that looks ahead and must win.

    The exit status says that the comparison was made, not how it ended.

    raysignal compare plan FILE says, before anything runs, what the file could show.
    """
    reading = options.ReadingOptions(timezone, bar, label, symbol, source)
    if record is not None and replay is not None:
        raise typer.BadParameter("expected --record or --replay, not both")
    if per_minute is not None and not per_minute > 0.0:
        raise typer.BadParameter("--per-minute is a number of calls above 0")
    if not deadline > 0.0:
        raise typer.BadParameter("--deadline is a number of seconds above 0")
    require_extras("compare", "experiments")
    from raysignal.cli.compare_job import CompareConfig, run_job
    from raysignal.cli.trials import ArmOptions, ModelOptions, configured_trial

    policy = options.given(
        initial_cash=initial_cash, fee_bps=fee_bps, slippage_bps=slippage_bps, side=side, weight=weight, fill=fill,
    )  # fmt: skip
    gate = options.given(against=against, grey=grey, least=least_evidence)
    settings = options.configured(ray_address=ray_address, store=store)
    with reading_options():
        job = CompareConfig(
            path=options.existing_file(file),
            reading=reading,
            skip=on_error == "skip",
            accept_price_jump=accept_price_jump,
            rules=ArmOptions(
                policy, horizon, settlement_lag, arms, gate, neighbours, seed, configured_trial(settings)
            ),
            questions=ModelOptions(
                model or settings.model,
                gemini_url or settings.model_url,
                budget,
                per_minute,
                deadline,
                record,
                replay,
            ),
            run_id=run_id,
            title=title,
        )
    run_job(job, settings, Output(json))


@app.command("plan", cls=Verb)
def plan(
    file: File,
    on_error: OnError = "refuse",
    accept_price_jump: options.AcceptPriceJump = False,
    horizon: HorizonOption = None,
    settlement_lag: Lag = None,
    arms: Arms = None,
    gemini_url: GeminiUrl = None,
    replay: Replay = None,
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
    """Say how large an effect must be for a comparison on FILE to show it, before anything runs."""
    reading = options.ReadingOptions(timezone, bar, label, symbol, source)
    require_extras("compare plan", "experiments")
    from raysignal.cli.compare_plan import plan_job
    from raysignal.cli.trials import ArmOptions, ModelOptions, configured_trial

    policy = options.given(
        initial_cash=initial_cash, fee_bps=fee_bps, slippage_bps=slippage_bps, side=side, weight=weight, fill=fill,
    )  # fmt: skip
    settings = options.configured()
    plan_job(
        options.existing_file(file),
        reading,
        ArmOptions(policy, horizon, settlement_lag, arms, base=configured_trial(settings)),
        ModelOptions(url=gemini_url or settings.model_url, replay=replay),
        settings,
        Output(json),
        skip=on_error == "skip",
        accept_price_jump=accept_price_jump,
    )
