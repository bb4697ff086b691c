"""What shrinkage brings where data are few: the gate with and without it, on the standard stream of 1 000 signals.

    python -m raysignal.experiments.validation.small_data

With the planted effect: the uplift, the selection in it, and the first override that was right to be made. Without an
effect: what it overrules all the same. `paired.assess` says of each stream whether anything may be claimed.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raysignal.agents.override.agent import AgentRules
from raysignal.agents.override.evidence import RecallOptions
from raysignal.experiments.comparison import arms
from raysignal.experiments.comparison.arms import Trial
from raysignal.experiments.comparison.paired import Judgment, assess
from raysignal.experiments.comparison.strata import strata_of
from raysignal.experiments.validation.cases import STANDARD
from raysignal.experiments.validation.table import Criterion, show

ROWS = 1_000
FIRST_SEED = 1_001
"""Streams before it are those that the shares of the cohorts were chosen on."""
LEAST_UPLIFT = 1.3
LEAST_EARLIER = 2.0
RECALLS = {"with shrinkage": RecallOptions(), "without": RecallOptions(shrinkage=False, prior=20.0)}


@dataclass(frozen=True, slots=True)
class GateFigures:
    """What the gate did on one stream.

    Attributes:
        uplift_bps, selection_bps: a judged signal.
        override_rate: share of the judged signals that it overruled.
        first_right: place of the first signal whose override gained, counted from 1; all rows where there is none.
        right: share of the overruled signals that were wrong; NaN where none was.
        helps: it is said to.
    """

    uplift_bps: float
    selection_bps: float
    override_rate: float
    first_right: int
    right: float
    helps: bool


def try_stream(seed: int, recall: RecallOptions, *, effect: bool, rows: int = ROWS) -> GateFigures:
    """The gate's figures on the standard stream of a seed."""
    case = STANDARD.case
    trial = Trial(policy=case.policy, rules=AgentRules(recall=recall), seed=seed)
    batch = case.make(seed, rows, effect)
    stream, verdict = arms.stream_of(batch, trial), arms.gated(batch, trial).verdict
    found = assess(
        verdict, stream.net_bps, stream.gross_bps, timestamp_us=stream.timestamp_us,
        strata=strata_of(stream.symbol, stream.side), judged=stream.judged,
    )  # fmt: skip
    overruled = np.flatnonzero((verdict != 0) & stream.judged)
    gained = stream.net_bps[overruled, verdict[overruled]] > stream.net_bps[overruled, 0]
    return GateFigures(
        uplift_bps=found.parts.uplift_bps,
        selection_bps=found.parts.selection_bps,
        override_rate=found.override_rate,
        first_right=int(overruled[gained.argmax()]) + 1 if gained.any() else rows,
        right=float(1.0 - stream.right[overruled].mean()) if len(overruled) else float("nan"),
        helps=found.judgment is Judgment.HELPS,
    )


def table(tried: dict[tuple[str, bool], list[GateFigures]]) -> list[str]:
    """A line each way and kind of stream: means, and the median of the first right override."""
    head = (
        f"{'':<24}{'streams':>9}{'overruled':>11}{'of them wrong':>15}{'uplift':>9}{'selection':>11}"
        f"{'first right, median':>21}{'mean':>7}{'helps':>7}"
    )
    lines = [head]
    for (name, effect), found in tried.items():
        first = [one.first_right for one in found]
        wrong = [one.right for one in found if one.override_rate > 0.0] or [float("nan")]
        lines.append(
            f"{name + (', effect' if effect else ', null'):<24}{len(found):>9}"
            f"{np.mean([one.override_rate for one in found]):>11.1%}"
            f"{np.mean(wrong):>15.1%}{np.mean([one.uplift_bps for one in found]):>9.2f}"
            f"{np.mean([one.selection_bps for one in found]):>11.2f}{np.median(first):>21.0f}{np.mean(first):>7.0f}"
            f"{np.mean([one.helps for one in found]):>7.1%}"
        )
    return lines


def criteria(tried: dict[tuple[str, bool], list[GateFigures]]) -> list[Criterion]:
    """What must hold."""
    on, off = (tried[name, True] for name in RECALLS)
    uplift = np.mean([one.uplift_bps for one in on]) / np.mean([one.uplift_bps for one in off])
    first = np.median([one.first_right for one in off]) / np.median([one.first_right for one in on])
    return [
        Criterion("effect: uplift, times that without", float(uplift), LEAST_UPLIFT, at_least=True),
        Criterion(
            "effect: first right override (median), so many times as early", float(first), LEAST_EARLIER,
            at_least=True,
        ),
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Try both ways and print what came out; 1 if something does not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m raysignal.experiments.validation.small_data", description=__doc__
    )
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--rows", type=int, default=ROWS)
    options = parser.parse_args(arguments)
    tried = {
        (name, effect): [
            try_stream(seed, recall, effect=effect, rows=options.rows)
            for seed in range(FIRST_SEED, FIRST_SEED + options.seeds)
        ]
        for effect in (True, False)
        for name, recall in RECALLS.items()
    }
    return show(table(tried), criteria(tried))


if __name__ == "__main__":
    sys.exit(main())
