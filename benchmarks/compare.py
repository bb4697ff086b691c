"""How long a comparison takes, and how that grows: `python -m benchmarks.compare`.

All arms but the model's on generated signals, from the stream in memory to the report in the store, on a Ray
with all cores; the start of Ray is apart.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure
from benchmarks.recall import generated_batch
from raysignal.engine.core.policy import Policy
from raysignal.engine.journal.stores import open_stores
from raysignal.experiments.cluster import ray_session
from raysignal.experiments.comparison.arms import Trial
from raysignal.experiments.comparison.compare import Comparison, compare

STREAMS = (1_000, 10_000, 100_000)
ASKED_ROWS, ASKED_S = 10_000, 60.0


def measure(streams: tuple[int, ...] = STREAMS) -> list[Figure]:
    """Seconds of a comparison by the number of its signals; the first one warms the workers up and is left out."""
    figures: list[Figure] = []
    before = 0, 0.0
    whole = generated_batch(max(streams))
    comparison = Comparison(Trial(policy=Policy(side="long-short")))
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, ray_session(None):
        figures.append(_figure("start of Ray", time.perf_counter() - began))
        blobs = open_stores(Path(folder).as_uri()).blobs
        for number, rows in enumerate((streams[0], *streams)):
            batch = whole.take(np.arange(rows))
            began = time.perf_counter()
            compare(batch, comparison, blobs, run_id=f"bench-{number}", provenance={})
            took = time.perf_counter() - began
            if number:
                asked = ASKED_S if rows == ASKED_ROWS else None
                figures.append(_figure(f"five arms over {rows:,} signals, report written", took, asked))
                if before[0]:
                    what = f"time of {rows:,} signals to that of {before[0]:,}"
                    figures.append(Figure("compare", what, took / before[1], "x"))
                before = rows, took
    return figures


def _figure(what: str, seconds: float, asked: float | None = None) -> Figure:
    return Figure("compare", what, seconds, "s", asked, "less")


if __name__ == "__main__":
    for found in measure(tuple(map(int, sys.argv[1:])) or STREAMS):
        print(f"{found.what:<52} {found.shown:>20} {found.asked}")
