"""`raysignal`: the verbs, and what a person gets when something goes wrong.

One module a verb: its config, and what it does. What is heavy is imported once a verb is called, so that help and
small verbs answer at once.
"""

import io
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Annotated, Any

import typer
from rich.console import Console

from raysignal.cli import (
    backtest,
    check_strategy,
    compare,
    data,
    doctor,
    feed,
    hooks,
    luck,
    market,
    memory,
    model,
    model_training,
    parity,
    pipeline,
    portfolios,
    query,
    recordings,
    refusals,
    replay,
    risk,
    run,
    runs,
    serve,
    store,
    stream,
    sweep,
    trades,
)
from raysignal.cli.output import escape
from raysignal.cli.verbs import Verb, VerbGroup, WrongUsage, missing_module, verb
from raysignal.engine.core.errors import RaysignalError
from raysignal.engine.core.private_files import restrict_new_files
from raysignal.runtime.local_cluster import ON_LOOPBACK


class Verbs(VerbGroup):
    """Errors of the project end a verb with one sentence on stderr and status 1, of an option's value with status 2."""

    def invoke(self, ctx: Any) -> Any:
        """Invoke the verb."""
        try:
            return super().invoke(ctx)
        except RaysignalError as error:
            _say(error)
            raise typer.Exit(2 if isinstance(error, WrongUsage) else 1) from error
        except ModuleNotFoundError as error:
            if (said := missing_module(error)) is None:
                raise
            _say(said)
            raise typer.Exit(1) from error


def _say(error: RaysignalError) -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[red]error:[/red] {escape(str(error))}")


app = typer.Typer(
    cls=Verbs,
    name="raysignal",
    help="Trading signals in exactly once, portfolios as Ray actors, performance out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"raysignal {version('raysignal')}")
        raise typer.Exit


@app.callback()
def _raysignal(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


app.command("run", cls=Verb)(verb(run.RunConfig, run.run))
app.command("serve", cls=Verb)(verb(serve.ServeConfig, serve.serve))
app.command("replay", cls=Verb)(verb(replay.ReplayConfig, replay.replay))
app.command("performance", cls=Verb)(verb(portfolios.PerformanceConfig, portfolios.show_performance))
app.command("history", cls=Verb)(verb(portfolios.HistoryConfig, portfolios.show_history))
app.command("refusals", cls=Verb)(verb(refusals.RefusalsConfig, refusals.show_refusals))
app.command("stream", cls=Verb)(verb(stream.StreamConfig, stream.write_stream))
app.command("trades", cls=Verb)(verb(trades.TradesConfig, trades.show_trades))
app.command("query", cls=Verb)(verb(query.QueryConfig, query.ask_results))
app.add_typer(compare.app, name="compare")
app.command("sweep", cls=Verb)(verb(sweep.SweepConfig, sweep.sweep))
app.command("luck", cls=Verb)(verb(luck.LuckConfig, luck.luck))
app.command("check-strategy", cls=Verb)(verb(check_strategy.CheckStrategyConfig, check_strategy.check_rule))
app.command("backtest", cls=Verb)(verb(backtest.BacktestConfig, backtest.backtest))
app.command("parity", cls=Verb)(verb(parity.ParityConfig, parity.parity))
app.add_typer(pipeline.app, name="pipeline")
pipeline.app.command("show", cls=Verb)(verb(risk.ShowPipelineConfig, risk.show_pipeline))
app.add_typer(risk.app, name="risk")
app.add_typer(runs.app, name="runs")
app.add_typer(data.app, name="data")
app.add_typer(feed.app, name="feed")
feed.app.command("record", cls=Verb)(verb(recordings.RecordConfig, recordings.record))
feed.app.command("replay", cls=Verb)(verb(recordings.FeedReplayConfig, recordings.replay_recordings))
feed.app.command("export", cls=Verb)(verb(recordings.ExportRecordingsConfig, recordings.export))
app.add_typer(market.app, name="market")
market.app.command("symbols", cls=Verb)(verb(market.SymbolsConfig, market.show_symbols))
market.app.command("download", cls=Verb)(verb(market.DownloadConfig, market.download))
app.add_typer(hooks.app, name="hooks")
app.add_typer(memory.app, name="memory")
model.app.command("train", cls=Verb)(verb(model_training.TrainModelConfig, model_training.train))
model.app.command("export", cls=Verb)(verb(model_training.ExportModelConfig, model_training.export))
app.add_typer(model.app, name="model")
app.add_typer(store.app, name="store")
app.command("doctor", cls=Verb)(verb(doctor.DoctorConfig, doctor.show_findings))


def main() -> None:
    """The entry point. What the program writes, its user alone reads; a Ray that it starts listens on loopback."""
    restrict_new_files()
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors="replace")  # what a terminal's encoding has no sign for
    if not joins_cluster(sys.argv[1:], os.environ):
        os.environ.update(ON_LOOPBACK)  # before anything imports Ray
    app()


def joins_cluster(arguments: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether a command line or its environment names a Ray cluster."""
    named = any(argument.split("=")[0] == "--ray-address" for argument in arguments)
    return named or any(name.upper() == "RAYSIGNAL_RAY_ADDRESS" and value for name, value in environ.items())
