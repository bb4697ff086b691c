"""Replaying a file: order, pace, refusals and the counts, with a gateway and a clock of the test's own."""

import asyncio
from dataclasses import dataclass, field

import pytest

from raysignal.engine.intake import Reading
from raysignal.engine.intake.checked_file import CheckedSignalFile
from raysignal.runtime.portfolio_gateway import SendResult
from raysignal.runtime.replay import ReplayOptions, ReplayPace, replay_file

STEP_US = 600_000_000


@dataclass
class Recorder:
    """A way that takes everything but what it is told to refuse, and remembers what it was sent."""

    refusing: set[int] = field(default_factory=set)
    requests: list[list[int]] = field(default_factory=list)
    into: set[tuple[str, bool]] = field(default_factory=set)
    under_way: int = 0

    async def send_one(self, portfolio, batch, index, *, accept_price_jump):
        self.into.add((portfolio, accept_price_jump))
        return await self._take([int(batch.row[index])], skip=True)

    async def send_batch(self, portfolio, batch, *, skip, accept_price_jump):
        self.into.add((portfolio, accept_price_jump))
        return await self._take(batch.row.tolist(), skip=skip)

    async def _take(self, rows, *, skip):
        assert self.under_way == 0, "two requests of a portfolio at once"
        self.under_way += 1
        await asyncio.sleep(0)
        self.under_way -= 1
        self.requests.append(rows)
        refused = [row for row in rows if row in self.refusing]
        errors = [{"row": row} for row in refused]
        if refused and not skip:
            return SendResult(refused=len(refused), errors=errors)
        return SendResult(accepted=len(rows) - len(refused), refused=len(refused), errors=errors)


@dataclass
class Time:
    """A clock that only sleeping moves."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def read(self) -> float:
        return self.now

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


def file_of(tmp_path, lines):
    path = tmp_path / "signals.csv"
    path.write_text("timestamp,price,signal\n" + "\n".join(lines) + "\n")
    return CheckedSignalFile.survey(path, Reading())


def ten_rows(tmp_path):
    """Ten bars of ten minutes, the latest first."""
    return file_of(
        tmp_path, [f"2025-01-01T{9 - i // 6:02}:{50 - i % 6 * 10:02}:00Z,100,1" for i in range(10)]
    )


def replay(file, gateway, *, one_by_one=0, batch_rows=4, skip=False, speed=None, time=None):
    time = time or Time()
    told = []
    plan = ReplayOptions("baseline", one_by_one, batch_rows, skip, accept_price_jump=True)
    counts = asyncio.run(
        replay_file(file, gateway, plan, ReplayPace(speed, time.read, time.sleep), advanced=told.append)
    )
    return counts, told


def test_batches_go_in_time_order_one_after_another(tmp_path):
    gateway = Recorder()
    counts, told = replay(ten_rows(tmp_path), gateway)
    assert gateway.requests == [[9, 8, 7, 6], [5, 4, 3, 2], [1, 0]]
    assert (counts.accepted, counts.refused, counts.complete, told) == (10, 0, True, [4, 4, 2])
    assert gateway.into == {("baseline", True)}


def test_one_by_one_is_a_request_a_signal_in_time_order(tmp_path):
    gateway = Recorder()
    counts, told = replay(ten_rows(tmp_path), gateway, one_by_one=10)
    assert gateway.requests == [[row] for row in range(9, -1, -1)]
    assert (counts.accepted, told) == (10, [1] * 10)


def test_only_the_first_signals_are_sent_a_request_each_where_they_are_counted(tmp_path):
    gateway = Recorder()
    counts, told = replay(ten_rows(tmp_path), gateway, one_by_one=3)
    assert gateway.requests == [[9], [8], [7], [6, 5, 4, 3], [2, 1, 0]]
    assert (counts.accepted, counts.complete, told) == (10, True, [1, 1, 1, 4, 3])


def test_a_refusal_among_the_first_signals_ends_the_replay_before_the_batches(tmp_path):
    gateway = Recorder(refusing={8})
    counts, _ = replay(ten_rows(tmp_path), gateway, one_by_one=3)
    assert (gateway.requests, counts.complete) == ([[9], [8]], False)


@pytest.mark.parametrize("one_by_one", [0, 10])
def test_the_first_refusal_ends_the_replay_and_what_came_before_is_counted(tmp_path, one_by_one):
    gateway = Recorder(refusing={5})
    counts, _ = replay(ten_rows(tmp_path), gateway, one_by_one=one_by_one)
    assert not counts.complete
    assert (counts.accepted, counts.refused, counts.errors) == (4, 1, [{"row": 5}])
    assert counts.as_dict()["unsent"] == 5
    assert gateway.requests[-1][0] == 5


@pytest.mark.parametrize("one_by_one", [0, 10])
def test_refused_rows_are_left_out_on_request(tmp_path, one_by_one):
    counts, _ = replay(ten_rows(tmp_path), Recorder(refusing={5, 0}), one_by_one=one_by_one, skip=True)
    assert counts.complete
    assert (counts.accepted, counts.refused, [error["row"] for error in counts.errors]) == (8, 2, [5, 0])


def test_a_file_with_an_unreadable_row_is_not_sent_at_all(tmp_path):
    gateway = Recorder()
    file = file_of(tmp_path, ["2025-01-01T00:00:00Z,100,1", "2025-01-01T00:10:00Z,cheap,1"])
    counts, _ = replay(file, gateway)
    assert (gateway.requests, counts.complete, counts.refused) == ([], False, 1)
    assert (counts.errors[0]["row"], counts.errors[0]["field"], counts.errors[0]["value"]) == (
        1,
        "price",
        "'cheap'",
    )


def test_the_readable_rows_of_such_a_file_are_sent_on_request(tmp_path):
    file = file_of(tmp_path, ["2025-01-01T00:00:00Z,100,1", "2025-01-01T00:10:00Z,cheap,1"])
    counts, _ = replay(file, Recorder(), skip=True)
    assert (counts.accepted, counts.refused, counts.complete) == (1, 1, True)


def test_in_scaled_time_each_signal_waits_for_its_turn(tmp_path):
    time = Time()
    counts, _ = replay(ten_rows(tmp_path), Recorder(), one_by_one=10, speed=60.0, time=time)
    assert time.slept == [10.0] * 9
    assert counts.seconds == 90.0


def test_time_that_sending_took_is_not_waited_for_again():
    time = Time()
    pace = ReplayPace(1.0, time.read, time.sleep)

    async def drive():
        await pace.turn_of(0)
        time.now += 450.0
        await pace.turn_of(STEP_US)
        time.now += 1000.0
        await pace.turn_of(2 * STEP_US)

    asyncio.run(drive())
    assert time.slept == [150.0]
