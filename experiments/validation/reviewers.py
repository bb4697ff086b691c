"""What is said about the arm `review` on short streams whose truth is known, with the loopback model to be asked.

    python -m raysignal.experiments.validation.reviewers

The loopback takes what was best for the precedents that it is shown, on however little evidence. Where there is nothing
to be found it must not be said to help. Half of the streams are long-flat, half long-short.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raysignal.agents.llm.cassette import Mode
from raysignal.agents.llm.models import ModelSettings
from raysignal.agents.override.breaker import BreakerRules
from raysignal.agents.override.gate import REASONS
from raysignal.agents.verdicts import Reason
from raysignal.experiments.comparison import arms
from raysignal.experiments.comparison.actors import ModelArmOptions
from raysignal.experiments.comparison.arms import ArmDecisions, Trial
from raysignal.experiments.comparison.paired import Assessment, Judgment, assess
from raysignal.experiments.comparison.strata import strata_of
from raysignal.experiments.validation.cases import CELLS, STANDARD, Case
from raysignal.experiments.validation.table import Criterion, Proportion, show
from raysignal.loopback.gemini import GeminiServer

CASES: tuple[Case, ...] = (STANDARD.case, CELLS[1].case)
ROWS = 600
MOST_HELPED = 0.05
MOST_PASSED_OVER = 0.5
_BUDGET = 100_000


@dataclass(frozen=True, slots=True)
class ReviewedStream:
    """What came out for one stream.

    Attributes:
        asked: share of its BUYs and SELLs that the model was asked about.
        passed_over: share that it was not asked about while it might have overruled: not because it had overruled
            as many as it may.
        assessments: of the arms `memory` and `review`.
    """

    case: str
    effect: bool
    asked: float
    passed_over: float
    assessments: dict[str, Assessment]


def run_stream(case: Case, seed: int, effect: bool, url: str, rows: int = ROWS) -> ReviewedStream:
    """Run the gate and the reviewer over one stream, and assess them as claims of one comparison."""
    batch = case.make(seed, rows, effect)
    trial = Trial(policy=case.policy, breaker=BreakerRules() if case.breaker else None, seed=seed)
    stream = arms.stream_of(batch, trial)
    asking = ModelArmOptions(ModelSettings(base_url=url), "loopback", Mode.LIVE, None, _BUDGET)

    async def reviewed() -> ArmDecisions:
        adviser = await asking.adviser()
        try:
            return await arms.advised(batch, trial.reviewed(batch, _BUDGET), adviser)
        finally:
            await adviser.aclose()

    decided = {"memory": arms.gated(batch, trial), "review": asyncio.run(reviewed())}
    strata = strata_of(stream.symbol, stream.side)
    sided, review = np.count_nonzero(batch.side), decided["review"]
    enough = np.count_nonzero(review.reason == REASONS.index(Reason.OVERRULED_ENOUGH))
    return ReviewedStream(
        case.name, effect, review.calls / sided, 1.0 - (review.calls + enough) / sided,
        {
            name: assess(
                done.verdict, stream.net_bps, stream.gross_bps, timestamp_us=stream.timestamp_us, strata=strata,
                judged=stream.judged, known_at_us=stream.known_at_us,
            )
            for name, done in decided.items()
        },
    )  # fmt: skip


def criteria(tried: Sequence[ReviewedStream]) -> list[Criterion]:
    """What must hold over all streams."""
    null = [one for one in tried if not one.effect]
    return [
        Criterion.of_rate("null: the reviewer is said to help", _helps(null, "review"), MOST_HELPED),
        Criterion(
            "null: BUYs and SELLs that it might have been asked about and was not, the mean",
            float(np.mean([one.passed_over for one in null])), MOST_PASSED_OVER,
        ),
    ]  # fmt: skip


def table(tried: Sequence[ReviewedStream]) -> list[str]:
    """A line a case and arm."""
    lines = [
        f"{'':<66}{'arm':<8}{'streams':>8}{'asked':>8}{'overruled':>11}{'selection':>11}{'helps':>8}{'hurts':>8}"
    ]
    for case in CASES:
        for effect in (False, True):
            own = [one for one in tried if (one.case, one.effect) == (case.name, effect)]
            for arm in ("memory", "review") if own else ():
                found = [one.assessments[arm] for one in own]
                asked = np.mean([one.asked for one in own]) if arm == "review" else 0.0
                lines.append(
                    f"{('effect, ' if effect else 'null, ') + case.name:<66}{arm:<8}{len(own):>8}{asked:>8.1%}"
                    f"{np.mean([one.override_rate for one in found]):>11.1%}"
                    f"{np.mean([one.parts.selection_bps for one in found]):>11.2f}"
                    f"{_helps(own, arm).count:>8}{sum(one.judgment is Judgment.HURTS for one in found):>8}"
                )
    return lines


def _helps(tried: Sequence[ReviewedStream], arm: str) -> Proportion:
    return Proportion(sum(one.assessments[arm].judgment is Judgment.HELPS for one in tried), len(tried))


def main(arguments: Sequence[str] | None = None) -> int:
    """Try all streams and print what came out; 1 if something does not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m raysignal.experiments.validation.reviewers", description=__doc__
    )
    parser.add_argument("--seeds", type=int, default=20, help="of each side without an effect")
    parser.add_argument("--planted-seeds", type=int, default=5, help="of each side with an effect")
    options = parser.parse_args(arguments)
    began, tried = time.monotonic(), []
    with GeminiServer() as loopback:
        for case in CASES:
            for effect, seeds in ((False, options.seeds), (True, options.planted_seeds)):
                tried += [run_stream(case, seed, effect, loopback.url) for seed in range(1, seeds + 1)]
                loopback.requests.clear()
    print(f"{len(tried)} streams of {ROWS} signals, {time.monotonic() - began:.0f} s\n")
    return show(table(tried), criteria(tried))


if __name__ == "__main__":
    raise SystemExit(main())
