"""Calls are reserved before they are made, and spaced."""

import asyncio
import math
import stat
from pathlib import Path

import pytest

from raysignal.agents.llm.budget import (
    Admission,
    Allowance,
    Budget,
    Period,
    RateLimiter,
    StateFile,
    pass_through,
)
from raysignal.agents.verdicts import Reason
from raysignal.engine.core.errors import InvalidField, UnreadableInput
from raysignal.engine.core.instants import DAY_US


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def allowance(limit: int, limiter: RateLimiter | None = None, keep: StateFile | None = None) -> Allowance:
    return Allowance(Budget(limit), limiter, now_us=lambda: 0, now_s=Clock(), keep=keep)


def test_a_budget_of_n_gives_n_calls() -> None:
    budget = Budget(3)
    assert [budget.reserve(0) for _ in range(5)] == ["run", "run", "run", None, None]


def test_a_budget_of_nothing_gives_nothing() -> None:
    assert Budget(0).reserve(0) is None


def test_a_run_ends_with_no_day() -> None:
    budget = Budget(1)
    assert budget.reserve(0)
    assert budget.reserve(DAY_US) is None


def test_a_day_begins_at_midnight_of_utc_and_does_not_come_again() -> None:
    budget = Budget(1, Period.DAY)
    assert budget.reserve(DAY_US - 1) == "1970-01-01"
    assert budget.reserve(DAY_US - 1) is None
    assert budget.reserve(DAY_US) == "1970-01-02"
    assert budget.reserve(DAY_US - 1) is None


def test_a_clock_that_was_far_ahead_ends_no_calls_for_as_long() -> None:
    budget = Budget(2, Period.DAY)
    budget.reserve(400 * DAY_US)
    assert budget.left(3 * DAY_US) == 1
    assert budget.reserve(3 * DAY_US) == "1970-01-04"
    assert budget.reserve(3 * DAY_US) is None
    assert budget.left(4 * DAY_US) == 2


def test_what_is_given_back_can_be_used_but_only_in_its_own_period() -> None:
    budget = Budget(1, Period.DAY)
    first = budget.reserve(0)
    assert first is not None
    budget.give_back(first)
    assert budget.left(0) == 1
    assert budget.reserve(0)
    assert budget.reserve(DAY_US)
    budget.give_back(first)
    assert budget.left(DAY_US) == 0


def test_a_budget_goes_on_after_a_restart_where_it_was() -> None:
    before, after = Budget(3), Budget(3)
    before.reserve(0)
    before.reserve(0)
    after.restore(before.state())
    assert after.left(0) == 1


def test_a_day_that_was_stored_gives_way_to_a_run_and_to_the_next_day() -> None:
    day = Budget(1, Period.DAY)
    day.reserve(0)
    run, next_day = Budget(1), Budget(1, Period.DAY)
    run.restore(day.state())
    next_day.restore(day.state())
    assert run.left(0) == 1
    assert next_day.left(0) == 0
    assert next_day.left(DAY_US) == 1


def test_a_budget_whose_use_is_not_known_any_more_gives_nothing_in_this_period() -> None:
    budget = Budget(5, Period.DAY)
    budget.exhaust(0)
    assert budget.reserve(0) is None
    assert budget.reserve(DAY_US)


@pytest.mark.parametrize(
    "state", [{}, {"period": "run", "used": -1}, {"period": "run", "used": True}, {"used": 1}]
)
def test_a_state_that_is_none_is_refused(state: dict[str, object]) -> None:
    with pytest.raises(UnreadableInput):
        Budget(1).restore(state)


def test_turns_are_spaced_after_the_burst() -> None:
    limiter = RateLimiter(60.0, burst=2)
    assert [limiter.take(0.0) for _ in range(4)] == [0.0, 0.0, 1.0, 2.0]
    assert limiter.take(10.0) == 0.0


def test_a_quiet_time_saves_up_no_more_than_the_burst() -> None:
    limiter = RateLimiter(60.0, burst=2)
    limiter.take(0.0)
    assert [limiter.take(1e6) for _ in range(3)] == [0.0, 0.0, 1.0]


def test_asking_how_long_to_wait_takes_nothing() -> None:
    limiter = RateLimiter(60.0)
    assert [limiter.wait(0.0), limiter.wait(0.0), limiter.take(0.0), limiter.wait(0.0)] == [
        0.0,
        0.0,
        0.0,
        1.0,
    ]


