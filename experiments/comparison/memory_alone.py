"""The memory beside the baseline, without other arms: in this process, nothing written."""

from raysignal.engine.core.columns import SignalBatch
from raysignal.experiments.comparison.arms import Trial, baseline, gated, result_of, stream_of
from raysignal.experiments.comparison.evaluation import Evaluation, evaluate


def memory_alone(batch: SignalBatch, trial: Trial) -> Evaluation:
    """What the memory makes of these signals; the arms are `baseline` and `memory`."""
    done = {"baseline": baseline(batch), "memory": gated(batch, trial)}
    return evaluate(
        stream_of(batch, trial),
        [result_of(name, batch, trial, decisions) for name, decisions in done.items()],
    )
