"""Does the instrument work? `python -m experiments.validate` tries it on data whose truth is known.

Each seed makes a stream of generated signals and runs the memory gate and its controls over it, once with an
effect (right 60 % of the time in calm, 40 % in a storm) and once without one (50 % everywhere):

- where there is an effect it is found: both intervals of the gate, of its uplift over the baseline and of its
  selection, lie above zero on nearly every seed; overrides by lot have no selection, and a dealt memory has none on
  average (on one seed its noise prefers calms or storms, which then is a choice, for better or worse);
- where there is none, none is found: the one-sided test of 5 % rejects about as often as it says, and what the
  gate does costs on average no more than the trades it makes.

Seeds are spread over the cluster as tasks; the result does not depend on how many run at once.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.generator import GeneratorSpec, generate
from engine.columns import SignalBatch
from engine.intake import Reading, read_batch
from engine.policy import Policy
from experiments import arms
from experiments.arms import Trial
from experiments.cluster import ray_session
from experiments.paired import Assessment, Judgment, assess

POLICY = Policy(side="long-short")
SEEDS_A_TASK = 4
FIRST_SEED = 1
LEVEL = 0.05
MOST_REJECTED = 0.07
LEAST_FOUND = 0.95
MOST_LEFT = 0.1
REPLICATES = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """What came out for one seed: the assessments by arm."""

    seed: int
    effect: bool
    assessments: dict[str, Assessment]


@dataclass(frozen=True, slots=True)
class Criterion:
    """One line of the result.

    Attributes:
        what: in words.
        value: measured.
        bound: asked.
        at_least: whether it must reach the bound, or stay at or below it.
        unit: `share` or `bp`.
    """

    what: str
    value: float
    bound: float
    at_least: bool
    unit: str = "share"

    @property
    def holds(self) -> bool:
        """Whether it does."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    @property
    def shown(self) -> str:
        """As a line of a table."""
        write = "{:.1%}" if self.unit == "share" else "{:.2f} bp"
        sign = ">=" if self.at_least else "<="
        verdict = "holds" if self.holds else "FAILS"
        return (
            f"{self.what:<74} {write.format(self.value):>9}  {sign} {write.format(self.bound):<8} {verdict}"
        )


def try_seed(seed: int, rows: int, *, effect: bool) -> Found:
    """Run the gate and its controls over one generated stream."""
    batch = generated(seed, rows, effect=effect)
    trial = Trial(policy=POLICY, seed=seed)
    stream = arms.stream_of(batch, trial)
    gate = arms.gated(batch, trial)
    decided = {
        "memory": gate,
        "random": arms.drawn(batch, gate.verdict, seed),
        "shuffled": arms.gated(batch, trial, shuffle=seed),
    }
    return Found(
        seed,
        effect,
        {
            name: assess(
                done.verdict, stream.net_bps, stream.gross_bps, timestamp_us=stream.timestamp_us,
                symbol=stream.symbol, judged=stream.judged, name=name, seed=seed, replicates=REPLICATES,
            )
            for name, done in decided.items()
        },
    )  # fmt: skip


def generated(seed: int, rows: int, *, effect: bool) -> SignalBatch:
    """A stream of generated signals, as it would be read from its file."""
    spec = GeneratorSpec(rows=rows, seed=seed, regime_effect=effect, texts="none")
    text = generate(spec).to_csv(lineterminator="\r\n").encode()
    return read_batch(text, "text/csv", Reading(bar_us=spec.bar_us, label="open")).batch.in_time()


def criteria(found: Sequence[Found]) -> list[Criterion]:
    """What must hold over all seeds."""

    def of(arm: str, *, effect: bool) -> list[Assessment]:
        return [each.assessments[arm] for each in found if each.effect == effect]

    def share(values: Iterator[bool]) -> float:
        return float(np.mean([*values]))

    effect, null = of("memory", effect=True), of("memory", effect=False)
    lots, dealt = of("random", effect=True), of("shuffled", effect=True)
    spent = [each.override_rate * _round_trip_bps() for each in null]
    return [
        Criterion(
            "effect: the gate's uplift over baseline has its 95 % interval above zero",
            share(each.uplift.above_zero for each in effect), LEAST_FOUND, at_least=True,
        ),
        Criterion(
            "effect: so has its selection, which costs do not enter",
            share(each.selection.above_zero for each in effect), LEAST_FOUND, at_least=True,
        ),
        Criterion(
            "effect: overrides by lot at the same rate seem to select",
            share(each.judgment is Judgment.HELPS for each in lots), MOST_REJECTED, at_least=False,
        ),
        Criterion(
            "effect: mean selection of a dealt memory, as a share of the gate's",
            _mean_selection(dealt) / _mean_selection(effect), MOST_LEFT, at_least=False,
        ),
        Criterion(
            "effect: mean selection of overrides by lot, as a share of the gate's",
            _mean_selection(lots) / _mean_selection(effect), MOST_LEFT, at_least=False,
        ),
        Criterion(
            "null: the one-sided 5 % test of selection rejects",
            share(each.p_greater <= LEVEL for each in null), MOST_REJECTED, at_least=False,
        ),
        Criterion(
            "null: the gate is said to help",
            share(each.judgment is Judgment.HELPS for each in null), MOST_REJECTED, at_least=False,
        ),
        Criterion(
            "null: mean uplift, against minus what its overrides cost to trade",
            float(np.mean([each.parts.uplift_bps for each in null])), -float(np.mean(spent)), at_least=True,
            unit="bp",
        ),
    ]  # fmt: skip


