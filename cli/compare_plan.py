"""What `raysignal compare plan` does, and the sentence of it that every comparison begins with."""

from pathlib import Path
from typing import Any

from rich.markup import escape

from cli.options import ReadingOptions
from cli.output import Output, rows_table
from cli.stream import FileStream, read_stream
from cli.trials import Questions, Rules, chosen_arms
from engine.settings import Settings
from experiments.arms import KINDS, Trial, stream_of
from experiments.paired import CLAIMS
from experiments.plan import EFFECTS_BPS, Plan, plan
from experiments.strata import strata_of

_TYPICAL = 0.1


def plan_job(
    path: Path, reading: ReadingOptions, rules: Rules, questions: Questions, settings: Settings, output: Output,
    *, skip: bool, accept_price_jump: bool,
) -> None:  # fmt: skip
    """Show what a comparison on a file could show."""
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
            f"An effect of that size would be shown {found.power:.0%} of the time, by a one-sided test at "
            f"{found.level:.3g}, for {_arms(found.claims)}. Dependence: {found.dependence:.1f} signals count as one."
        )


def plan_of(file: FileStream, trial: Trial, arms: tuple[str, ...]) -> Plan:
    """What a comparison could show, as its evaluation will say it."""
    stream = stream_of(file.batch, trial)
    claims = sum(KINDS[name] in CLAIMS for name in arms)
    return plan(
        stream.net_bps, timestamp_us=stream.timestamp_us, claims=max(1, claims),
        strata=strata_of(stream.symbol, stream.action), judged=stream.judged,
    )  # fmt: skip


def reach_sentence(found: Plan, horizon: str) -> str:
    """What could be shown, by the example of an arm that holds a tenth of the signals."""
    typical = next((row for row in found.reach if row.kind == "hold" and row.rate == _TYPICAL), None)
    if typical is None:
        return f"{found.judged:,d} signals can be judged over {horizon}: nothing can be shown"
    return (
        f"{found.judged:,d} signals can be judged over {horizon}; who holds {_TYPICAL:.0%} of them must choose ones "
        f"that gain {typical.per_override_bps:,.1f} bp more than the rest to be shown {found.power:.0%} of the time"
    )


def _table(found: Plan) -> Any:
    needed = [f"signals for {effect:g} bp" for effect in EFFECTS_BPS]
    columns = ("override", "of the signals", "bp per signal", "bp per overruled one", *needed)
    rows = [
        (
            row.kind,
            f"{row.rate:.0%}",
            f"{row.per_signal_bps:.2f}",
            f"{row.per_override_bps:.1f}",
            *(f"{count:,d}" for count in row.signals_for.values()),
        )
        for row in found.reach
    ]
    return rows_table(columns, rows)


def _arms(claims: int) -> str:
    return "one arm that claims to help" if claims == 1 else f"{claims} arms that claim to help"
