"""What is told of a session: a function of its events, and the same when they come again."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from raysignal.engine.core.events import (
    Alarm,
    Candle,
    Command,
    CommandKind,
    OrderFill,
    PositionDecision,
    RiskOutcome,
    RiskVerdict,
    StrategySignal,
)
from raysignal.engine.core.policy import Policy
from raysignal.engine.pipeline.portfolio import VenuePortfolio
from raysignal.engine.pipeline.recent import RecentEvents
from raysignal.engine.pipeline.session_messages import SessionMessages

MINUTE_US = 60_000_000


def candle(minute: int, close: float) -> Candle:
    return Candle(
        at_us=minute * MINUTE_US, symbol="BTC", interval_us=MINUTE_US, open=close, high=close, low=close, close=close,
        volume=1.0,
    )  # fmt: skip


DECISION = PositionDecision(at_us=MINUTE_US, symbol="BTC", side=1, size=0.5, price=100.0, number=1)
EVENTS = (
    candle(1, 100.0),
    StrategySignal(at_us=MINUTE_US, symbol="BTC", strategy="cross", side=1, price=100.0, interval_us=MINUTE_US),
    DECISION,
    RiskVerdict(at_us=MINUTE_US, symbol="BTC", decision=DECISION, outcome=RiskOutcome.REDUCE, target=2.0),
    OrderFill(
        at_us=MINUTE_US, symbol="BTC", client_id="o1", ordinal=1, side=1, quantity="2", price="101", fee="0.5",
        decided_price=100.0,
    ),
    candle(2, 110.0),
    Alarm(at_us=2 * MINUTE_US, symbol="", code="risk_halted", message="trading is halted: a bound"),
    Command(at_us=2 * MINUTE_US, symbol="", command=CommandKind.RESET, who="kim", reason="looked at it"),
)  # fmt: skip


@contextmanager
def told(folder: Path, news: list[int]) -> Iterator[SessionMessages]:
    portfolio = VenuePortfolio(Policy(initial_cash=1_000.0), mark_us={"BTC": MINUTE_US})
    with SessionMessages("spot", folder, portfolio, lambda: news.append(1)) as messages:
        recent = RecentEvents(messages.tell)
        for event in EVENTS:
            recent.output(event)
            messages.output(event)
        yield messages


def test_events_of_a_session_become_messages_with_its_sequence(tmp_path: Path) -> None:
    news: list[int] = []
    with told(tmp_path, news) as messages:
        found = [orjson.loads(text) for text in messages.read(0, 100)]
    assert [each["type"] for each in found] == [
        "signal", "decision", "risk", "fill", "position_update", "risk", "risk",
    ]  # fmt: skip
    assert [each["sequence"] for each in found] == [1, 5, 9, 13, 17, 21, 25]
    assert len(news) == messages.end == 7
    assert {(each["shard"], each["pipeline"]) for each in found} == {(messages.shard, "spot")}
    assert messages.shard.startswith("spot.")
    signal, decision, verdict, fill, position, alarm, command = found
    assert (signal["strategy"], signal["side"], signal["timestamp"]) == ("cross", 1, "1970-01-01T00:01:00Z")
    assert (decision["side"], decision["by"]) == (1, "signal")
    assert (verdict["what"], verdict["state"], verdict["outcome"]) == ("verdict", "active", "reduce")
    assert (fill["side"], fill["quantity"], fill["price"]) == ("BUY", "2", "101")
    assert (position["quantity"], position["cash"], position["equity"]) == (2.0, 797.5, 997.5)
    assert (alarm["what"], alarm["state"], alarm["symbol"]) == ("alarm", "halted", None)
    assert (command["what"], command["state"], command["who"]) == ("command", "active", "kim")


def test_a_session_that_is_played_again_tells_the_same_bytes_and_another_one_has_another_name(
    tmp_path: Path,
) -> None:
    with (
        told(tmp_path / "one", []) as first,
        told(tmp_path / "one", []) as again,
        told(tmp_path / "two", []) as other,
    ):
        assert again.read(0, 100) == first.read(0, 100)
        assert again.read(2, 3) == first.read(0, 100)[2:5]
        assert again.read(7, 3) == again.read(99, 3) == ()
        assert again.shard == first.shard != other.shard
