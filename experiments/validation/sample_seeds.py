"""How often what is planted in the sample is found, over other seeds of its spec, and where nothing is planted.

    python -m raysignal.experiments.validation.sample_seeds [SEEDS]

Under the default rules; a seed takes about a second.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace

from raysignal.data.generator import SAMPLE_SPEC, GeneratorSpec, generate
from raysignal.engine.intake import Reading, read_batch
from raysignal.experiments.comparison.arms import Trial, memory_alone
from raysignal.experiments.comparison.evaluation import Evaluation
from raysignal.experiments.comparison.paired import Judgment

_SEEDS = 20


def of_spec(spec: GeneratorSpec) -> Evaluation:
    """The memory on the file of a spec, read as it was made, under the default rules."""
    text = generate(spec).to_csv(lineterminator="\r\n").encode()
    reading = Reading(bar_us=spec.bar_us, label="open")
    return memory_alone(read_batch(text, "text/csv", reading).batch.in_time(), Trial())


def sentence(seeds: Sequence[int]) -> str:
    """For how many of the seeds help is shown, for how many memory ends ahead, and with a gain."""
    planted = [of_spec(replace(SAMPLE_SPEC, seed=seed)) for seed in seeds]
    null = [of_spec(replace(SAMPLE_SPEC, seed=seed, regime_effect=False)) for seed in seeds]
    ends = [[arm.performance["signal"]["total_return"] for arm in found.arms] for found in planted]
    return (
        f"memory is shown to choose better than chance for {_helped(planted)} of {len(seeds)} seeds, and for "
        f"{_helped(null)} of {len(seeds)} where nothing is planted; its account ends above the baseline's for "
        f"{sum(memory > baseline for baseline, memory in ends)}, and with a gain for "
        f"{sum(memory > 0.0 for _, memory in ends)}"
    )


def _helped(found: Sequence[Evaluation]) -> int:
    return sum(each.of("memory").judgment is Judgment.HELPS for each in found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m raysignal.experiments.validation.sample_seeds")
    parser.add_argument("seeds", type=int, nargs="?", default=_SEEDS, help="how many, from 0 on")
    print(sentence(range(parser.parse_args().seeds)))
