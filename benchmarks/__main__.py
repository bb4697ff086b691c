"""Every benchmark, each in a process of its own: `python -m benchmarks [NAME …] [--markdown FILE]`.

`make bench` runs all of them and writes `docs/benchmarks.md`, so that every figure there is one that a command
printed; `make bench ONLY=http,feed` runs parts and writes nothing. A figure that misses what is asked of it is measured
again, and a third time where the two differ by more than a third of the larger: the median counts. Run it on a machine
that does nothing else.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numba
import numpy as np
import ray
from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure

NAMES = (
    "kernel",
    "sweep",
    "pipeline",
    "instruments",
    "feed",
    "day",
    "bus",
    "startup",
    "intake",
    "core",
    "identities",
    "recall",
    "compare",
    "endurance",
    "http",
    "model_signals",
    "enhanced",
    "outage",
    "half_open",
    "inference",
    "stream",
)

_NOISE = 1 / 3
_MOST_RUNS = 3

_CHILD = """
import dataclasses, importlib, json, sys
figures = importlib.import_module("benchmarks." + sys.argv[1]).measure()
with open(sys.argv[2], "w") as file:
    json.dump([dataclasses.asdict(figure) for figure in figures], file)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks that are named, or all; 0 when each could be run and no figure misses what is asked of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all if none is named"
    )
    parser.add_argument("--markdown", type=Path, help="write the figures into this file as well")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    console = Console()
    figures: list[Figure] = []
    failed: list[str] = []
    for name in options.names or NAMES:
        console.print(f"[bold]{name}[/bold] …")
        found = measured(partial(_run, name))
        if found is None:
            failed.append(name)
            continue
        figures += found
        console.print(_table(found))
    if options.markdown is not None and figures:
        options.markdown.write_text(_markdown(figures), encoding="utf-8")
        console.print(f"written to {options.markdown}")
    if failed:
        console.print(f"could not be run: {', '.join(failed)}", style="red")
    missed = [f"{figure.benchmark}: {figure.what}" for figure in figures if figure.reached is False]
    if missed:
        console.print(f"not reached: {'; '.join(missed)}", style="red")
    return 1 if failed or missed else 0


def measured(run: Callable[[], list[Figure] | None]) -> list[Figure] | None:
    """The figures that count of one benchmark; None if it could not be run.

    Args:
        run: measures all of its figures once.
    """
    runs: list[list[Figure]] = []
    while len(runs) < _MOST_RUNS:
        found = run()
        if found is None:
            return None
        runs.append(found)
        if not any(_in_doubt([one[place] for one in runs]) for place in range(len(found))):
            break
    return [
        replace(figures[0], value=statistics.median([figure.value for figure in figures]))
        for figures in zip(*runs, strict=True)
    ]


def _in_doubt(figures: Sequence[Figure]) -> bool:
    """Whether a figure is to be measured again: it was missed once, or the runs say different things."""
    if all(figure.reached is not False for figure in figures):
        return False
    values = [abs(figure.value) for figure in figures]
    return len(figures) == 1 or max(values) - min(values) > _NOISE * max(values)


def _run(name: str) -> list[Figure] | None:
    """The figures of one benchmark, measured in a fresh process; None if it failed."""
    with tempfile.NamedTemporaryFile(prefix="raysignal-bench-", suffix=".json") as out:
        child = subprocess.run([sys.executable, "-c", _CHILD, name, out.name], check=False)
        if child.returncode:
            return None
        return [Figure(**values) for values in json.load(out)]


def _table(figures: Sequence[Figure]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column, justify in (("figure", "left"), ("measured", "right"), ("asked", "right"), ("", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for figure in figures:
        mark = {None: "", True: "[green]reached[/green]", False: "[red]not reached[/red]"}[figure.reached]
        table.add_row(figure.what, figure.shown, figure.asked, mark)
    return table


def _markdown(figures: Sequence[Figure]) -> str:
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; each ratio has both sides in one run. Absolute figures are those of this machine:",
        f"{os.cpu_count()} cores ({_processor()}), Python {platform.python_version()}, Ray {ray.__version__},",
        f"numba {numba.__version__}, numpy {np.__version__}.",
    ]
    for name in dict.fromkeys(figure.benchmark for figure in figures):
        lines += ["", f"## {name}", "", "| figure | measured | asked | |", "|---|---:|---:|---|"]
        for figure in figures:
            if figure.benchmark == name:
                mark = {None: "", True: "reached", False: "not reached"}[figure.reached]
                lines.append(f"| {figure.what} | {figure.shown} | {figure.asked} | {mark} |")
    return "\n".join(lines) + "\n"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
