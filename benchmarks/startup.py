"""How long the core keeps a program waiting: import, and the first signal through the compiled parts.

    python -m benchmarks.startup

Each figure is the best of several fresh processes, with bytecode and numba's cache in place, as `make setup`
leaves them. An import is measured inside the process, so that the interpreter's own start is not in it.
"""

import subprocess
import sys

from benchmarks.figures import Figure

_PROCESSES = 5

_IMPORT = """
import time
began = time.perf_counter()
import {module}
print(time.perf_counter() - began)
"""

_FIRST_SIGNAL = """
import tempfile, time
from pathlib import Path
import raysignal.engine.portfolio.shard
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Action, Signal
with tempfile.TemporaryDirectory() as folder:
    began = time.perf_counter()
    stores = open_stores(Path(folder).as_uri())
    shard = raysignal.engine.portfolio.shard.Shard.open(
        stores.journal_store("first"), stores.blobs, prefix="state/first", cache_dir=Path(folder) / "cache",
        limits=raysignal.engine.portfolio.shard.ShardLimits(), policies={"first": Policy()},
    )
    batch = SignalBatch.of_signals([Signal("BTC", 1, Action.BUY, 100.0)])
    pending = shard.submit(
        "first", batch.encode(), all_or_nothing=True, accept_price_jump=False, receipts=True
    )
    shard.write(shard.next_commit())
    shard.committed()
    pending.finish()
    print(time.perf_counter() - began)
    shard.journal.close()
"""


def measure() -> list[Figure]:
    """The figures, in seconds."""
    return [
        _figure("import engine", _IMPORT.format(module="raysignal.engine"), target=0.5),
        _figure(
            "import raysignal.engine.portfolio.ledger, the kernel's face",
            _IMPORT.format(module="raysignal.engine.portfolio.ledger"),
            target=0.5,
        ),
        _figure(
            "import raysignal.engine.portfolio.shard, all of the core",
            _IMPORT.format(module="raysignal.engine.portfolio.shard"),
        ),
        _figure("first signal of a process, opened, taken in and durable", _FIRST_SIGNAL),
    ]


def _figure(what: str, program: str, target: float | None = None) -> Figure:
    seconds = min(float(_output(program)) for _ in range(_PROCESSES))
    return Figure("startup", what, seconds, "s", target, "less")


def _output(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    for found in measure():
        print(f"{found.what:<60} {found.shown:>12} {found.asked}")
