"""What a sweep would take on more nodes than there are here.

    python -m raysignal.experiments.sweeps.model [--markdown FILE]

Three things bound it. *Work*: bars times configurations over what all cores do. *The driver*: it hands out every chunk,
takes its result in and keeps it, one after the other. *The beginning and the end*: prices reach every node once, each
node that has them passing them on (so in about log2(nodes) steps), and at the end some wait for the last chunk.

    seconds = transfer * ceil(log2(nodes + 1)) + max(work / cores, chunks * driver) + chunk

The constants are measured here; the network's rate is an assumption, and said. The largest number of nodes that are of
use is where the driver's time is that of the work.
"""

import argparse
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.comparison.arms import Trial
from raysignal.experiments.sweeps.market import Market
from raysignal.experiments.sweeps.pace import CHUNK_S, measure, rounds
from raysignal.experiments.sweeps.space import Space

NODE_CORES = 16
NETWORK_BYTES_S = 1.25e9
"""Assumed: 10 Gbit/s between nodes."""

_BARS = 1_000_000
_CHUNK = 256
_CALLS = 400


@dataclass(frozen=True, slots=True)
class Constants:
    """What was measured.

    Attributes:
        bar_s: of one core, a bar and configuration.
        call_s: of the driver, to hand a chunk out and to have its answer, without its work.
        keep_s: of the driver, to write a chunk's result.
        bytes_a_bar: of the prices in the object store.
        attach_s: of a worker, to have the prices of its own node's store, a million bars.
    """

    bar_s: float
    call_s: float
    keep_s: float
    bytes_a_bar: float
    attach_s: float

    @property
    def driver_s(self) -> float:
        """Of the driver, a chunk."""
        return self.call_s + self.keep_s


@dataclass(frozen=True, slots=True)
class Prediction:
    """A run on so many nodes: seconds, what bounds it, and how much of the cores' time is work."""

    nodes: int
    seconds: float
    bound: str
    efficiency: float


def predict(
    constants: Constants, bars: int, configurations: int, nodes: int, cores: int = NODE_CORES
) -> Prediction:
    """See the module."""
    work = bars * configurations * constants.bar_s
    chunk_s = min(CHUNK_S, work / (nodes * cores * rounds(nodes * cores)))
    chunks = max(1, round(work / max(chunk_s, 1e-9)))
    transfer = (
        bars * constants.bytes_a_bar / NETWORK_BYTES_S * math.ceil(math.log2(nodes + 1)) if nodes > 1 else 0.0
    )
    parallel, driver = work / (nodes * cores), chunks * constants.driver_s
    seconds = transfer + max(parallel, driver) + chunk_s
    parts = {"work": parallel, "driver": driver, "transfer": transfer, "tail": chunk_s}
    return Prediction(nodes, seconds, max(parts, key=lambda name: parts[name]), parallel / seconds)


def constants() -> Constants:
    """Measured on this machine."""
    import ray  # noqa: PLC0415 - for this command alone

    from raysignal.experiments.cluster import ray_session  # noqa: PLC0415 - as above
    from raysignal.experiments.sweeps.actors import Chunk, sweep_workers  # noqa: PLC0415 - as above
    from raysignal.experiments.sweeps.sweep import SweepSpec  # noqa: PLC0415 - as above

    close = np.round(100.0 * np.exp(np.cumsum(np.random.default_rng(1).normal(0.0, 1e-3, _BARS))), 2)
    stamps = np.arange(1, _BARS + 1, dtype=np.int64) * 60_000_000
    market = Market("BTC", Bars.of_closes(stamps, close))
    space = Space.of("sma", ["sma_fast=5:44:1", "sma_slow=60:180:5"])
    pace = measure(market, space, Trial())
    tiny = Market("BTC", market.bars.slice(0, 2))
    spec = SweepSpec(space)
    with ray_session(None, cpus=2):
        with sweep_workers([tiny], space, [spec.marks(tiny)], Trial(), count=2) as crew:
            chunks = [Chunk(0, place % 500, place % 500 + 1) for place in range(_CALLS)]
            list(crew.run(chunks[:8]))
            began = time.perf_counter()
            list(crew.run(chunks))
            call_s = (time.perf_counter() - began) / _CALLS
        with sweep_workers([market], space, [spec.marks(market)], Trial(), count=1) as crew:
            ((_, data),) = crew.run([Chunk(0, 0, _CHUNK)])
        attach: Any = ray.remote(_attach)
        reference = ray.put(market)
        attach_s = min(float(ray.get(attach.remote([reference]))) for _ in range(3))
    with tempfile.TemporaryDirectory(prefix="raysignal-model-") as folder:
        from raysignal.engine.journal.blobs import DiskBlobs  # noqa: PLC0415 - as above

        blobs = DiskBlobs(Path(folder))
        began = time.perf_counter()
        for place in range(20):
            blobs.put(f"experiments/x/{place}", data)
        keep_s = (time.perf_counter() - began) / 20
    unique = {id(column): column.nbytes for column in (stamps, close, market.bars.volume)}
    return Constants(pace.bar_s, call_s, keep_s, sum(unique.values()) / _BARS, attach_s)


def _attach(references: list[object]) -> float:
    import ray  # noqa: PLC0415 - on a worker

    began = time.perf_counter()
    ray.get(references[0])  # type: ignore[call-overload]
    return time.perf_counter() - began


def report(found: Constants) -> str:
    """Constants and predictions as Markdown."""
    lines = [
        "# How a sweep scales",
        "",
        "Written by `python -m raysignal.experiments.sweeps.model --markdown docs/scaling.md`. Model and assumptions",
        "are in `experiments/sweeps/model.py`; nothing here was run on more than one node.",
        "",
        "| measured here | |",
        "|---|---:|",
        f"| a bar and configuration, one core | {found.bar_s * 1e9:.2f} ns |",
        f"| a chunk handed out and answered, without its work | {found.call_s * 1e3:.2f} ms |",
        f"| a chunk's result kept ({_CHUNK} configurations) | {found.keep_s * 1e3:.2f} ms |",
        f"| prices in the object store | {found.bytes_a_bar:.0f} bytes a bar |",
        f"| a worker has a million bars of its own node's store | {found.attach_s * 1e3:.1f} ms |",
        "",
        f"Assumed: nodes of {NODE_CORES} cores, {NETWORK_BYTES_S * 8 / 1e9:.0f} Gbit/s between them.",
        "",
        "| bars | configurations | nodes | seconds | bound by | share of the cores' time that is work |",
        "|---:|---:|---:|---:|---|---:|",
    ]
    for bars, configurations in ((1_000_000, 100_000), (10_000_000, 1_000_000)):
        for nodes in (1, 10, 100, 1_000):
            one = predict(found, bars, configurations, nodes)
            sizes = f"{bars:,d}", f"{configurations:,d}", f"{nodes:,d}"
            cells = (*sizes, f"{one.seconds:,.1f}", one.bound, f"{one.efficiency:.0%}")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, predict, print."""
    parser = argparse.ArgumentParser(prog="python -m raysignal.experiments.sweeps.model")
    parser.add_argument("--markdown", type=Path, help="write it into this file as well")
    given = parser.parse_args()
    text = report(constants())
    print(text)
    if given.markdown is not None:
        given.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
