"""`raysignal model train` and `export`: a recurrent policy from the prices of a file, judged, and as an ONNX model."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysignal.cli import options
from raysignal.cli.on_ray import experiment_on_ray, resumable, watching
from raysignal.cli.output import Output, escape, rows_table
from raysignal.cli.run import SourceFile
from raysignal.cli.runs import place_of, run_to_go_on_with
from raysignal.cli.signal_files import read_stream, reading_of, reading_sentences
from raysignal.cli.verbs import reading_options, require_extras
from raysignal.engine.core.policy import Policy
from raysignal.serve.shutdown import ShutdownSignal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from raysignal.experiments.training.spec import TrainingSpec


_learning = partial(typer.Option, rich_help_panel="How it learns")
_run = partial(typer.Option, rich_help_panel="The run")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainModelConfig:
    """What a policy is trained on, and how."""

    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="Prices, with or without signals: CSV, NDJSON, JSON, Parquet, or a folder of Parquet; default: the "
            "sample.",
            show_default=False,
        ),
    ] = None
    symbol: Annotated[
        str | None,
        _run(
            metavar="NAME",
            help="Which of the file; default: its only one. It is that of rows that name none, too.",
        ),
    ] = None
    feature: Annotated[
        list[str] | None,
        _learning(
            "--feature",
            metavar="NAME",
            help="What it sees, such as rsi(14) or returns(5); as often as there are. Default: six that do not depend "
            "on the level of the price.",
        ),
    ] = None
    hidden: Annotated[int | None, _learning(metavar="N", help="Cells of its LSTM; 32.")] = None
    rounds: Annotated[int | None, _learning(metavar="N", help="Of learning; 100.")] = None
    episodes: Annotated[int | None, _learning(metavar="N", help="Side by side in a round; 32.")] = None
    episode_bars: Annotated[int | None, _learning(metavar="BARS", help="Of an episode; 128.")] = None
    seeds: Annotated[int | None, _learning(metavar="N", help="How often it is trained anew; 5.")] = None
    seed: Annotated[int | None, _learning(metavar="N", help="The first of them; 0.")] = None
    test: Annotated[
        float | None,
        _run(metavar="SHARE", help="Of the bars, at the end, that nothing is trained on; 0.3."),
    ] = None
    embargo: Annotated[int | None, _run(metavar="BARS", help="Left out before the test; 20.")] = None
    policy: options.PolicyOptions
    workers: Annotated[
        int | None, _run(metavar="N", min=1, max=10_000, help="A core each; default: all there are.")
    ] = None
    run_id: Annotated[str | None, _run(metavar="ID", help="Go on with a run that was stopped.")] = None
    on_error: options.OnError = "refuse"
    accept_price_jump: options.AcceptPriceJump = False
    stamps: options.StampOptions
    source: options.Source = None
    ray_address: options.RayAddress = None
    store: options.Store = None
    json: options.Json = False

    def __post_init__(self) -> None:
        own = (self.stamps, self.symbol, self.source)
        if self.file is None and own != (options.StampOptions(), None, None):
            raise typer.BadParameter("how to read is said of a FILE; the sample is read as it was made")

    @property
    def given_file(self) -> SourceFile:
        """The file, and how it is read."""
        if self.file is None:
            return SourceFile.sample()
        return SourceFile(
            options.existing_prices(self.file), self.stamps.with_names(self.symbol, self.source)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportModelConfig:
    """Which policy becomes a model, and where."""

    run: Annotated[str, typer.Argument(metavar="RUN", help="A training, as raysignal runs list shows it.")]
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Of the model; not there yet, or empty.")]
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Which policy; default: the one that earned most where it was trained."
        ),
    ] = None
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Of the model; letters, digits, and . _ + - within.")
    ] = "ppo-lstm"
    store: options.Store = None
    json: options.Json = False


def train(config: TrainModelConfig) -> None:
    """Train a recurrent policy on the prices of a file, and say what it is worth out of sample.

    PPO with an LSTM, several times from other seeds; the accounts are the kernel's, long-short unless --side says
    otherwise. Beside it stand cash, holding, the same actions at other times, and the moving averages that were best
    where it was trained.
    """
    require_extras("model train", "experiments", "training")
    from raysignal.engine.journal.stores import open_stores
    from raysignal.experiments.result_files import REPORT
    from raysignal.experiments.runs import new_run_id
    from raysignal.experiments.sweeps.market import market_named, markets_of
    from raysignal.experiments.training.environment import TrainingData
    from raysignal.experiments.training.running import run_training

    settings = options.configured(store=config.store, ray_address=config.ray_address)
    output = Output(config.json)
    given = config.given_file
    with reading_options():
        spec = _spec(config, given.path.name)
    reading = reading_of(given.reading, settings)
    output.say(f"file      {escape(str(given.path))}: {reading_sentences(given.reading, reading)}")
    file = read_stream(
        given.path, given.reading, settings, skip=config.on_error == "skip", accept_jump=config.accept_price_jump,
        output=output, prices_only=True,
    )  # fmt: skip
    with reading_options():
        data = TrainingData.of(market_named(config.symbol, markets_of(file.batch)), spec)
    output.say(f"prices    {file.sentence}")
    blobs = open_stores(settings.store).blobs
    if config.run_id is None:
        run_id = new_run_id(time.time_ns() // 1000, spec.config(data.market))
    else:
        run_id = run_to_go_on_with(blobs, config.run_id)
    output.say(f"run       {run_id} in {escape(settings.store)}")
    with (
        ShutdownSignal() as stop,
        experiment_on_ray(settings, stop, output, cpus=config.workers),
        watching("rounds", output) as progress,
        resumable(run_id, "a policy could not be trained", stop, output),
    ):
        done = run_training(data, spec, blobs, run_id=run_id, provenance=file.provenance, progress=progress)
    if config.json:
        output.json({"run_id": run_id, "store": settings.store, **done.metrics})
        return
    output.say("")
    show_training(done.metrics, output)
    output.say(f"report    {escape(place_of(settings.store, run_id, REPORT))}")
    output.say(f"export    raysignal model export {run_id} FOLDER")


def _spec(config: TrainModelConfig, title: str) -> TrainingSpec:
    from raysignal.experiments.training.spec import TrainingSpec

    said = options.given(
        features=tuple(config.feature) if config.feature else None, hidden=config.hidden, rounds=config.rounds,
        episodes=config.episodes, episode_bars=config.episode_bars, seeds=config.seeds, seed=config.seed,
        test=config.test, embargo=config.embargo,
    )  # fmt: skip
    return TrainingSpec(
        policy=Policy.from_dict({"side": "long-short", **config.policy.given()}), title=title, **said
    )


def show_training(metrics: Mapping[str, Any], output: Output) -> None:
    """What a training was worth out of sample, for a person."""
    from raysignal.experiments.formats import NONE, bp, interval, percent
    from raysignal.experiments.training.evaluation import sentence

    output.say(escape(sentence(metrics)))
    policy = metrics["policy"]
    rows = [["policy", percent(policy["total_return"]), bp(policy["mean_bps"]), "", ""]]
    for name, one in metrics["controls"].items():
        gap = one["difference_bps"]
        bounds = NONE if gap["low"] is None else interval(gap["low"], gap["high"])
        said = f"{name}, {metrics['grid']}" if name == "the best SMA" else name
        rows.append([said, percent(one["total_return"]), bp(one["mean_bps"]), bp(gap["estimate"]), bounds])
    output.table(
        rows_table(("out of sample", "return", "bp a bar", "policy more, bp a bar", "95% interval"), rows)
    )
    seeds = [
        [
            one["seed"], percent(one["training"]["total_return"]), percent(one["test"]["total_return"]),
            bp(one["test"]["mean_bps"]), one["test"]["trades"],
        ]
        for one in metrics["seeds"]
    ]  # fmt: skip
    output.table(rows_table(("seed", "where trained", "out of sample", "bp a bar", "trades"), seeds))


def export(config: ExportModelConfig) -> None:
    """Write a trained policy as an ONNX model with its card, once ONNX Runtime says what JAX says."""
    require_extras("model export", "experiments", "training", "inference")
    from raysignal.engine.journal.stores import open_stores
    from raysignal.experiments.training.export import export_model

    store, output = options.configured(store=config.store).store, Output(config.json)
    with options.writing_to(config.folder):
        made = export_model(
            open_stores(store).blobs, config.run, config.folder, seed=config.seed, name=config.name
        )
    if config.json:
        output.json(
            {"card": made.card, "difference": made.difference, "steps": made.steps, "episodes": made.episodes}
        )
        return
    card = made.card
    output.say(f"model     {card['name']} {card['version']} in {escape(str(config.folder))}")
    output.say(f"features  {escape(', '.join(card['features']))}, each {card['bar']}")
    output.say(
        f"parity    ONNX Runtime and JAX differ by {made.difference:.1e} at most, over {made.steps:,d} steps and "
        f"{made.episodes:,d} episodes"
    )
