"""What is said about the memory gate on streams whose truth is known.

    python -m raysignal.experiments.validation.verdicts

Where an effect is planted the gate is to be said to help, where there is none not, whatever the side, the costs, the
drift, the symbols, the shares of BUY and SELL and the tails, and in streams of other shapes than the generator's. Its
controls run beside it. Streams are tried in several processes; the result does not depend on how many.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

from raysignal.agents.override.breaker import BreakerRules
from raysignal.experiments.comparison import arms
from raysignal.experiments.comparison.arms import Trial
from raysignal.experiments.comparison.paired import Assessment, Judgment, assess
from raysignal.experiments.comparison.strata import strata_of
from raysignal.experiments.validation.cases import CELLS, OTHERS, STANDARD, Case
from raysignal.experiments.validation.table import Criterion, Proportion, show

MOST_HELPED = 0.07
"""Of all streams without an effect, on so many at most something may be said to help."""
MOST_IN_A_CASE = 0.15
LEAST_FOUND = 0.95
MOST_LEFT = 0.1
ROWS = 4_000
CONTROLS = ("random", "shuffled")


@dataclass(frozen=True, slots=True)
class StreamTrial:
    """One stream to be tried: the place of its case in `ALL`, its seed, and whether an effect is planted."""

    case: int
    seed: int
    effect: bool


@dataclass(frozen=True, slots=True)
class StreamAssessment:
    """What came out for one stream: the assessments by arm."""

    case: str
    seed: int
    effect: bool
    assessments: Mapping[str, Assessment]


ALL: tuple[Case, ...] = (*(cell.case for cell in CELLS), *OTHERS)


def tries(*, seeds: int, standard_seeds: int) -> list[StreamTrial]:
    """Every case with so many seeds, with and without an effect; more of the standard stream with it.

    Other shapes get half as many planted ones: they are there for what is said about nothing.
    """
    found = []
    for number, case in enumerate(ALL):
        planted = seeds if number < len(CELLS) else (seeds + 1) // 2
        if case.name == STANDARD.case.name:
            planted = max(planted, standard_seeds)
        found += [StreamTrial(number, seed, False) for seed in range(1, seeds + 1)]
        found += [StreamTrial(number, seed, True) for seed in range(1, planted + 1)]
    return found


def run_tries(
    planned: Sequence[StreamTrial],
    *,
    workers: int | None = None,
    told: Callable[[int, int], None] = lambda _done, _of: None,
) -> list[StreamAssessment]:
    """All of them, in their order.

    Args:
        planned: what to try.
        workers: processes; None: one a processor.
        told: called with how many are done, and of how many.
    """
    found = []
    with ProcessPoolExecutor(workers or os.cpu_count(), get_context("spawn")) as pool:
        for one in pool.map(run_try, planned, chunksize=4):
            found.append(one)
            told(len(found), len(planned))
    return found


def run_try(one: StreamTrial, rows: int = ROWS) -> StreamAssessment:
    """Run the gate and its controls over one stream, and assess them."""
    case = ALL[one.case]
    batch = case.make(one.seed, rows, one.effect)
    trial = Trial(policy=case.policy, breaker=BreakerRules() if case.breaker else None, seed=one.seed)
    stream = arms.stream_of(batch, trial)
    gate = arms.gated(batch, trial)
    decided = {
        "memory": gate,
        "random": arms.drawn(batch, gate.verdict, one.seed),
        "shuffled": arms.gated(batch, trial, shuffle=one.seed),
    }
    strata = strata_of(stream.symbol, stream.side)
    return StreamAssessment(
        case.name,
        one.seed,
        one.effect,
        {
            name: assess(
                done.verdict, stream.net_bps, stream.gross_bps, timestamp_us=stream.timestamp_us, strata=strata,
                judged=stream.judged,
            )
            for name, done in decided.items()
        },
    )  # fmt: skip


def criteria(tried: Sequence[StreamAssessment]) -> list[Criterion]:
    """What must hold over all streams."""
    null = [one for one in tried if not one.effect]
    standard = [one for one in tried if one.case == STANDARD.case.name]
    planted = [one for one in standard if one.effect]
    worst = max(_by_case(null), key=lambda case: _said(case[1], "memory", Judgment.HELPS).share)
    lines = [
        Criterion.of_rate(
            "effect, standard stream: the gate is said to help", _said(planted, "memory", Judgment.HELPS),
            LEAST_FOUND, at_least=True,
        ),
        Criterion.of_rate(
            "null, all cases: the gate is said to help", _said(null, "memory", Judgment.HELPS), MOST_HELPED,
        ),
        Criterion.of_rate(
            f"null, worst case ({worst[0]}): the same", _said(worst[1], "memory", Judgment.HELPS), MOST_IN_A_CASE,
        ),
        Criterion.of_rate(
            "null, all cases: the gate is said to hurt", _said(null, "memory", Judgment.HURTS), MOST_HELPED,
        ),
    ]  # fmt: skip
    for arm in CONTROLS:
        lines.append(
            Criterion.of_rate(
                f"null, all cases: {arm} is said to help", _said(null, arm, Judgment.HELPS), MOST_HELPED
            )
        )
        lines.append(
            Criterion(
                f"effect, standard stream: mean selection of {arm}, as a share of the gate's",
                _mean_selection(planted, arm) / _mean_selection(planted, "memory"), MOST_LEFT,
            )
        )  # fmt: skip
    return lines


def table(tried: Sequence[StreamAssessment], *, effect: bool) -> list[str]:
    """A line a case: what was said about the gate, with the 95 % interval of the rate, and the means of its parts."""
    chosen = [one for one in tried if one.effect == effect]
    head = (
        f"{'effect' if effect else 'null':<80}{'streams':>8}{'overruled':>11}{'uplift':>9}{'selection':>11}"
        f"{'costs':>8}{'  helps':<22}{'hurts':>7}{'random':>8}{'shuffled':>10}"
    )
    lines = [head]
    for name, own in [*_by_case(chosen), ("all", chosen)]:
        gates = [one.assessments["memory"] for one in own]
        helps = _said(own, "memory", Judgment.HELPS)
        lines.append(
            f"{name:<80}{len(own):>8}{np.mean([one.override_rate for one in gates]):>11.1%}"
            f"{np.mean([one.parts.uplift_bps for one in gates]):>9.2f}"
            f"{np.mean([one.parts.selection_bps for one in gates]):>11.2f}"
            f"{np.mean([one.parts.costs_bps for one in gates]):>8.2f}"
            f"  {helps!s:<20}{_said(own, 'memory', Judgment.HURTS).share:>7.1%}"
            + "".join(
                f"{_said(own, arm, Judgment.HELPS).share:>{width}.1%}"
                for arm, width in zip(CONTROLS, (8, 10), strict=True)
            )
        )
    return lines


def _by_case(tried: Sequence[StreamAssessment]) -> Iterator[tuple[str, list[StreamAssessment]]]:
    for case in ALL:
        if own := [one for one in tried if one.case == case.name]:
            yield case.name, own


def _said(tried: Sequence[StreamAssessment], arm: str, judgment: Judgment) -> Proportion:
    return Proportion(sum(one.assessments[arm].judgment is judgment for one in tried), len(tried))


def _mean_selection(tried: Sequence[StreamAssessment], arm: str) -> float:
    return float(np.mean([one.assessments[arm].parts.selection_bps for one in tried]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Try all cases and print what came out; 1 if something does not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m raysignal.experiments.validation.verdicts", description=__doc__
    )
    parser.add_argument("--seeds", type=int, default=60, help="of each case")
    parser.add_argument(
        "--standard-seeds", type=int, default=200, help="of the standard stream with its effect"
    )
    parser.add_argument("--workers", type=int, default=None)
    options = parser.parse_args(arguments)
    began = time.monotonic()
    planned = tries(seeds=options.seeds, standard_seeds=options.standard_seeds)
    tried = run_tries(planned, workers=options.workers, told=lambda done, of: _tell(done, of, began))
    sys.stderr.write("\n")
    print(f"{len(tried):,d} streams of {ROWS:,d} signals, {time.monotonic() - began:.0f} s\n")
    return show([*table(tried, effect=False), "", *table(tried, effect=True)], criteria(tried))


def _tell(done: int, of: int, began: float) -> None:
    sys.stderr.write(f"\r{done} of {of} streams, {time.monotonic() - began:.0f} s ")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
