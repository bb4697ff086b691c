"""`raysignal compare plan`: what a comparison on a file could show, before anything runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysignal.cli import arms as arm_options
from raysignal.cli import model_options, options
from raysignal.cli.arms import chosen_arms, configured_trial
from raysignal.cli.output import Output, escape, rows_table
from raysignal.cli.signal_files import FileStream, read_stream
from raysignal.cli.verbs import reading_options, require_extras

if TYPE_CHECKING:
    from raysignal.experiments.comparison.arms import Trial
    from raysignal.experiments.comparison.gate_plan import GatePlan
    from raysignal.experiments.comparison.power_plan import PowerPlan

_RUN = "The run"
_TYPICAL = 0.1
_SHARES = {0.05: "one in twenty", 0.1: "one in ten", 0.2: "one in five", 0.4: "two in five"}
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
class PlanConfig:
    """Of which comparison it is said what it could show."""

    file: File
    on_error: options.OnError = "refuse"
    accept_price_jump: options.AcceptPriceJump = False
    arm: arm_options.ArmOptions
    arms: Arms = None
    model_url: model_options.ModelUrl = None
    replay: model_options.Replay = None
    embeddings: model_options.Embeddings = None
    reading: options.ReadingOptions
    policy: options.PolicyOptions
    json: options.Json = False


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
        asked = model_options.ModelOptions(
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
             "embeddings": None if takes is None else asdict(takes)}
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
