"""A budget over any history of reservations, returns, restarts and days."""

import json
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from raysignal.agents.llm.budget import Budget, Period, RateLimiter
from raysignal.engine.core.instants import DAY_US

STEPS = st.lists(
    st.sampled_from(["reserve", "reserve", "reserve", "give back", "restart", "next day"]), max_size=60
)


@given(STEPS, st.integers(0, 5), st.sampled_from(Period))
def test_no_more_calls_are_out_than_the_budget_allows_in_any_period(
    steps: list[str], limit: int, period: Period
) -> None:
    budget, now_us = Budget(limit, period), 0
    out: list[str] = []
    for step in steps:
        if step == "reserve":
            left, reserved = budget.left(now_us), budget.reserve(now_us)
            assert (reserved is not None) == (left > 0)
            out += [reserved] if reserved else []
        elif step == "give back" and out:
            budget.give_back(out.pop())
        elif step == "restart":
            state = json.loads(json.dumps(budget.state()))
            budget = Budget(limit, period)
            budget.restore(state)
        elif step == "next day":
            now_us += DAY_US
        assert all(count <= limit for count in Counter(out).values())
        if period is Period.RUN:
            assert budget.left(now_us) == limit - len(out)


@given(
    st.floats(0.1, 10_000.0),
    st.integers(1, 10),
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 200) | st.none()), min_size=1, max_size=60),
)
def test_no_minute_holds_more_turns_than_the_rate_and_one_burst(
    per_minute: float, burst: int, steps: list[tuple[float, float | None]]
) -> None:
    limiter, now = RateLimiter(per_minute, burst), 0.0
    turns = []
    for passed, hold in steps:
        now += passed
        if hold is not None:
            limiter.hold(now, hold)
        turns.append(now + limiter.take(now))
    for first in range(len(turns)):
        for last in range(first, len(turns)):
            count, span = last - first + 1, turns[last] - turns[first]
            assert span >= -1e-9
            assert count <= burst + span * per_minute / 60.0 + 1e-6
