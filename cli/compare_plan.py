"""What `raysignal compare plan` does, and the sentence of it that every comparison begins with."""

from pathlib import Path
from typing import Any

from raysignal.cli.options import ReadingOptions
from raysignal.cli.output import Output, rows_table
from raysignal.cli.stream import FileStream, read_stream
from raysignal.cli.texts import escape
from raysignal.cli.trials import ArmOptions, ModelOptions, chosen_arms
from raysignal.cli.verbs import reading_options
from raysignal.experiments.arms import KINDS, Trial, stream_of
from raysignal.experiments.formats import counted, horizon_words
from raysignal.experiments.paired import CLAIMS, FEWEST
from raysignal.experiments.plan import EFFECTS_BPS, RATES, PowerPlan, plan
from raysignal.experiments.strata import strata_of
from raysignal.runtime.settings import Settings

_TYPICAL = 0.1
_SHARES = {0.05: "one in twenty", 0.1: "one in ten", 0.2: "one in five", 0.4: "two in five"}


def plan_job(
    path: Path, reading: ReadingOptions, rules: ArmOptions, questions: ModelOptions, settings: Settings, output: Output,
    *, skip: bool, accept_price_jump: bool,
) -> None:  # fmt: skip
    """Show what a comparison on a file could show."""
    with reading_options():
        trial, arms = rules.trial(), chosen_arms(rules, questions)
    file = read_stream(path, reading, settings, skip=skip, accept_jump=accept_price_jump, output=output)
    found = plan_of(file, trial, arms)
    if output.as_json:
        output.json(
            {"file": str(path), "read": file.provenance["read"], "signals": len(file.batch),
             "horizon": str(trial.rules.horizon), **found.as_dict()}
        )  # fmt: skip
        return
    output.say(f"file      {escape(str(path))}: {file.provenance['read']}")
    output.say(f"signals   {file.sentence}")
    output.say(f"reach     {reach_sentence(found, str(trial.rules.horizon))}")
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
    stream = stream_of(file.batch, trial)
    claims = sum(KINDS[name] in CLAIMS for name in arms)
    return plan(
        stream.net_bps, timestamp_us=stream.timestamp_us, claims=max(1, claims),
        strata=strata_of(stream.symbol, stream.action), judged=stream.judged,
        known_at_us=stream.known_at_us,
    )  # fmt: skip


def reach_sentence(found: PowerPlan, horizon: str) -> str:
    """What could be shown, by the example of an arm that holds a tenth of the signals, or what comes nearest to it."""
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


def _why(found: PowerPlan) -> str:
    if found.seldom:
        shorter = "take a shorter horizon, or a longer file"
        return f"fewer than {FEWEST} outcomes follow one another without overlap: {shorter}"
    if (most := found.judged * max(RATES)) < FEWEST:
        return f"{_SHARES[max(RATES)]} of them are {most:g}, and fewer than {FEWEST} overruled signals show nothing"
    return "no override changes what becomes of enough of them"


def _table(found: PowerPlan) -> Any:
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
