"""What `raysignal compare` does: reads the file, says what it could show, runs the arms, and shows what came out."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from raysignal.cli.compare_plan import plan_of, reach_sentence
from raysignal.cli.files import reading_of, reading_sentences
from raysignal.cli.hosting import NotStarted
from raysignal.cli.options import ReadingOptions
from raysignal.cli.output import Output
from raysignal.cli.remarks import remarks_aside
from raysignal.cli.results import results_dict, show_results
from raysignal.cli.stream import FileStream, read_stream
from raysignal.cli.texts import escape
from raysignal.cli.trials import ArmOptions, ModelOptions, cassette_beside, chosen_arms
from raysignal.cli.verbs import reading_options
from raysignal.engine.core.errors import NotFound, RaysignalError
from raysignal.engine.journal.stores import BlobStore, open_stores
from raysignal.experiments.cluster import ray_session
from raysignal.experiments.compare import Comparison, compare, config_of
from raysignal.experiments.result_files import blob_name
from raysignal.experiments.runs import CONFIG, Run, RunState, check_run_id, load_run, new_run_id, open_run
from raysignal.runtime.settings import Settings
from raysignal.serve.shutdown import ShutdownSignal

_MARKS = 4  # lines an arm where nobody watches


@dataclass(frozen=True, slots=True)
class CompareConfig:
    """One comparison as it was asked for.

    Attributes:
        path, reading: the file, and how it is read.
        skip: leave out rows that cannot be used.
        accept_price_jump: believe every price.
        rules, questions: of the arms.
        run_id: the run to go on with; None: a new one.
        title: of the report.
    """

    path: Path
    reading: ReadingOptions
    skip: bool = False
    accept_price_jump: bool = False
    rules: ArmOptions = field(default_factory=ArmOptions)
    questions: ModelOptions = field(default_factory=ModelOptions)
    run_id: str | None = None
    title: str = ""


@dataclass(frozen=True, slots=True)
class FinishedCompare:
    """A comparison that is done.

    Attributes:
        run: what came out.
        store: where it lies.
        read: arms whose results were there already.
        model: who was asked, in words.
        cassette: the record of the calls; None: nobody was asked.
    """

    run: Run
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


def run_job(job: CompareConfig, settings: Settings, output: Output) -> None:
    """Compare, and show what came out."""
    reading = reading_of(job.reading, settings, now_us=time.time_ns() // 1000)
    output.say(f"file      {escape(str(job.path))}: {reading_sentences(job.reading, reading)}")
    made = make(job, settings, output)
    if output.as_json:
        output.json(made.as_dict())
    else:
        show(made, output)


def make(job: CompareConfig, settings: Settings, output: Output) -> FinishedCompare:
    """Compare; everything that can be refused is refused before anything starts.

    Raises:
        InvalidField, SettingsError: rules that cannot be, or a model without a key.
        NotFound: no such run to go on with.
        Conflict: that run is one of something else.
        RaysignalError: a row that cannot be used; what an arm or the store met.
    """
    with reading_options():
        trial, arms = job.rules.trial(), chosen_arms(job.rules, job.questions)
        asks = "model" in arms
        comparison = Comparison(trial, arms, job.questions.asking() if asks else None, job.title)
    blobs = open_stores(settings.store).blobs
    file = read_stream(
        job.path, job.reading, settings, skip=job.skip, accept_jump=job.accept_price_jump, output=output
    )
    sided = int(np.count_nonzero(file.batch.action))
    model = job.questions.sentence(asked=asks, signals=sided)
    output.say(f"signals   {file.sentence}")
    output.say(f"reach     {reach_sentence(plan_of(file, trial, arms), str(trial.rules.horizon))}")
    output.say(f"model     {escape(model)}")
    state = _opened(job.run_id, file, comparison, blobs)
    cassette = None
    if comparison.asking is not None:
        cassette = comparison.asking.cassette or cassette_beside(settings.store, state.run_id)
        comparison = replace(comparison, asking=replace(comparison.asking, cassette=cassette))
    read = tuple(name for name in arms if name in state.arms)
    done = f"; {', '.join(read)} done already" if read else ""
    output.say(f"run       {state.run_id} in {escape(settings.store)}{done}")
    if cassette is not None and job.questions.replay is None:
        output.say(f"calls     recorded in {escape(str(cassette))}")
    if not state.finished:
        _carry_out(state.run_id, file, comparison, blobs, read, settings, output)
    return FinishedCompare(load_run(blobs, state.run_id), settings.store, read, model, cassette)


def show(made: FinishedCompare, output: Output) -> None:
    """Print what came out."""
    show_results(made.run, made.store, output)
    output.say(f"again     raysignal runs show {made.run.run_id} --store {escape(made.store)}")


def _opened(run_id: str | None, file: FileStream, comparison: Comparison, blobs: BlobStore) -> RunState:
    config = config_of(file.batch, comparison)
    if run_id is None:
        run_id = new_run_id(time.time_ns() // 1000, config)
    elif blobs.get(blob_name(check_run_id(run_id), CONFIG)) is None:
        raise NotFound(
            f"there is no run {run_id!r} to go on with; raysignal runs list shows those of a store",
            run_id=run_id,
        )
    return open_run(blobs, run_id, config)


def _carry_out(
    run_id: str, file: FileStream, comparison: Comparison, blobs: BlobStore, read: tuple[str, ...],
    settings: Settings, output: Output,
) -> None:  # fmt: skip
    from ray.exceptions import RayError

    waiting = [name for name in comparison.arms if name not in read]
    with ShutdownSignal() as stop:
        try:
            with (
                _ray(settings, stop, output),
                _watching(waiting, len(file.batch), output) as progress,
                stop.interruptible(),
            ):
                compare(
                    file.batch,
                    comparison,
                    blobs,
                    run_id=run_id,
                    provenance=file.provenance,
                    progress=progress,
                )
        except RayError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise RaysignalError(
                f"an arm ended before it was done ({lines[-1]}); go on with --run-id {run_id}"
            ) from error
        except KeyboardInterrupt:
            output.err.print(f"interrupted; what is done is kept: go on with --run-id {run_id}")
            raise


@contextmanager
def _ray(settings: Settings, stop: ShutdownSignal, output: Output) -> Iterator[None]:
    """Within, this process is on the Ray of the settings; what Ray remarks does not reach stdout."""
    where = (
        "starting Ray ..." if settings.ray_address is None else f"joining Ray at {settings.ray_address} ..."
    )
    output.err.print(where)
    with remarks_aside() as ending, ExitStack() as stack:
        try:
            with stop.unchallenged():
                stack.enter_context(ray_session(settings.ray_address))
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise NotStarted(
                f"Ray could not be reached: {lines[-1]}; `raysignal doctor` shows what works here"
            ) from error
        try:
            yield
        finally:
            ending()


@contextmanager
def _watching(arms: list[str], signals: int, output: Output) -> Iterator[Callable[[str, int], None]]:
    """Within, progress is shown: a bar an arm where somebody watches, else a line now and then."""
    marked: dict[str, int] = {}
    with output.progress() as bars:
        tasks = {name: bars.add_task(f"{name:<9}", total=signals) for name in arms}

        def progress(name: str, done: int) -> None:
            bars.update(tasks[name], completed=done)
            mark = _MARKS * done // signals
            if not output.err.is_terminal and mark > marked.get(name, 0):
                marked[name] = mark
                output.err.print(f"{name}: {done:,d} of {signals:,d} signals")

        yield progress