def table(found: Sequence[Found]) -> str:
    """Every arm with and without an effect: rates and means over the seeds."""
    head = ("overruled", 10), ("uplift", 9), ("selection", 11), ("interval > 0", 14), ("p <= 5 %", 10)
    titles = "".join(f"{title:>{width}}" for title, width in (*head, ("helps", 8), ("hurts", 8)))
    lines = [f"{'data':<8}{'arm':<10}{titles}"]
    for effect in (True, False):
        for arm in found[0].assessments:
            own = [each.assessments[arm] for each in found if each.effect == effect]
            lines.append(
                f"{'effect' if effect else 'null':<8}{arm:<10}"
                f"{np.mean([each.override_rate for each in own]):>10.1%}"
                f"{np.mean([each.parts.uplift_bps for each in own]):>9.2f}"
                f"{np.mean([each.parts.selection_bps for each in own]):>11.2f}"
                f"{np.mean([each.selection.above_zero for each in own]):>14.1%}"
                f"{np.mean([each.p_greater <= LEVEL for each in own]):>10.1%}"
                f"{np.mean([each.judgment is Judgment.HELPS for each in own]):>8.1%}"
                f"{np.mean([each.judgment is Judgment.HURTS for each in own]):>8.1%}"
            )
    return "\n".join(lines)


def run(seeds: int, rows: int, *, told: Callable[[int, int], None]) -> list[Found]:
    """All seeds on the cluster of this process, in their order.

    Args:
        seeds: how many, from `FIRST_SEED` on.
        rows: of each stream.
        told: called with how many tries are done, and of how many.
    """
    import ray  # noqa: PLC0415 - half a second

    tries = [(seed, effect) for seed in range(FIRST_SEED, FIRST_SEED + seeds) for effect in (True, False)]
    task: Any = ray.remote(num_cpus=1)(_try_several)
    waiting = {
        task.remote(tries[start : start + SEEDS_A_TASK], rows): start
        for start in range(0, len(tries), SEEDS_A_TASK)
    }
    parts: dict[int, list[Found]] = {}
    while waiting:
        ready, _ = ray.wait([*waiting])
        for reference in ready:
            parts[waiting.pop(reference)] = ray.get(reference)
        told(sum(map(len, parts.values())), len(tries))
    return [found for _, part in sorted(parts.items()) for found in part]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and print what came out; 1 if something does not hold."""
    parser = argparse.ArgumentParser(prog="python -m experiments.validate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--ray-address", default=None)
    options = parser.parse_args(arguments)
    began = time.monotonic()
    with ray_session(options.ray_address):
        found = run(options.seeds, options.rows, told=lambda done, of: _tell(done, of, began))
    sys.stderr.write("\n")
    print(f"{options.seeds} seeds of {options.rows} signals, {time.monotonic() - began:.0f} s\n")
    print(table(found), end="\n\n")
    results = criteria(found)
    print("\n".join(each.shown for each in results))
    return 0 if all(each.holds for each in results) else 1


def _try_several(tries: Sequence[tuple[int, bool]], rows: int) -> list[Found]:
    return [try_seed(seed, rows, effect=effect) for seed, effect in tries]


def _mean_selection(assessments: Sequence[Assessment]) -> float:
    return float(np.mean([each.parts.selection_bps for each in assessments]))


def _round_trip_bps() -> float:
    return 2.0 * (POLICY.fee_bps + POLICY.slippage_bps)


def _tell(done: int, of: int, began: float) -> None:
    sys.stderr.write(f"\r{done} of {of} streams, {time.monotonic() - began:.0f} s ")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
