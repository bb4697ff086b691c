"""`python -m tests.simulation --schedules N [--seed S] [--store local|s3] [--trace]`."""

import argparse
import os
import sys
import time
from collections.abc import Iterator

from tests.simulation.faults import KINDS
from tests.simulation.runs import STORES, Outcome, run_many, run_one


def main() -> int:
    """Run schedules; 1 if a promise was broken, or a kind of fault never happened."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--schedules", type=int, default=500, help="how many (500)")
    parser.add_argument(
        "--seed", type=int, default=0, help="the first seed; each schedule takes the next (0)"
    )
    parser.add_argument("--store", choices=STORES, help="one store only; both in turn otherwise")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="at once (all cores)")
    parser.add_argument("--trace", action="store_true", help="show every step of the schedules")
    options = parser.parse_args()
    stores = [options.store] if options.store else STORES
    jobs = [(options.seed + number, stores[number % len(stores)]) for number in range(options.schedules)]
    total, began, shown = Outcome(), time.monotonic(), 0.0
    processes = min(options.processes, max(1, len(jobs) // 16))
    for outcome in _traced(jobs) if options.trace else run_many(jobs, processes):
        total.add(outcome)
        if time.monotonic() - shown > 10:
            shown = time.monotonic()
            print(_progress(total, len(jobs), shown - began), flush=True)
    print(_progress(total, len(jobs), time.monotonic() - began))
    for store in stores:
        injected = ", ".join(f"{kind} {total.injected[store][kind]}" for kind in KINDS[store])
        print(f"faults, {store}: {injected}")
    for failure in total.failures:
        print(f"FAILED: {failure}")
    never = total.never_injected()
    if never:
        print(f"FAILED: planned and never injected: {', '.join(never)}")
    return 1 if total.failures or never else 0


def _traced(jobs: list[tuple[int, str]]) -> Iterator[Outcome]:
    for seed, store in jobs:
        trace: list[str] = []
        yield run_one(seed, store, trace=trace)
        print(*trace, sep="\n")


def _progress(total: Outcome, planned: int, seconds: float) -> str:
    done = total.schedules.total()
    return (
        f"{done} of {planned} schedules, {done / max(seconds, 1e-9):.1f}/s, {total.steps} steps, "
        f"{total.acknowledged} signals acknowledged, {len(total.failures)} failed"
    )


if __name__ == "__main__":
    sys.exit(main())