def test_a_server_that_asks_to_wait_holds_everyone() -> None:
    limiter = RateLimiter(6_000.0, burst=100)
    limiter.hold(0.0, 7.0)
    limiter.hold(0.0, 2.0)
    assert limiter.wait(1.0) == 6.0
    assert limiter.wait(7.0) == 0.0


def test_after_a_hold_those_who_waited_come_one_by_one() -> None:
    limiter = RateLimiter(60.0)
    limiter.take(0.0)
    limiter.hold(0.0, 100.0)
    assert [limiter.take(50.0), limiter.take(60.0), limiter.take(101.0)] == [51.0, 42.0, 2.0]


def test_without_a_rate_nobody_waits_but_for_the_server() -> None:
    limiter = RateLimiter(math.inf)
    assert [limiter.take(0.0) for _ in range(3)] == [0.0] * 3
    limiter.hold(1.0, 5.0)
    assert [limiter.take(2.0), limiter.take(6.0)] == [4.0, 0.0]


def test_a_clock_that_goes_back_gives_no_turns() -> None:
    limiter = RateLimiter(60.0)
    assert limiter.take(100.0) == 0.0
    assert limiter.take(0.0) == 1.0


@pytest.mark.parametrize(
    "make", [lambda: Budget(-1), lambda: RateLimiter(0.0), lambda: RateLimiter(1.0, burst=0)]
)
def test_a_bound_that_is_none_is_refused(make: object) -> None:
    with pytest.raises(InvalidField):
        make()  # type: ignore[operator]


async def test_a_call_whose_turn_comes_too_late_costs_nothing() -> None:
    gate = allowance(2, RateLimiter(60.0))
    assert (await gate.admit(0.5)).period == "run"
    late = await gate.admit(0.5)
    assert (late.period, late.reason) == (None, Reason.MODEL_QUOTA)
    assert gate.left() == 1


async def test_a_call_that_the_budget_refuses_takes_no_turn() -> None:
    limiter = RateLimiter(60.0)
    refused = await allowance(0, limiter).admit(10.0)
    assert (refused.period, refused.reason) == (None, Reason.MODEL_BUDGET)
    assert limiter.wait(0.0) == 0.0


async def test_many_who_ask_at_once_get_no_more_than_the_budget() -> None:
    gate = allowance(7)
    admissions = await asyncio.gather(*(gate.admit(1.0) for _ in range(50)))
    assert sum(each.period is not None for each in admissions) == 7


async def test_what_was_reserved_is_on_disk_before_the_call(tmp_path: Path) -> None:
    keep = StateFile(tmp_path / "state" / "budget.json")
    first = allowance(2, keep=keep)
    await first.admit(1.0)
    again = allowance(2, keep=keep)
    assert again.left() == 1
    await again.admit(1.0)
    assert allowance(2, keep=keep).left() == 0
    assert stat.S_IMODE(keep.path.stat().st_mode) == 0o600


def test_a_damaged_state_is_refused_and_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "budget.json").write_bytes(b"{")
    with pytest.raises(UnreadableInput):
        allowance(2, keep=StateFile(tmp_path / "budget.json"))


class Held:
    """A gate that lets through, and is then held for as long as it says."""

    def __init__(self, *holds: float) -> None:
        self.holds, self.given_back = list(holds), 0

    async def admit(self, _patience_s: float) -> Admission:
        return Admission(wait_s=0.001, period="run")

    async def held(self) -> float:
        return self.holds.pop(0) if self.holds else 0.0

    async def hold(self, _seconds: float) -> None:
        raise AssertionError

    async def give_back(self, _period: str) -> None:
        self.given_back += 1


async def test_a_hold_that_came_while_waiting_is_waited_for_when_there_is_time() -> None:
    gate = Held(0.001, 0.002)
    assert (await pass_through(gate, 60.0, Clock())).period == "run"
    assert gate.holds == []
    assert gate.given_back == 0


async def test_a_hold_that_is_too_long_gives_the_call_back() -> None:
    gate = Held(61.0)
    admission = await pass_through(gate, 60.0, Clock())
    assert (admission.period, admission.reason, gate.given_back) == (None, Reason.MODEL_QUOTA, 1)
