"""Does the instrument work? `python -m experiments.validate` tries it on data whose truth is known.

Each part prints a table and what is asked of it; the last lines say what holds, and the status is 1 where something
does not.

- `verdict`: where an effect is planted the gate is said to help, where there is none it is not, whatever the side, the
  costs, the drift, the symbols, the shares of BUY and SELL and the tails; in streams of other shapes than the
  generator's, too.

Streams are tried as tasks of Ray; the result does not depend on how many run at once.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from experiments.cluster import ray_session
from experiments.validation import verdicts
from experiments.validation.table import Criterion

ITEMS_A_TASK = 4

Told = Callable[[str], None]
Part = Callable[[argparse.Namespace, Told], tuple[list[str], list[Criterion]]]


def verdict_part(options: argparse.Namespace, told: Told) -> tuple[list[str], list[Criterion]]:
    """The verdict about the memory gate in all cases."""
    tries = verdicts.tries(
        cell_seeds=options.seeds, other_seeds=options.seeds, standard_seeds=options.standard_seeds
    )
    tried = on_ray(verdicts.run_try, tries, told=told)
    lines = [*verdicts.table(tried, effect=False), "", *verdicts.table(tried, effect=True)]
    return lines, verdicts.criteria(tried)


PARTS: dict[str, Part] = {"verdict": verdict_part}


def on_ray(
    work: Callable[[Any], Any], items: Sequence[Any], *, told: Told, at_once: int = ITEMS_A_TASK
) -> list[Any]:
    """The results of all items, in their order, from tasks on the cluster of this process."""
    import ray  # noqa: PLC0415 - half a second

    task: Any = ray.remote(num_cpus=1)(lambda some: [work(one) for one in some])
    waiting = {task.remote(items[start : start + at_once]): start for start in range(0, len(items), at_once)}
    parts: dict[int, list[Any]] = {}
    while waiting:
        ready, _ = ray.wait([*waiting])
        for reference in ready:
            parts[waiting.pop(reference)] = ray.get(reference)
        told(f"{sum(map(len, parts.values()))} of {len(items)}")
    return [result for _, part in sorted(parts.items()) for result in part]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts and print what came out; 1 if something does not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.validate",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--only", choices=[*PARTS], action="append", help="a part; all of them by default")
    parser.add_argument("--seeds", type=int, default=60, help="of each case of `verdict`")
    parser.add_argument(
        "--standard-seeds", type=int, default=200, help="of the standard stream with its effect"
    )
    parser.add_argument("--ray-address", default=None)
    options = parser.parse_args(arguments)
    began, found = time.monotonic(), []
    with ray_session(options.ray_address):
        for name in options.only or PARTS:
            lines, criteria = PARTS[name](options, lambda said, name=name: _tell(name, said, began))
            sys.stderr.write("\n")
            print("\n".join([f"## {name}, {time.monotonic() - began:.0f} s", *lines]), end="\n\n", flush=True)
            found += criteria
    print("\n".join(map(str, found)))
    print(f"{sum(one.holds for one in found)} of {len(found)} hold, {time.monotonic() - began:.0f} s")
    return 0 if all(one.holds for one in found) else 1


def _tell(part: str, said: str, began: float) -> None:
    sys.stderr.write(f"\r{part}: {said}, {time.monotonic() - began:.0f} s ")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
