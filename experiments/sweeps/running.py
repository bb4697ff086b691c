"""A sweep over Ray: chunks are kept as they are done, so a run that was stopped goes on.

<store>/experiments/<run_id>/config.json             what was asked for, written first
<store>/experiments/<run_id>/chunks.json             how it is cut
<store>/experiments/<run_id>/chunks/<m>-<begin>-<end>.parquet
<store>/experiments/<run_id>/manifest.json …         the results, see `experiments.sweeps.results`
"""

import io
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.journal.blobs import BlobStore
from raysignal.experiments.cluster import ray_session
from raysignal.experiments.result_files import MANIFEST, METRICS, blob_name, json_bytes, read_json
from raysignal.experiments.runs import fingerprint, open_run
from raysignal.experiments.sweeps.actors import Chunk, cores, sweep_workers
from raysignal.experiments.sweeps.market import Market
from raysignal.experiments.sweeps.pace import SweepSpeed, cut, measure
from raysignal.experiments.sweeps.results import write_sweep
from raysignal.experiments.sweeps.sweep import SweepSpec

PLAN = "chunks.json"
_CHUNKS = "chunks/"
_PACKAGES = ("raysignal", "arch", "numba", "numpy", "pandas", "pyarrow", "ray", "scipy")

Progress = Callable[[int, int], None]
"""Called with configurations done and in all, over all markets."""


@dataclass(frozen=True, slots=True)
class SweepResult:
    """A sweep that is done.

    Attributes:
        run_id: where its files lie.
        metrics, manifest: what came out, and how it was made.
        files: the names of what was written.
        found: chunks that were there already.
    """

    run_id: str
    metrics: dict[str, Any]
    manifest: dict[str, Any]
    files: list[str]
    found: int


def run_sweep(
    markets: tuple[Market, ...],
    spec: SweepSpec,
    blobs: BlobStore,
    *,
    run_id: str,
    provenance: Mapping[str, Any] | None = None,
    workers: int | None = None,
    pace: SweepSpeed | None = None,
    progress: Progress = lambda _done, _all: None,
    ready: Callable[[int], None] = lambda _workers: None,
) -> SweepResult:
    """Run what is not done yet, and write the results: on this process's Ray, or on one of its own.

    Args:
        markets: what to run over, a symbol each.
        spec: what to run.
        blobs: the store of the results.
        run_id: of a new run, or of one that is to go on.
        provenance: where the prices came from: plain values without a clock.
        workers: a core each; None: as many as the cluster has.
        pace: of one core; None: measured.
        progress: see `Progress`.
        ready: called with the number of workers, once they are ready.

    Raises:
        InvalidField: no market, two of one symbol, or one that the sweep cannot run over.
        Conflict: the id belongs to a run of something else.
        RaysignalError: what a chunk or the store met.
    """
    if not markets:
        raise InvalidField("symbols", "none", "at least one")
    if len({market.symbol for market in markets}) != len(markets):
        raise InvalidField("symbols", "one twice", "each symbol once")
    for market in markets:
        spec.check(market)
    config = spec.config(markets)
    state = open_run(blobs, run_id, config)
    if state.finished:
        return SweepResult(
            run_id, read_json(blobs, run_id, METRICS), read_json(blobs, run_id, MANIFEST), [], 0
        )
    with ray_session(None, cpus=workers):
        tables, found = _tables(blobs, run_id, markets, spec, workers or cores(), pace, progress, ready)
    manifest = {
        "run_id": run_id,
        "kind": "sweep",
        "title": spec.title,
        "config": config,
        "fingerprint": fingerprint(config),
        "provenance": dict(provenance or {}),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
    }
    metrics, files = write_sweep(blobs, run_id, markets, spec, tables, manifest)
    return SweepResult(run_id, metrics, manifest, files, found)


def tables_on(address: str, markets: tuple[Market, ...], spec: SweepSpec) -> list[pa.Table]:
    """What every market's configurations find, on the Ray cluster of that address; nothing is kept."""
    with ray_session(address):
        count = cores()
        chunks = cut(markets, spec.space, measure(markets[0], spec.space, spec.trial), count)
        marks = [spec.marks(market) for market in markets]
        with sweep_workers(markets, spec.space, marks, spec.trial, count=min(count, len(chunks))) as crew:
            found = {chunk: pq.read_table(io.BytesIO(data)) for chunk, data in crew.run(chunks)}
    return [
        _whole([found[chunk] for chunk in sorted(found) if chunk.market == place])
        for place in range(len(markets))
    ]


def _whole(parts: list[pa.Table]) -> pa.Table:
    return pa.concat_tables([part.replace_schema_metadata(None) for part in parts]).combine_chunks()


def _tables(
    blobs: BlobStore, run_id: str, markets: tuple[Market, ...], spec: SweepSpec, count: int, pace: SweepSpeed | None,
    progress: Progress, ready: Callable[[int], None],
) -> tuple[list[pa.Table], int]:  # fmt: skip
    """What every market's configurations found, and how many chunks were there already."""
    chunks = _plan(blobs, run_id, markets, spec, pace, count)
    done = _done(blobs, run_id)
    waiting = [chunk for chunk in chunks if _name(run_id, chunk) not in done]
    whole = sum(chunk.end - chunk.begin for chunk in chunks)
    finished = whole - sum(chunk.end - chunk.begin for chunk in waiting)
    progress(finished, whole)
    if waiting:
        marks = [spec.marks(market) for market in markets]
        with sweep_workers(markets, spec.space, marks, spec.trial, count=min(count, len(waiting))) as crew:
            ready(len(crew.actors))
            for chunk, data in crew.run(waiting):
                blobs.put(_name(run_id, chunk), data)
                finished += chunk.end - chunk.begin
                progress(finished, whole)
    tables = [_read(blobs, run_id, place, chunks) for place in range(len(markets))]
    return tables, len(chunks) - len(waiting)


def _plan(
    blobs: BlobStore,
    run_id: str,
    markets: tuple[Market, ...],
    spec: SweepSpec,
    pace: SweepSpeed | None,
    workers: int,
) -> list[Chunk]:
    """How the run is cut: as it was begun, if it was."""
    held = blobs.get(blob_name(run_id, PLAN))
    if held is not None:
        return [Chunk(*numbers) for numbers in orjson.loads(held)["chunks"]]
    chunks = cut(markets, spec.space, pace or measure(markets[0], spec.space, spec.trial), workers)
    plan = {"chunks": [[chunk.market, chunk.begin, chunk.end] for chunk in chunks]}
    blobs.put(blob_name(run_id, PLAN), json_bytes(plan))
    return chunks


def _done(blobs: BlobStore, run_id: str) -> set[str]:
    return set(blobs.list(blob_name(run_id, _CHUNKS)))


def _name(run_id: str, chunk: Chunk) -> str:
    return blob_name(run_id, f"{_CHUNKS}{chunk.market}-{chunk.begin}-{chunk.end}.parquet")


def _read(blobs: BlobStore, run_id: str, place: int, chunks: list[Chunk]) -> pa.Table:
    """A market's configurations in the order of their numbers."""
    parts = []
    for chunk in sorted(chunk for chunk in chunks if chunk.market == place):
        data = blobs.get(_name(run_id, chunk))
        assert data is not None
        parts.append(pq.read_table(io.BytesIO(data)))
    return _whole(parts)
