"""Does the instrument work? Each part of it is tried on data whose truth is known.

    python -m raysignal.experiments.validate

- `verdict`: what a comparison says about an arm (`experiments.validation.verdicts`);
- `reviewer`: what it says about a reviewer that a loopback model answers (`experiments.validation.reviewers`);
- `small-data`: what shrinkage brings on 1 000 signals (`experiments.validation.small_data`);
- `intervals`: how often intervals hold the truth (`experiments.validation.intervals`);
- `strategies`: whether check-strategy finds look-ahead (`experiments.validation.strategies`);
- `paths`: whether pipeline check-leaks finds it in a whole decision path (`experiments.validation.path_leaks`);
- `sweeps`: whether the best of a sweep is called more than luck (`experiments.validation.sweeps`);
- `texts`: whether what free texts alone tell is found (`experiments.validation.texts`).

Each prints its table and what holds; the status is 1 where something does not. Each can be run by itself, in full or
in short.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from raysignal.experiments.validation import (
    intervals,
    path_leaks,
    reviewers,
    small_data,
    strategies,
    sweeps,
    texts,
    verdicts,
)

PARTS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "verdict": verdicts.main,
    "reviewer": reviewers.main,
    "small-data": small_data.main,
    "intervals": intervals.main,
    "strategies": strategies.main,
    "paths": path_leaks.main,
    "sweeps": sweeps.main,
    "texts": texts.main,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts; 1 if something does not hold in one of them."""
    parser = argparse.ArgumentParser(
        prog="python -m raysignal.experiments.validate",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--only", choices=[*PARTS], action="append", help="a part; all of them by default")
    options = parser.parse_args(arguments)
    began, failed = time.monotonic(), []
    for name in options.only or PARTS:
        print(f"# {name}\n", flush=True)
        if PARTS[name]([]):
            failed.append(name)
        print(f"\n{time.monotonic() - began:.0f} s since the start\n", flush=True)
    print(f"does not hold: {', '.join(failed)}" if failed else "all holds")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
