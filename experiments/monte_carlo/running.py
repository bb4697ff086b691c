"""Paths over Ray, kept a chunk at a time, and the files of the run.

<store>/experiments/<run_id>/config.json paths/<begin>-<end>.parquet
                             paths.parquet metrics.json report.html report.png manifest.json

How many workers there are decides nothing: a path has a generator of its own.
"""

import io
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from raysignal.engine.core.arrays import Float64Array
from raysignal.engine.core.errors import RaysignalError
from raysignal.engine.journal.blobs import BlobStore
from raysignal.engine.strategies.strategy import Strategy
from raysignal.experiments.cluster import ray_session
from raysignal.experiments.monte_carlo.distributions import (
    COLUMNS,
    FIGURES,
    path_figures,
    shares_beside,
    spreads,
)
from raysignal.experiments.monte_carlo.fit import ModelFit, fit_of
from raysignal.experiments.monte_carlo.paths import STEPS, MonteCarloSpec, Source, at_steps, run_paths
from raysignal.experiments.monte_carlo.report import make_luck_report
from raysignal.experiments.result_files import (
    MANIFEST,
    METRICS,
    PICTURE,
    REPORT,
    blob_name,
    json_bytes,
    parquet_bytes,
    read_json,
)
from raysignal.experiments.runs import fingerprint, open_run
from raysignal.experiments.sweeps.market import Market

PATHS = "paths.parquet"
CHUNK = 250
_PACKAGES = ("raysignal", "arch", "numba", "numpy", "pyarrow", "ray", "scipy")
_HALTED = (
    "In {:.1%} of the paths prices grew beyond what the strategy can compute with: they stand still from there on, "
    "which makes the highest returns lower."
)
_DRAWN = 200  # paths that a report draws


@dataclass(frozen=True, slots=True)
class MonteCarloResult:
    """A run that is done: where it lies, what came out, and how many chunks were there already."""

    run_id: str
    metrics: dict[str, Any]
    found: int


def run_luck(
    market: Market,
    strategy: Strategy | None,
    spec: MonteCarloSpec,
    source: Source,
    blobs: BlobStore,
    *,
    run_id: str,
    provenance: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> MonteCarloResult:
    """Draw the paths that are not there yet, and write the results: on this process's Ray, or on one of its own.

    Args:
        market: the bars, with their signals.
        strategy: what trades on them; None: those signals.
        spec: what is asked for.
        source: what they are drawn from, by `source_of` of the three.
        blobs: where the run is kept.
        run_id: its name; what is there already under it is not drawn again.
        provenance: for the manifest.
        progress: called with the paths that are done, and how many there will be.

    Raises:
        Conflict: the id belongs to a run of something else.
    """
    config = spec.config(market, strategy)
    if open_run(blobs, run_id, config).finished:
        return MonteCarloResult(run_id, read_json(blobs, run_id, METRICS), 0)
    chunks = _chunks(spec)
    there = set(blobs.list(blob_name(run_id, "paths/")))
    waiting = [chunk for chunk in chunks if _name(run_id, chunk) not in there]
    done = spec.paths - sum(end - begin for begin, end in waiting)
    progress(done, spec.paths)
    with ray_session(None):
        for chunk, table in _drawn(market, strategy, spec, source, waiting):
            blobs.put(_name(run_id, chunk), parquet_bytes(table))
            done += chunk[1] - chunk[0]
            progress(done, spec.paths)
    parts = []
    for chunk in chunks:
        data = blobs.get(_name(run_id, chunk))
        assert data is not None
        parts.append(pq.read_table(io.BytesIO(data)).replace_schema_metadata(None))
    table = pa.concat_tables(parts).combine_chunks()
    metrics = _write(
        blobs, run_id, spec, source, fit_to(market, spec, source), table, config, provenance or {}
    )
    return MonteCarloResult(run_id, metrics, len(chunks) - len(waiting))


def drawn_on(
    address: str, market: Market, strategy: Strategy | None, spec: MonteCarloSpec, source: Source
) -> tuple[Float64Array, Float64Array]:
    """What `run_paths` gives of all paths, drawn on the Ray cluster of that address; nothing is kept."""
    with ray_session(address):
        parts = dict(_drawn(market, strategy, spec, source, _chunks(spec)))
    table = pa.concat_tables([parts[chunk] for chunk in sorted(parts)]).combine_chunks()
    return _arrays(table)


def _chunks(spec: MonteCarloSpec) -> list[tuple[int, int]]:
    return [(begin, min(begin + CHUNK, spec.paths)) for begin in range(0, spec.paths, CHUNK)]


def _arrays(table: pa.Table) -> tuple[Float64Array, Float64Array]:
    """The figures and the levels of a table of paths."""
    figures: Float64Array = np.column_stack([table[name].to_numpy() for name in COLUMNS])
    return figures, table["equity"].combine_chunks().flatten().to_numpy().reshape(-1, STEPS)


def _name(run_id: str, chunk: tuple[int, int]) -> str:
    return blob_name(run_id, f"paths/{chunk[0]}-{chunk[1]}.parquet")


def _drawn(
    market: Market,
    strategy: Strategy | None,
    spec: MonteCarloSpec,
    source: Source,
    chunks: list[tuple[int, int]],
) -> Any:
    given = ray.put((market, strategy, spec, source))
    work: Any = ray.remote(num_cpus=1, max_retries=-1)(_chunk)
    waiting = list(reversed(chunks))
    running: dict[Any, tuple[int, int]] = {}
    most = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]
    while waiting or running:
        while waiting and len(running) < most:
            chunk = waiting.pop()
            running[work.remote(given, chunk)] = chunk
        ready, _ = ray.wait([*running], timeout=0.2)
        for reference in ready:
            result = ray.get(reference)
            if isinstance(result, RaysignalError):
                raise result
            yield running.pop(reference), result


