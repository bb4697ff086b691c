"""`raysignal compare`: does overruling signals help? The standing arms on one file, in pairs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysignal.cli import arms as arm_options
from raysignal.cli import options
from raysignal.cli.arms import cassette_beside, chosen_arms, configured_trial, embeddings_beside
from raysignal.cli.on_ray import MARKS, experiment_on_ray, resumable
from raysignal.cli.output import Output, escape, rows_table
from raysignal.cli.runs import results_dict, run_to_go_on_with, show_results
from raysignal.cli.signal_files import FileStream, read_stream, reading_of, reading_sentences
from raysignal.cli.verbs import Verb, VerbGroup, reading_options, require_extras, verb
from raysignal.serve.shutdown import ShutdownSignal

if TYPE_CHECKING:
    from raysignal.engine.journal.stores import BlobStore
    from raysignal.experiments.comparison.arms import Trial
    from raysignal.experiments.comparison.compare import Comparison
    from raysignal.experiments.comparison.gate_plan import GatePlan
    from raysignal.experiments.comparison.power_plan import PowerPlan
    from raysignal.experiments.runs import Run, RunState
    from raysignal.runtime.settings import Settings

_RUN = "The run"
_TYPICAL = 0.1
_SHARES = {0.05: "one in twenty", 0.1: "one in ten", 0.2: "one in five", 0.4: "two in five"}


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
Arms = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        rich_help_panel=_RUN,
        help="Some of baseline,memory,model,review,random,shuffled,canary,chroma; default: all but chroma, "
        "which is slow, and those that ask a model if one can be asked.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareConfig:
    """Which arms are compared, on which signals, by which rules."""

    file: File
    on_error: options.OnError = "refuse"
    accept_price_jump: options.AcceptPriceJump = False
    arm: arm_options.ArmOptions
    model: arm_options.ModelOptions
    arms: Arms = None
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", rich_help_panel=_RUN, help="Of what is drawn by lot.")
    ] = 0
    run_id: Annotated[
        str | None, typer.Option(metavar="ID", rich_help_panel=_RUN, help="Go on with this run of the store.")
    ] = None
    title: Annotated[str, typer.Option(metavar="TEXT", rich_help_panel=_RUN, help="Of the report.")] = ""
    store: options.Store = None
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            rich_help_panel=_RUN,
            help="Run on this Ray cluster (RAYSIGNAL_RAY_ADDRESS), such as host:6379 or auto; default: a new one.",
        ),
    ] = None
    reading: options.ReadingOptions
    policy: options.PolicyOptions
    json: options.Json = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanConfig:
    """Of which comparison it is said what it could show."""

    file: File
    on_error: options.OnError = "refuse"
    accept_price_jump: options.AcceptPriceJump = False
    arm: arm_options.ArmOptions
    arms: Arms = None
    model_url: arm_options.ModelUrl = None
    replay: arm_options.Replay = None
    embeddings: arm_options.Embeddings = None
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


# What a comparison could show


def plan_comparison(config: PlanConfig) -> None:
    """Say how large an effect must be for a comparison on FILE to show it, before anything runs.

    It says as well from which signal on the gate has enough evidence to speak, and how many signals it would overrule
    or leave to a model.
    """
    require_extras("compare plan", "experiments")
    from raysignal.agents.override.text_embeddings import embed_texts, free_texts_of
    from raysignal.experiments.comparison.gate_plan import plan_gate

    options.existing_file(config.file)
    settings, output = options.configured(), Output(config.json)
    with reading_options():
        asked = arm_options.ModelOptions(
            model_url=config.model_url, replay=config.replay, embeddings=config.embeddings
        ).configured(settings)
        arms = chosen_arms(config.arms, asked)
        trial = config.arm.trial(configured_trial(settings), config.policy)
        embedding = asked.embedding_by()
        if embedding is not None:
            embedding.check(texts=trial.rules.texts)
    file = read_stream(
        config.file,
        config.reading,
        settings,
        skip=config.on_error == "skip",
        accept_jump=config.accept_price_jump,
        output=output,
    )
    texts = [] if embedding is None else free_texts_of(file.batch)
    takes = asked.embedding_plan(texts)
    if embedding is not None and embedding.replays:
        trial = replace(trial, embedder=embed_texts(texts, embedding))
    found, gate = plan_of(file, trial, arms), plan_gate(file.batch, trial)
    if config.json:
        output.json(
            {"file": str(config.file), "read": file.provenance["read"], "signals": len(file.batch),
             "horizon": str(trial.rules.horizon), **found.as_dict(), "gate": gate.as_dict(),
             "embeddings": None if takes is None else takes.as_dict()}
        )  # fmt: skip
        return
    output.say(f"file      {escape(str(config.file))}: {file.provenance['read']}")
    output.say(f"signals   {file.sentence}")
    output.say(f"reach     {reach_sentence(found, str(trial.rules.horizon))}")
    output.say(f"gate      {gate_sentence(gate)}")
    if gate.speaks_about:
        output.say(f"grey      {grey_sentence(gate)}")
    if takes is not None:
        output.say(f"texts     {escape(asked.embedding_sentence(takes))}")
    if found.reach:
        output.table(_table(found))
        output.say(
            f"Differences between overruled and other signals, bp, that {found.judged:,d} judged signals show "
            f"about {found.power:.0%} of the time, and how many judged signals it takes to show others. One-sided test "
            f"at {found.level:.3g}, for {_arms(found.claims)}, where the overruled ones lie scattered. "
            f"Neighbouring outcomes overlap: {found.dependence:.1f} of them count as one."
        )


def plan_of(file: FileStream, trial: Trial, arms: tuple[str, ...]) -> PowerPlan:
    """What a comparison could show, as its evaluation will say it."""
    from raysignal.experiments.comparison.arms import KINDS, stream_of
    from raysignal.experiments.comparison.paired import CLAIMS
    from raysignal.experiments.comparison.power_plan import plan
    from raysignal.experiments.comparison.strata import strata_of

    stream = stream_of(file.batch, trial)
    claims = sum(KINDS[name] in CLAIMS for name in arms)
    return plan(
        stream.net_bps, timestamp_us=stream.timestamp_us, claims=max(1, claims),
        strata=strata_of(stream.symbol, stream.side), judged=stream.judged,
        known_at_us=stream.known_at_us,
    )  # fmt: skip


def reach_sentence(found: PowerPlan, horizon: str) -> str:
    """What could be shown, by the example of an arm that holds a tenth of the signals, or what comes nearest to it."""
    from raysignal.experiments.formats import counted, horizon_words

    judged = f"{counted(found.judged, 'signal')} can be followed {horizon_words(horizon)}"
    if not found.reach:
        return f"{judged}: nothing can be shown, because {_why(found)}"
    typical = min(found.reach, key=lambda row: (row.kind != "hold", abs(row.rate - _TYPICAL)))
    effect, count = max(typical.signals_for.items())
    if typical.share < 1.0:
        changes = {"hold": "holding", "flip": "flipping"}[typical.kind]
        judged += f", and {changes} changes what becomes of {typical.share:.0%} of them"
    return (
        f"{judged}. If an arm {typical.kind}s {_SHARES[typical.rate]} of these, and they are worth "
        f"{typical.per_override_bps:,.1f} bp less than others of their symbol and side, the comparison shows it about "
        f"{found.power:.0%} of the time; less often a smaller difference, or the same of signals that lie together. To "
        f"show {effect:g} bp takes "
        f"{counted(count, 'such signal')}"
    )


def gate_sentence(found: GatePlan) -> str:
    """From which signal on the gate may speak, or after how many more."""
    from raysignal.experiments.comparison.gate_plan import SHORTEST

    if not found.signals:
        return "there is no BUY or SELL signal to speak about"
    said = found.readiness.sentence
    if found.speaks_from is not None:
        of = f"{'' if found.whole else 'the first '}{found.signals:,d}"
        said = (
            f"The gate may speak about {found.speaks_about:,d} of {of} BUY and SELL signals, from the "
            f"{_nth(found.speaks_from)} on, because {found.readiness.least:g} independent precedents are asked for."
        )
    if found.shortest_from is not None and found.shortest_from != found.speaks_from:
        said += f" With --horizon {SHORTEST} it may from the {_nth(found.shortest_from)} on."
    return said


def grey_sentence(found: GatePlan) -> str:
    """What the gate would overrule, and what it would leave to a model, by where the dial stands."""

    def share(count: int) -> str:
        return f"{count:,d} ({count / found.signals:.1%})"

    asked = [
        f"{share(count)} at --grey {dial:g}{', as it is set' if dial == found.dial else ''}"
        for dial, count in found.grey.items()
    ]
    return f"the gate would overrule {share(found.overruled)}, and a model be asked about {'; '.join(asked)}"


def _nth(place: int) -> str:
    ending = "th" if place % 100 in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place:,d}{ending}"


def _why(found: PowerPlan) -> str:
    from raysignal.experiments.comparison.paired import FEWEST
    from raysignal.experiments.comparison.power_plan import RATES

    if found.seldom:
        shorter = "take a shorter horizon, or a longer file"
        return f"fewer than {FEWEST} outcomes follow one another without overlap: {shorter}"
    if (most := found.judged * max(RATES)) < FEWEST:
        return f"{_SHARES[max(RATES)]} of them are {most:g}, and fewer than {FEWEST} overruled signals show nothing"
    return "no override changes what becomes of enough of them"


def _table(found: PowerPlan) -> Any:
    from raysignal.experiments.comparison.power_plan import EFFECTS_BPS

    needed = [f"signals for {effect:g} bp" for effect in EFFECTS_BPS]
    columns = (
        "override",
        "can change",
        "overruled of these",
        "bp per judged signal",
        "bp per overruled one",
        *needed,
    )
    rows = [
        (
            row.kind,
            f"{row.share:.0%}",
            f"{row.rate:.0%}",
            f"{row.per_signal_bps:.2f}",
            f"{row.per_override_bps:.1f}",
            *(f"{count:,d}" for count in row.signals_for.values()),
        )
        for row in found.reach
    ]
    table = rows_table(columns, rows)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _arms(claims: int) -> str:
    return "one arm that claims to help" if claims == 1 else f"{claims} arms that claim to help"


app.command("run", cls=Verb)(verb(CompareConfig, compare_arms))
app.command("plan", cls=Verb)(verb(PlanConfig, plan_comparison))
