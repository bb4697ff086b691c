import pytest

from tests.simulation.faults import KINDS, Faults
from tests.simulation.mutants import MUTANTS, Mutant, first_failure
from tests.simulation.runs import ENOUGH, STORES, Outcome, run_many, run_one

SCHEDULES, LONG_SCHEDULES = 75, 250
A_PART = 25

FOUND = [(9487, "s3")]
"""A run that was put, whose answer was lost, and that the next owner swept before the writer looked for it."""


@pytest.mark.parametrize(
    "first",
    [
        *range(0, SCHEDULES, A_PART),
        *(pytest.param(first, marks=pytest.mark.long) for first in range(SCHEDULES, LONG_SCHEDULES, A_PART)),
    ],
)
def test_nothing_acknowledged_is_lost_and_nothing_is_doubled(first: int) -> None:
    jobs = [(seed, STORES[seed % len(STORES)]) for seed in range(first, first + A_PART)]

    failures = [failure for outcome in run_many(jobs, processes=1) for failure in outcome.failures]

    assert not failures, "\n".join(str(failure) for failure in failures)


@pytest.mark.parametrize(("seed", "store"), FOUND)
def test_what_a_long_run_once_found_stays_mended(seed: int, store: str) -> None:
    assert not run_one(seed, store).failures


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_fault_put_into_the_core_is_found(mutant: Mutant) -> None:
    assert first_failure(mutant, range(mutant.seed, mutant.seed + 250)) is not None


@pytest.mark.parametrize("store", STORES)
def test_the_same_seed_takes_the_same_steps(store: str) -> None:
    traces: list[list[str]] = [[], []]
    for trace in traces:
        run_one(4, store, trace=trace)

    assert len(traces[0]) > 30
    assert traces[0] == traces[1]


@pytest.mark.parametrize("store", STORES)
def test_another_seed_takes_other_steps(store: str) -> None:
    traces: list[list[str]] = [[], []]
    for seed, trace in enumerate(traces):
        run_one(seed, store, trace=trace)

    assert traces[0] != traces[1]


def test_a_failure_is_told_in_one_line_that_reproduces_it() -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == "no id is ever known")
    failure = first_failure(mutant, range(250))

    assert failure is not None
    command = f"python -m tests.simulation --seed {failure.seed} --schedules 1 --store {failure.store}"
    assert str(failure).splitlines()[-1].strip() == command


def test_a_kind_of_fault_that_never_happened_is_named_after_enough_schedules() -> None:
    outcome = Outcome()
    outcome.schedules["local"] = ENOUGH
    outcome.schedules["s3"] = ENOUGH - 1
    for kind in KINDS["local"]:
        outcome.injected["local"][kind] = 1
    del outcome.injected["local"]["torn_zeros"]

    assert outcome.never_injected() == ["local: torn_zeros"]


def test_who_only_looks_meets_no_fault() -> None:
    import random

    faults = Faults(random.Random(0), lambda _line: None, dict.fromkeys(KINDS["local"], 1.0), budget=10)

    with faults.quiet():
        assert not any(faults.happens(kind) for kind in KINDS["local"])
    assert faults.happens("torn_cut")
