"""A training over Ray: seeds side by side, each kept when it is done, so a run that was stopped goes on.

<store>/experiments/<run_id>/config.json             what was asked for, written first
<store>/experiments/<run_id>/seeds/<seed>.npz        a policy that is trained: parameters, and what it says of all bars
<store>/experiments/<run_id>/returns.parquet metrics.json report.html manifest.json

A seed is a chain of tasks, some rounds each, that hand the policy on: any worker goes on with it, and how many there
are decides nothing. Why seeds are side by side and not environments is in docs/decisions.
"""

import io
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from raysignal.engine.journal.blobs import BlobStore
from raysignal.experiments.cluster import ray_session
from raysignal.experiments.result_files import (
    MANIFEST,
    METRICS,
    REPORT,
    blob_name,
    json_bytes,
    parquet_bytes,
    read_bytes,
    read_json,
)
from raysignal.experiments.runs import fingerprint, open_run
from raysignal.experiments.training.environment import TrainingData
from raysignal.experiments.training.evaluation import TrainedSeed, TrainingFindings, evaluate
from raysignal.experiments.training.report import make_training_report
from raysignal.experiments.training.spec import TrainingSpec

RETURNS = "returns.parquet"
ROUNDS = 10  # of a task
_PACKAGES = ("raysignal", "jax", "jaxlib", "numba", "numpy", "optax", "pyarrow", "ray", "scipy")


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """A run that is done: where it lies, what came out, and how many seeds were there already."""

    run_id: str
    metrics: dict[str, Any]
    found: int


def run_training(
    data: TrainingData,
    spec: TrainingSpec,
    blobs: BlobStore,
    *,
    run_id: str,
    provenance: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> TrainingResult:
    """Train the seeds that are not there yet, and write the results: on this process's Ray, or on one of its own.

    Args:
        data: a market, as `TrainingData.of` gives it with this `spec`.
        spec: what is asked for.
        blobs: where the run is kept.
        run_id: its name; what is there already under it is not trained again.
        provenance: for the manifest.
        progress: called with the rounds that are done, and how many there will be, of all seeds.

    Raises:
        Conflict: the id belongs to a run of something else.
    """
    config = spec.config(data.market)
    if open_run(blobs, run_id, config).finished:
        return TrainingResult(run_id, read_json(blobs, run_id, METRICS), 0)
    seeds = range(spec.seed, spec.seed + spec.seeds)
    there = set(blobs.list(blob_name(run_id, "seeds/")))
    waiting = [seed for seed in seeds if seed_file(run_id, seed) not in there]
    done = (len(seeds) - len(waiting)) * spec.rounds
    progress(done, len(seeds) * spec.rounds)
    with ray_session(None):
        for seed, rounds, file in _trained(spec, data, waiting):
            if file is not None:
                blobs.put(seed_file(run_id, seed), file)
            done += rounds
            progress(done, len(seeds) * spec.rounds)
    trained = [read_seed(blobs, run_id, seed)[0] for seed in seeds]
    findings = evaluate(data, spec, trained)
    _write(blobs, run_id, data, trained, findings, config, provenance or {})
    return TrainingResult(run_id, findings.metrics, len(seeds) - len(waiting))


def seed_file(run_id: str, seed: int) -> str:
    """The name of a policy that is trained."""
    return blob_name(run_id, f"seeds/{seed}.npz")


def read_seed(blobs: BlobStore, run_id: str, seed: int) -> tuple[TrainedSeed, dict[str, Any]]:
    """A policy that is trained, and its parameters; `NotFound` if it is not there."""
    data = read_bytes(blobs, run_id, f"seeds/{seed}.npz")
    with np.load(io.BytesIO(data), allow_pickle=False) as held:
        arrays = {name: held[name] for name in held.files}
    return TrainedSeed(seed, arrays.pop("probabilities"), arrays.pop("earned")), arrays


def _trained(spec: TrainingSpec, data: TrainingData, seeds: list[int]) -> Any:
    """Seed, rounds that were done, and its file where it is trained, as they are done."""
    given = ray.put((spec, data))
    work: Any = ray.remote(num_cpus=1, max_retries=-1)(_task)
    tasks: dict[Any, tuple[int, int, bool]] = {}
    for seed in seeds:
        state = None
        for first in range(0, spec.rounds, ROUNDS):
            rounds = min(ROUNDS, spec.rounds - first)
            last = first + rounds == spec.rounds
            state = work.remote(given, seed, state, rounds, last)
            tasks[state] = seed, rounds, last
    while tasks:
        for reference in ray.wait([*tasks], timeout=0.5)[0]:
            seed, rounds, last = tasks.pop(reference)
            # Nothing is fetched of a policy on its way; what stopped it is what its last task says.
            yield seed, rounds, ray.get(reference) if last else None


def _task(given: Any, seed: int, state: Any, rounds: int, last: bool) -> Any:
    """Some rounds of a seed, the first ones without a state: the state after them, or the file of its policy."""
    from raysignal.experiments.training.network import probabilities  # noqa: PLC0415 - imports JAX, on workers alone
    from raysignal.experiments.training.ppo import learn, new_learner  # noqa: PLC0415 - as above

    spec, data = given
    state = learn(new_learner(spec, data, seed) if state is None else state, spec, data, rounds)
    if not last:
        return state
    said = probabilities(state.parameters, data.features[data.first :], data.resets[data.first :])
    arrays: dict[str, Any] = {"probabilities": said, "earned": np.array(state.earned), **state.parameters}
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def _write(
    blobs: BlobStore, run_id: str, data: TrainingData, trained: list[TrainedSeed], findings: TrainingFindings,
    config: dict[str, Any], provenance: Mapping[str, Any],
) -> None:  # fmt: skip
    known_at_us = data.market.bars.known_at_us
    last = {"first": data.first, "train_end": data.train_end - 1, "test_begin": data.test_begin}
    manifest = {
        "run_id": run_id, "kind": "training", "title": config["title"], "config": config,
        "fingerprint": fingerprint(config), "provenance": dict(provenance),
        "bar_us": data.bar_us, "instants_us": {name: int(known_at_us[row]) for name, row in last.items()},
        "python": platform.python_version(), "packages": {name: version(name) for name in _PACKAGES},
    }  # fmt: skip
    instants = known_at_us[data.test_begin :]
    columns = {"known_at": pa.array(instants, pa.timestamp("us", "UTC"))}
    table = pa.table(columns | {name: pa.array(values) for name, values in findings.returns.items()})
    report = make_training_report(findings, manifest, instants, [one.earned for one in trained])
    contents = {
        RETURNS: parquet_bytes(table),
        METRICS: json_bytes(findings.metrics),
        REPORT: report.encode(),
        MANIFEST: json_bytes(manifest),
    }
    for name, content in contents.items():
        blobs.put(blob_name(run_id, name), content)
