"""`raysignal compare`: does overruling signals help? The standing arms on one file, in pairs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysignal.cli import arms as arm_options
from raysignal.cli import model_options, options
from raysignal.cli.arms import chosen_arms, configured_trial
from raysignal.cli.compare_plan import Arms, File, PlanConfig, plan_comparison, plan_of, reach_sentence
from raysignal.cli.model_options import cassette_beside, embeddings_beside
from raysignal.cli.on_ray import MARKS, experiment_on_ray, resumable
from raysignal.cli.output import Output, escape
from raysignal.cli.runs import results_dict, run_to_go_on_with, show_results
from raysignal.cli.signal_files import FileStream, read_stream, reading_of, reading_sentences
from raysignal.cli.verbs import Verb, VerbGroup, reading_options, require_extras, verb
from raysignal.serve.shutdown import ShutdownSignal

if TYPE_CHECKING:
    from raysignal.engine.journal.stores import BlobStore
    from raysignal.experiments.comparison.compare import Comparison
    from raysignal.experiments.runs import Run, RunState
    from raysignal.runtime.settings import Settings

_run = partial(typer.Option, rich_help_panel="The run")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareConfig:
    """Which arms are compared, on which signals, by which rules."""

    file: File
    on_error: options.OnError = "refuse"
    accept_price_jump: options.AcceptPriceJump = False
    arm: arm_options.ArmOptions
    model: model_options.ModelOptions
    arms: Arms = None
    seed: Annotated[int, _run(min=0, metavar="N", help="Of what is drawn by lot.")] = 0
    run_id: Annotated[str | None, _run(metavar="ID", help="Go on with this run of the store.")] = None
    title: Annotated[str, _run(metavar="TEXT", help="Of the report.")] = ""
    store: options.Store = None
    ray_address: Annotated[
        str | None,
        _run(
            metavar="ADDRESS",
            help="Run on this Ray cluster (RAYSIGNAL_RAY_ADDRESS), such as host:6379 or auto; default: a new one.",
        ),
    ] = None
    reading: options.ReadingOptions
    policy: options.PolicyOptions
    json: options.Json = False


@dataclass(frozen=True, slots=True)
class FinishedCompare:
    """A comparison that is done.

    Attributes:
        run: what came out.
        signals: which were compared, in words, as markup.
        store: where it lies.
        read: arms whose results were there already.
        model: who was asked, in words.
        cassette: the record of the calls; None: nobody was asked.
    """

    run: Run
    signals: str
    store: str
    read: tuple[str, ...]
    model: str
    cassette: Path | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return results_dict(self.run, self.store) | {
            "arms_read": list(self.read),
            "model": self.model,
            "cassette": None if self.cassette is None else str(self.cassette),
        }


def compare_arms(config: CompareConfig) -> None:
    """Compare, on the signals of FILE, arms that may overrule signals with one that follows them all.

    Every arm sees the same signals, fills and costs. The differences are taken signal by signal, and the
    verdict comes with its interval and with the smallest effect that this file could have shown. Controls run
    beside: one that draws by lot, one with a shuffled memory, and one that looks ahead and must win.

    The exit status says that the comparison was made, not how it ended.

    raysignal compare plan FILE says, before anything runs, what the file could show.
    """
    require_extras("compare", "experiments")
    options.existing_file(config.file)
    settings = options.configured(ray_address=config.ray_address, store=config.store)
    output = Output(config.json)
    reading = reading_of(config.reading, settings)
    output.say(f"file      {escape(str(config.file))}: {reading_sentences(config.reading, reading)}")
    made = make(config, settings, output)
    if config.json:
        output.json(made.as_dict())
    else:
        show(made, output)


def make(config: CompareConfig, settings: Settings, output: Output) -> FinishedCompare:
    """Compare; everything that can be refused is refused before anything starts.

    Raises:
        InvalidField, SettingsError: rules that cannot be, or a model without a key.
        NotFound: no such run to go on with.
        Conflict: that run is one of something else.
        RaysignalError: a row that cannot be used; what an arm or the store met.
    """
    import numpy as np

    from raysignal.agents.override.text_embeddings import free_texts_of
    from raysignal.engine.journal.stores import open_stores
    from raysignal.experiments.comparison.arms import ASKING
    from raysignal.experiments.comparison.compare import Comparison
    from raysignal.experiments.runs import load_run

    with reading_options():
        asked = config.model.configured(settings)
        trial = config.arm.trial(configured_trial(settings), config.policy, seed=config.seed)
        arms = chosen_arms(config.arms, asked)
        asking = tuple(name for name in arms if name in ASKING)
        comparison = Comparison(
            trial, arms, asked.asking() if asking else None, config.title, asked.embedding()
        )
    blobs = open_stores(settings.store).blobs
    file = read_stream(
        config.file,
        config.reading,
        settings,
        skip=config.on_error == "skip",
        accept_jump=config.accept_price_jump,
        output=output,
    )
    sided = int(np.count_nonzero(file.batch.side))
    model = asked.sentence(asked=asking, signals=sided)
    output.say(f"signals   {file.sentence}")
    output.say(f"reach     {reach_sentence(plan_of(file, trial, arms), str(trial.rules.horizon))}")
    output.say(f"model     {escape(model)}")
    state = _opened(config.run_id, file, comparison, blobs)
    cassette = None
    if comparison.asking is not None:
        cassette = comparison.asking.cassette or cassette_beside(settings.store, state.run_id)
        comparison = replace(comparison, asking=replace(comparison.asking, cassette=cassette))
    if (embedding := comparison.embedding) is not None:
        record = embedding.record or embeddings_beside(cassette_beside(settings.store, state.run_id))
        comparison = replace(comparison, embedding=replace(embedding, record=record))
        takes = asked.embedding_plan(free_texts_of(file.batch))
        assert takes is not None
        output.say(f"texts     {escape(asked.embedding_sentence(takes))}")
        if not embedding.replays:
            output.say(f"record    {escape(str(record))}")
    read = tuple(name for name in arms if name in state.arms)
    done = f"; {', '.join(read)} done already" if read else ""
    output.say(f"run       {state.run_id} in {escape(settings.store)}{done}")
    if cassette is not None and asked.replay is None:
        output.say(f"calls     recorded in {escape(str(cassette))}")
    if not state.finished:
        _carry_out(state.run_id, file, comparison, blobs, read, settings, output)
    return FinishedCompare(
        load_run(blobs, state.run_id), file.sentence, settings.store, read, model, cassette
    )


def show(made: FinishedCompare, output: Output) -> None:
    """Print what came out."""
    show_results(made.run, made.store, output)
    output.say(f"again     raysignal runs show {made.run.run_id} --store {escape(made.store)}")


def _opened(run_id: str | None, file: FileStream, comparison: Comparison, blobs: BlobStore) -> RunState:
    from raysignal.experiments.comparison.compare import config_of
    from raysignal.experiments.runs import new_run_id, open_run

    config = config_of(file.batch, comparison)
    if run_id is None:
        run_id = new_run_id(time.time_ns() // 1000, config)
    else:
        run_to_go_on_with(blobs, run_id)
    return open_run(blobs, run_id, config)


def _carry_out(
    run_id: str, file: FileStream, comparison: Comparison, blobs: BlobStore, read: tuple[str, ...],
    settings: Settings, output: Output,
) -> None:  # fmt: skip
    from raysignal.experiments.comparison.compare import compare

    waiting = [name for name in comparison.arms if name not in read]
    with (
        ShutdownSignal() as stop,
        experiment_on_ray(settings, stop, output),
        _watching(waiting, len(file.batch), output) as progress,
        resumable(run_id, "an arm ended before it was done", stop, output),
    ):
        compare(file.batch, comparison, blobs, run_id=run_id, provenance=file.provenance, progress=progress)


@contextmanager
def _watching(arms: list[str], signals: int, output: Output) -> Iterator[Callable[[str, int], None]]:
    """Within, progress is shown: a bar an arm where somebody watches, else a line now and then."""
    marked: dict[str, int] = {}
    with output.progress() as bars:
        tasks = {name: bars.add_task(f"{name:<9}", total=signals) for name in arms}

        def progress(name: str, done: int) -> None:
            bars.update(tasks[name], completed=done)
            mark = MARKS * done // signals
            if not output.err.is_terminal and mark > marked.get(name, 0):
                marked[name] = mark
                output.err.print(f"{name}: {done:,d} of {signals:,d} signals")

        yield progress


app.command("run", cls=Verb)(verb(CompareConfig, compare_arms))
app.command("plan", cls=Verb)(verb(PlanConfig, plan_comparison))