def _chunk(given: Any, chunk: tuple[int, int]) -> pa.Table | RaysignalError:
    """On a worker; an error of the project is returned, so that Ray does not wrap it."""
    market, strategy, spec, source = given
    try:
        figures, levels = run_paths(market, strategy, spec, source, *chunk)
    except RaysignalError as error:
        return error
    columns: dict[str, Any] = {"path": pa.array(np.arange(*chunk, dtype=np.int64))}
    columns |= {name: pa.array(figures[:, place]) for place, name in enumerate(COLUMNS)}
    columns["equity"] = pa.FixedSizeListArray.from_arrays(pa.array(levels.reshape(-1)), STEPS)
    return pa.table(columns)


def fit_to(market: Market, spec: MonteCarloSpec, source: Source) -> ModelFit | None:
    """How like its source a fitted market is; None where none was fitted."""
    if source.model is None:
        return None
    return fit_of(source.model, np.diff(np.log(market.bars.close)), spec.seed)


def metrics_of(
    spec: MonteCarloSpec, source: Source, figures: Float64Array, fit: ModelFit | None = None
) -> dict[str, Any]:
    """What metrics.json holds of the paths with these `COLUMNS`, float64[paths, 5]."""
    found = spreads(figures)
    halted = float(figures[:, -1].mean())
    own = dict(zip(FIGURES, path_figures(source.own, spec.ruin), strict=True))
    better, same = shares_beside(figures[:, 0], own["total_return"])
    return {
        "kind": "luck",
        "method": spec.method,
        "paths": spec.paths,
        "trades": None if source.growths is None else len(source.growths),
        "own": own,
        "better_than_own": better,
        "equal_to_own": same,
        "deeper_than_own": shares_beside(figures[:, 1], own["max_drawdown"])[0],
        "figures": {name: asdict(spread) for name, spread in found.items()},
        "ruin": {"share": found["ruined"].mean, "error": found["ruined"].error, "at": spec.ruin},
        "fit": None if fit is None else {name: asdict(each) for name, each in fit.items()},
        "halted": halted,
        "notes": [*source.notes, *([_HALTED.format(halted)] if halted > 0.0 else [])],
    }


def _write(
    blobs: BlobStore, run_id: str, spec: MonteCarloSpec, source: Source, fit: ModelFit | None, table: pa.Table,
    config: dict[str, Any], provenance: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    figures, levels = _arrays(table)
    metrics = metrics_of(spec, source, figures, fit)
    manifest = {
        "run_id": run_id, "kind": "luck", "title": str(provenance.get("file", "")), "config": config,
        "fingerprint": fingerprint(config), "provenance": dict(provenance), "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
    }  # fmt: skip
    every = max(1, len(levels) // _DRAWN)
    fan = np.quantile(levels, (0.05, 0.5, 0.95), axis=0)
    report = make_luck_report(metrics, manifest, figures, levels[::every], fan, at_steps(source.own))
    contents = {
        PATHS: parquet_bytes(table.drop_columns(["equity"])),
        METRICS: json_bytes(metrics),
        REPORT: report.html.encode(),
        PICTURE: report.png,
        MANIFEST: json_bytes(manifest),
    }
    for name, data in contents.items():
        blobs.put(blob_name(run_id, name), data)
    return metrics
