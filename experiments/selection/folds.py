"""Parts of the bars to choose on and parts to look at, with nothing of the one in the other.

*Purge.* Bars right before a test are left out of training: what they were judged by lies in the test. *Embargo.* So are
bars right after it, because what they hold still depends on it (Lopez de Prado, Advances in Financial Machine Learning,
2018, chapters 7 and 12).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from raysignal.engine.core.errors import InvalidField

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Fold:
    """Bars to choose on, and bars to look at: ranges from a bar on and before another, rising and apart."""

    train: Ranges
    test: Ranges


def walk_forward(
    n: int,
    train: int,
    test: int,
    *,
    step: int | None = None,
    anchored: bool = False,
    purge: int = 0,
    embargo: int = 0,
) -> list[Fold]:
    """Choose on `train` bars, look at the next `test`, and go on by `step` (as many as the test has).

    With `anchored`, training begins with the first bar. There is no training after a test, so an embargo takes bars
    from the beginning of the next training that lie right after the test before it; without overlap it changes nothing.

    Raises:
        InvalidField: bars that do not fit n, or a purge that leaves no training.
    """
    _check(n, purge, embargo)
    for name, value in (("train", train), ("test", test), ("step", test if step is None else step)):
        if value < 1:
            raise InvalidField(name, value, "at least 1 bar")
    if train + test > n:
        raise InvalidField("train and test", train + test, f"at most the {n:,d} bars that there are")
    if purge >= train:
        raise InvalidField("purge", purge, f"fewer bars than train, {train}")
    folds = []
    for begin in range(train, n - test + 1, test if step is None else step):
        first = 0 if anchored else begin - train
        folds.append(Fold(((first, begin - purge),), ((begin, begin + test),)))
    return folds


def purged_k_fold(n: int, k: int, *, purge: int = 0, embargo: int = 0) -> list[Fold]:
    """Each of `k` parts is looked at once, and the others are chosen on, less what lies next to it.

    Raises:
        InvalidField: fewer than 2 parts or more than bars, or nothing left to train on.
    """
    return combinatorial(n, k, 1, purge=purge, embargo=embargo)


def combinatorial(n: int, groups: int, held_out: int, *, purge: int = 0, embargo: int = 0) -> list[Fold]:
    """Every choice of `held_out` of the groups is looked at once: combinatorial purged cross-validation.

    Raises:
        InvalidField: groups that cannot be, or nothing left to train on.
    """
    _check(n, purge, embargo)
    if not 2 <= groups <= n:
        raise InvalidField("parts", groups, f"from 2 to the {n:,d} bars that there are")
    if not 1 <= held_out < groups:
        raise InvalidField("held out", held_out, f"from 1 to {groups - 1}")
    edges = [n * place // groups for place in range(groups + 1)]
    folds = []
    for chosen in combinations(range(groups), held_out):
        test = _joined((edges[place], edges[place + 1]) for place in chosen)
        train = [(0, n)]
        for begin, end in test:
            train = _without(train, begin - purge, end + embargo)
        if not train:
            raise InvalidField(
                "purge and embargo", purge + embargo, "so few bars that some are left to train on"
            )
        folds.append(Fold(tuple(train), test))
    return folds


def _check(n: int, purge: int, embargo: int) -> None:
    if n < 2:
        raise InvalidField("bars", n, "at least 2")
    for name, value in (("purge", purge), ("embargo", embargo)):
        if value < 0:
            raise InvalidField(name, value, "a number of bars from 0 on")


def _joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Ranges in order, those that touch as one."""
    found: list[tuple[int, int]] = []
    for begin, end in ranges:
        if found and found[-1][1] == begin:
            found[-1] = found[-1][0], end
        else:
            found.append((begin, end))
    return tuple(found)


def _without(ranges: list[tuple[int, int]], begin: int, end: int) -> list[tuple[int, int]]:
    left = [(low, min(high, begin)) for low, high in ranges]
    right = [(max(low, end), high) for low, high in ranges]
    return sorted({part for part in (*left, *right) if part[0] < part[1]})
