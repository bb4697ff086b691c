"""The stages between the market and risk: candles, strategies, decide."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from raysignal.data.bars import with_books, with_contracts
from raysignal.engine.core.errors import StrategyFailed
from raysignal.engine.core.events import (
    AggregatedSignal,
    Alarm,
    BookSummary,
    Candle,
    CandleBackfill,
    ContractSummary,
    DecisionAnswer,
    DecisionQuestion,
    PathRestarted,
    StrategySignal,
    Vote,
    decode_event,
    encode_event,
)
from raysignal.engine.core.market_events import (
    BookChange,
    BookLost,
    ContractLost,
    ContractState,
    Instrument,
    Liquidation,
    Trade,
    TradesLost,
)
from raysignal.engine.core.policy import Policy
from raysignal.engine.pipeline.candles import CandleStage
from raysignal.engine.pipeline.decide import DecideStage
from raysignal.engine.pipeline.strategies import CandleGap, StrategySpec, StrategyStage
from raysignal.engine.strategies.checks import UserStrategy
from raysignal.engine.strategies.features import FEATURES, parse_features
from raysignal.engine.strategies.registry import make
from raysignal.engine.strategies.sma import SmaCrossover
from raysignal.engine.strategies.strategy import Bars
from tests.support.effort import examples
from tests.support.pipelines import walk

MINUTE_US, SECOND_US = 60_000_000, 1_000_000
BTC = Instrument("binance-usdm", "BTCUSDT", 2, 3, Decimal(1))


def trade(number: int, at_us: int, price: int, size: int = 1_000) -> Trade:
    return Trade(BTC, str(number), price, size, 1, at_us, at_us)


def candle(at_us: int, close: float, *, interval_us: int = MINUTE_US, complete: bool = True) -> Candle:
    return Candle(
        at_us=at_us, symbol="BTC", interval_us=interval_us, open=close, high=close, low=close, close=close,
        volume=1.0, complete=complete,
    )  # fmt: skip


# Candles


def test_candles_of_several_lengths_that_end_together_come_shorter_first() -> None:
    stage = CandleStage({BTC: "BTC"}, {"BTC": (2 * SECOND_US, SECOND_US)})
    made: list[Candle] = []
    for number in range(6):
        made += stage.on(trade(number, number * SECOND_US, 100 + number))
    assert [(each.at_us // SECOND_US, each.interval_us // SECOND_US) for each in made] == [
        (1, 1), (2, 1), (2, 2), (3, 1), (4, 1), (4, 2), (5, 1),
    ]  # fmt: skip
    assert [each.close for each in made if each.interval_us == 2 * SECOND_US] == [1.01, 1.03]
    assert made[0].volume == 1.0


def test_pause_of_the_market_is_no_loss_unless_trades_were_said_to_be_lost() -> None:
    def played(*, lost: bool) -> list[bool]:
        stage, made = CandleStage({BTC: "BTC"}, {"BTC": (SECOND_US,)}), list[Candle]()
        for number in range(6):
            at_us = number * 15 * SECOND_US
            if lost and number == 4:
                stage.on(TradesLost(BTC, "disconnected", at_us - 1))
            made += stage.on(trade(number, at_us, 100))
            made += stage.on(BookChange(BTC, 1, 1, 1, 2, 1, at_us + 12 * SECOND_US, at_us + 12 * SECOND_US))
        return [each.complete for each in made]

    assert all(played(lost=False)[1:])
    assert not all(played(lost=True)[1:])


def book(at_us: int, bid: int, bid_size: int = 1_000, ask_size: int = 3_000) -> BookChange:
    return BookChange(BTC, at_us, bid, bid_size, bid + 2, ask_size, at_us, at_us)


def test_candle_has_the_book_of_its_end_not_one_that_came_before_it_was_told() -> None:
    stage = CandleStage({BTC: "BTC"}, {"BTC": (SECOND_US, 2 * SECOND_US)}, books=True)
    stage.on(trade(0, 0, 100))
    stage.on(book(SECOND_US - 1, 100))
    for at_us in (SECOND_US, SECOND_US + 1, 2 * SECOND_US - 1, 2 * SECOND_US, 3 * SECOND_US):
        stage.on(book(at_us, 100 + at_us // 1_000))  # nothing was traded since
    made = stage.on(trade(1, 3 * SECOND_US, 101))
    assert [(each.at_us, each.interval_us) for each in made] == [
        (SECOND_US, SECOND_US), (2 * SECOND_US, SECOND_US), (2 * SECOND_US, 2 * SECOND_US), (3 * SECOND_US, SECOND_US)
    ]  # fmt: skip
    bids = [each.book.bid for each in made if isinstance(each.book, BookSummary)]
    assert bids == [1.0, 20.99, 20.99, 21.0]
    assert made[0].book == BookSummary(1.0, 1.0, 1.02, 3.0)


def test_candle_of_a_book_that_was_lost_has_none_until_it_is_in_sync_again() -> None:
    stage = CandleStage({BTC: "BTC"}, {"BTC": (SECOND_US,)}, books=True)
    events = [
        trade(0, 0, 100), book(1, 100), trade(1, SECOND_US, 100), BookLost(BTC, "gap", 1, 2, SECOND_US + 1),
        trade(2, 2 * SECOND_US, 100), book(2 * SECOND_US + 1, 100), trade(3, 3 * SECOND_US, 100),
    ]  # fmt: skip
    made = [candle for event in events for candle in stage.on(event)]
    assert [isinstance(each.book, BookSummary) for each in made] == [True, False, True]
    stage.on(PathRestarted(at_us=3 * SECOND_US, symbol=""))
    stage.on(trade(4, 4 * SECOND_US, 100))
    (made_anew,) = stage.on(trade(5, 5 * SECOND_US, 100))
    assert encode_event(made_anew).count(b"book") == 0


@settings(max_examples=examples(60))
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["trade", "book", "lost"]), st.integers(0, 900_000)),
        min_size=5,
        max_size=80,
    )
)
def test_book_of_a_candle_is_the_last_before_its_end_unless_it_was_lost_since(
    steps: list[tuple[str, int]],
) -> None:
    stage = CandleStage({BTC: "BTC"}, {"BTC": (SECOND_US, 3 * SECOND_US)}, books=True)
    at_us, made = 0, list[Candle]()
    known: list[tuple[int, float | None]] = []  # what a reader of the whole stream knows from when on
    for number, (kind, wait_us) in enumerate(steps):
        at_us += wait_us
        if kind == "trade":
            ended = stage.on(trade(number, at_us, 100))
            for each in ended:
                before = [bid for stamp, bid in known if stamp < each.at_us]
                expected = before[-1] if before else None
                found = each.book.bid if isinstance(each.book, BookSummary) else None
                assert found == expected
            made += ended
        elif kind == "book":
            stage.on(book(at_us, 100 + number))
            known.append((at_us, (100 + number) / 100))
        elif known:
            stage.on(BookLost(BTC, "gap", 0, 0, at_us))
            known[-1] = known[-1][0], None  # when it was lost, by the venue's clock, is not known
    assert all(each.at_us <= at_us for each in made)


def test_book_with_a_stamp_of_the_future_is_not_that_of_any_candle() -> None:
    stage = CandleStage({BTC: "BTC"}, {"BTC": (SECOND_US,)}, books=True)
    stage.on(trade(0, 0, 100))
    stage.on(book(1, 100))
    stage.on(BookChange(BTC, 3, 500, 1, 502, 1, 3_600 * SECOND_US, 2))
    stage.on(book(3, 200))
    (made,) = stage.on(trade(1, SECOND_US, 100))
    assert isinstance(made.book, BookSummary)
    assert made.book.bid == 2.0


def contract(at_us: int, mark: str, interest: str | None = "7") -> ContractState:
    said = None if interest is None else Decimal(interest)
    return ContractState(BTC, Decimal(mark), Decimal(2), Decimal("0.0001"), 9, said, at_us, at_us)


def liquidation(at_us: int, side: int) -> Liquidation:
    return Liquidation(BTC, Decimal(1), 500, side, at_us, at_us)


def summaries(*events: Any) -> list[ContractSummary | None]:
    stage = CandleStage({BTC: "BTC"}, {"BTC": (SECOND_US, 2 * SECOND_US)}, contracts=True)
    made = [candle for event in events for candle in stage.on(event)]
    return [each.contract if isinstance(each.contract, ContractSummary) else None for each in made]


def test_candle_has_the_state_of_its_contract_and_what_was_liquidated_within_it() -> None:
    first, second, both = summaries(
        contract(0, "2.5"), trade(0, 0, 100), liquidation(1, -1), liquidation(SECOND_US - 1, -1), contract(9, "3"),
        liquidation(SECOND_US, 1), contract(SECOND_US, "4", None), trade(1, 2 * SECOND_US, 100),
    )  # fmt: skip
    assert first == ContractSummary(0.0001, 3.0, 2.0, 7.0, 1.0, 0.0)
    assert second is not None
    assert both is not None
    assert (second.mark, second.longs, second.shorts) == (4.0, 0.0, 0.5)
    assert (both.mark, both.longs, both.shorts) == (4.0, 1.0, 0.5)
    assert np.isnan(second.open_interest)


def test_contract_that_was_lost_is_not_known_and_its_liquidations_not_until_a_candle_is_whole_again() -> None:
    found = summaries(
        contract(0, "2.5"), trade(0, 0, 100), trade(1, SECOND_US, 100),
        ContractLost(BTC, "disconnected", SECOND_US + 1), trade(2, 2 * SECOND_US, 100),
        contract(2 * SECOND_US + 1, "3"), trade(3, 3 * SECOND_US, 100), trade(4, 4 * SECOND_US, 100),
    )  # fmt: skip
    one_second = [found[0], found[1], found[3], found[4]]
    assert [each is None for each in one_second] == [False, True, False, False]
    assert [np.isnan(each.longs) for each in one_second if each is not None] == [False, True, False]


def test_state_that_is_not_said_again_for_a_minute_is_not_known() -> None:
    late = 70 * SECOND_US
    before, after = summaries(
        contract(0, "2.5"), trade(0, 0, 100), trade(1, SECOND_US, 100), trade(2, late, 100)
    )[:2]
    assert before is not None
    stage = CandleStage({BTC: "BTC"}, {"BTC": (SECOND_US,)}, contracts=True)
    for event in (contract(0, "2.5"), trade(0, late, 100)):
        stage.on(event)
    (made,) = stage.on(trade(1, late + SECOND_US, 100))
    assert made.contract is UNSET
    assert after is not None


def test_events_of_other_instruments_are_nobodys() -> None:
    stage = CandleStage({BTC: "BTC"}, {"BTC": (SECOND_US,)})
    other = Instrument("okx", "BTC-USDT-SWAP", 1, 0)
    assert stage.on(Trade(other, "1", 1, 1, 1, 0, 0)) == ()


# Strategies


def stage_of(
    *kinds: tuple[str, dict[str, Any]],
    interval_us: int = MINUTE_US,
    features: tuple[str, ...] = (),
    gapless: bool = False,
) -> StrategyStage:
    specs = (
        StrategySpec(f"s{place}", make(kind, values), interval_us, ("BTC",))
        for place, (kind, values) in enumerate(kinds)
    )
    return StrategyStage(specs, parse_features(features), gapless=gapless)


def test_strategies_say_one_candle_at_a_time_what_they_say_of_all_at_once() -> None:
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("sma", {"fast": 2, "slow": 5}), ("rsi", {"window": 4}), ("bollinger", {"window": 6}), ("macd", {}),
        ("breakout", {"window": 5}), ("volatility", {"window": 5, "target": 0.0002}),
    ]  # fmt: skip
    bars = with_contracts(with_books(walk(5, 300), 5, unknown=0.1), 5, unknown=0.1)
    assert bars.book is not None
    assert bars.contract is not None
    heard: list[Any] = []
    live, ahead = stage_of(*kinds, features=FEATURES), stage_of(*kinds, features=FEATURES)
    for begin, end in ((0, 50), (50, 51), (51, 300)):
        ahead.prepare("BTC", MINUTE_US, bars.slice(begin, end))
        for row in range(begin, end):
            one = Candle(
                at_us=int(bars.known_at_us[row]), symbol="BTC", interval_us=MINUTE_US, open=float(bars.open[row]),
                high=float(bars.high[row]), low=float(bars.low[row]), close=float(bars.close[row]),
                volume=float(bars.volume[row]),
                book=UNSET if np.isnan(bars.book[row]).any() else BookSummary(*bars.book[row].tolist()),
                contract=ContractSummary(*bars.contract[row].tolist())
                if np.isfinite(bars.contract[row]).any()
                else UNSET,
            )  # fmt: skip
            said = [encode_event(each) for each in live.on(one)]
            assert said == [encode_event(each) for each in ahead.on(one)]
            heard += map(decode_event, said)
    features = [set(each.features) for each in heard if isinstance(each, StrategySignal)]
    assert {each.name for each in parse_features(FEATURES)} in features
    assert sum(isinstance(each, Alarm) for each in heard) > 10


def test_signals_carry_the_features_that_are_known_at_their_candle() -> None:
    stage = stage_of(("sma", {"fast": 1, "slow": 2}), features=("returns", "ema(3)", "vwap(9)"))
    said: list[Any] = []
    for number, close in enumerate([10.0, 8.0, 12.0, 9.0], 1):
        said += stage.on(candle(number * MINUTE_US, close))
    assert [each.features for each in said] == [
        {"returns(1)": 0.5, "ema(3)": 10.0}, {"returns(1)": -0.25, "ema(3)": 9.5},
    ]  # fmt: skip
    (alarm,) = stage.on(candle(9 * MINUTE_US, 10.0, complete=False))
    assert isinstance(alarm, Alarm)
    said = [each for number, close in ((10, 8.0), (11, 7.0), (12, 9.0))
            for each in stage.on(candle(number * MINUTE_US, close))]  # fmt: skip
    assert [each.features for each in said] == [{"returns(1)": pytest.approx(2 / 7), "ema(3)": 8.0}]


def test_book_that_was_lost_is_told_once_and_its_features_are_left_out() -> None:
    stage = stage_of(("sma", {"fast": 1, "slow": 2}), features=("micro_price", "returns"))
    said: list[Any] = []
    known = BookSummary(9.0, 1.0, 11.0, 1.0)
    for number, (close, summary) in enumerate(
        [(10.0, UNSET), (8.0, known), (12.0, known), (9.0, UNSET), (12.0, UNSET), (8.0, known)], 1
    ):
        said += stage.on(msgspec.structs.replace(candle(number * MINUTE_US, close), book=summary))
    assert [each.message for each in said if isinstance(each, Alarm)] == [
        "the order book of BTC was lost; signals leave out micro_price"
    ]
    values = [each.features.get("micro_price") for each in said if isinstance(each, StrategySignal)]
    assert values == [10.0, None, None, 10.0]


def test_signals_of_one_candle_say_that_more_follow_but_for_the_last() -> None:
    stage = stage_of(("sma", {"fast": 1, "slow": 2}), ("sma", {"fast": 1, "slow": 3}))
    said: list[Any] = []
    for number, close in enumerate([10.0, 9.0, 8.0, 7.0, 12.0], 1):
        said = list(stage.on(candle(number * MINUTE_US, close)))
    assert [(each.strategy, each.side, each.more) for each in said] == [("s0", 1, True), ("s1", 1, False)]


def test_candle_that_does_not_begin_where_the_last_ended_begins_a_new_warm_up_live_and_not_in_a_file() -> (
    None
):
    for gapless in (True, False):
        stage = stage_of(("sma", {"fast": 1, "slow": 2}), gapless=gapless)
        said = [stage.on(candle(minute * MINUTE_US, 10.0)) for minute in (1, 2, 5, 6)]
        alarms = [[event.code for event in each if isinstance(event, Alarm)] for each in said]
        assert alarms == [[], [], ["candles_missing"] if gapless else [], []]


def test_candle_after_a_gap_begins_a_new_warm_up_with_an_alarm() -> None:
    stage = stage_of(("sma", {"fast": 1, "slow": 2}))
    for number, close in enumerate([10.0, 9.0], 1):
        stage.on(candle(number * MINUTE_US, close))
    (alarm,) = stage.on(candle(5 * MINUTE_US, 20.0, complete=False))
    assert isinstance(alarm, Alarm)
    assert alarm.code == "candles_missing"
    assert "60 s" in alarm.message
    assert stage.on(candle(6 * MINUTE_US, 21.0)) == []  # it would have crossed
    assert [each.side for each in stage.on(candle(7 * MINUTE_US, 19.0))] == []
    assert SmaCrossover(1, 2).warm_up == 2


KINDS: list[tuple[str, dict[str, Any]]] = [
    ("sma", {"fast": 2, "slow": 5}), ("rsi", {"window": 4}), ("macd", {}), ("breakout", {"window": 5}),
]  # fmt: skip


def candles_of(count: int, seed: int = 7) -> list[Candle]:
    bars = walk(seed, count)
    rows = zip(bars.known_at_us, bars.open, bars.high, bars.low, bars.close, bars.volume, strict=True)
    return [
        Candle(
            at_us=int(at_us), symbol="BTC", interval_us=MINUTE_US, open=float(opened), high=float(high),
            low=float(low), close=float(close), volume=float(volume),
        )
        for at_us, opened, high, low, close, volume in rows
    ]  # fmt: skip


def backfill(candles: Sequence[Candle]) -> CandleBackfill:
    at_us = candles[-1].at_us + 5 * SECOND_US
    return CandleBackfill(at_us=at_us, symbol="BTC", interval_us=MINUTE_US, candles=tuple(candles))


def test_once_missed_candles_have_come_strategies_say_what_they_would_have_said_without_the_gap() -> None:
    whole, gap = (stage_of(*KINDS, features=("rsi", "ema(30)"), gapless=True) for _ in range(2))
    candles = candles_of(300)
    heard = 0
    for place, each in enumerate(candles):
        said = whole.on(each)
        if 80 <= place < 90:
            continue  # nothing is heard; of the next the beginning is missed, and another one is not whole
        found = gap.on(msgspec.structs.replace(each, complete=place not in {90, 93}))
        if place == 95:
            (missing,) = gap.gaps
            assert missing == CandleGap("BTC", MINUTE_US, candles[79].at_us, candles[93].at_us)
            assert not gap.on(backfill(candles[81:94])), "one of them is not there"
            (alarm,) = gap.on(backfill(candles[80:94]))
            assert isinstance(alarm, Alarm)
            assert (alarm.code, alarm.message[:24]) == ("candles_backfilled", "12 candles of 60 s that ")
            assert gap.gaps == []
        elif place < 80 or place > 95:
            assert found == said
            heard += len(found)
    assert heard > 50
    assert not gap.on(backfill(candles[80:94])), "it came before"


def test_candles_that_were_missed_are_not_waited_for_for_ever_nor_before_the_first() -> None:
    stage, candles = stage_of(*KINDS, gapless=True), candles_of(1_010)
    stage.on(msgspec.structs.replace(candles[0], complete=False))
    assert stage.gaps == []
    for each in candles[2:]:
        stage.on(each)
    assert stage.gaps == []


def test_candles_that_are_missing_in_a_file_are_no_gap() -> None:
    stage = stage_of(*KINDS)
    for each in candles_of(10)[::2]:
        stage.on(each)
    assert stage.gaps == []


# Decide


def aggregated(side: int, at_us: int = 1, votes: tuple[Vote, ...] = (Vote("s", 1, 1.0),)) -> AggregatedSignal:
    return AggregatedSignal(
        at_us=at_us, symbol="BTC", score=float(side), side=side, price=100.0, votes=votes, method="equal"
    )


def test_sell_closes_long_flat_and_turns_long_short() -> None:
    (flat,) = DecideStage(Policy(weight=0.5)).on(aggregated(-1))
    assert (flat.side, flat.size) == (0, 0.0)
    (short,) = DecideStage(Policy(weight=0.5, side="long-short")).on(aggregated(-1))
    assert (short.side, short.size) == (-1, 0.5)


def test_no_opinion_decides_nothing_and_all_flat_closes() -> None:
    assert DecideStage(Policy()).on(aggregated(0)) == ()
    (closed,) = DecideStage(Policy()).on(aggregated(0, votes=(Vote("s", 0, 1.0),)))
    assert closed.side == 0


def test_question_is_answered_until_its_deadline_and_by_nobody_twice() -> None:
    stage = DecideStage(Policy(), wait_us=10)
    (question,) = stage.on(aggregated(1, at_us=100))
    assert isinstance(question, DecisionQuestion)
    assert question.deadline_us == 110
    other = DecisionAnswer(at_us=105, symbol="BTC", question=2, side=0, reason="about another", by="gate")
    assert stage.on(other) == ()
    answer = DecisionAnswer(
        at_us=105, symbol="BTC", question=1, side=0, reason="overruled: it lost 8 of 9", by="gate"
    )
    (decision,) = stage.on(answer)
    assert (decision.side, decision.reason, decision.at_us) == (0, "overruled: it lost 8 of 9", 105)
    assert stage.on(answer) == ()


def test_answer_that_is_late_leaves_the_signal_as_it_is() -> None:
    stage = DecideStage(Policy(), wait_us=10)
    stage.on(aggregated(1, at_us=100))
    (decision,) = stage.on(
        DecisionAnswer(at_us=111, symbol="BTC", question=1, side=0, reason="too slow", by="model")
    )
    assert (decision.side, decision.reason) == (1, "no answer in time")


def test_questions_of_one_instant_are_each_answered_and_a_later_answer_closes_the_earlier_question() -> None:
    def answer(question: int) -> DecisionAnswer:
        return DecisionAnswer(at_us=100, symbol="BTC", question=question, side=None, reason="for", by="gate")

    stage = DecideStage(Policy(side="long-short"), wait_us=10)
    stage.on(aggregated(1, at_us=100))
    stage.on(aggregated(-1, at_us=100))
    assert len({each.identity for each in stage.open.values()}) == 2
    assert [stage.on(answer(number))[0].side for number in (1, 2)] == [1, -1]
    stage.on(aggregated(1, at_us=101))
    stage.on(aggregated(-1, at_us=102))
    assert [each.side for each in stage.on(answer(4))] == [-1]
    assert not stage.open
    assert stage.on(answer(3)) == ()


def test_decisions_of_one_instant_have_identities_of_their_own() -> None:
    stage = DecideStage(Policy())
    made = [stage.on(aggregated(1))[0], stage.on(aggregated(1))[0]]
    assert len({each.identity for each in made}) == 2


def test_posted_signal_is_known_by_its_own_id() -> None:
    posted = StrategySignal(at_us=1, symbol="BTC", strategy="tv", side=1, price=1.0, signal_id="abc")
    assert posted.identity == "abc"
    own = StrategySignal(at_us=1, symbol="BTC", strategy="s", side=1, price=1.0, interval_us=60)
    assert own.identity == "s:BTC:60:1"


@pytest.mark.parametrize("cut", [1, 7, 64])
def test_strategies_are_prepared_in_pieces_of_any_length(cut: int) -> None:
    bars = walk(9, 200)
    whole, pieces = stage_of(("sma", {"fast": 2, "slow": 5})), stage_of(("sma", {"fast": 2, "slow": 5}))
    whole.prepare("BTC", MINUTE_US, bars)
    for begin in range(0, 200, cut):
        pieces.prepare("BTC", MINUTE_US, bars.slice(begin, begin + cut))
        for row in range(begin, min(begin + cut, 200)):
            one = candle(int(bars.known_at_us[row]), float(bars.close[row]))
            assert list(whole.on(one)) == list(pieces.on(one))
    assert np.count_nonzero(make("sma", {"fast": 2, "slow": 5}).actions(bars)) > 5


class Told:
    """A strategy that says what it is told, as often as there are bars; None: it raises."""

    warm_up = 0

    def __init__(self, side: float | None, confidence: float, more: int) -> None:
        self.side, self.confidence, self.more = side, confidence, more

    def actions(self, bars: Bars) -> np.ndarray:
        return self.advance(bars)

    def stream(self) -> "Told":
        return self

    def advance(self, bars: Bars) -> np.ndarray:
        if self.side is None:
            raise ValueError("it broke")
        return np.full(len(bars) + self.more, self.side, np.int8)

    def advance_with_confidence(self, bars: Bars) -> tuple[np.ndarray, np.ndarray]:
        return self.advance(bars), np.full(len(bars), self.confidence)


@pytest.mark.parametrize(
    ("side", "confidence", "more", "told"),
    [
        (5, 0.5, 0, "side at .* is 5; expected -1, 0 or 1"),
        (1, float("nan"), 0, "confidence at .* is nan; expected 0 to 1"),
        (1, 1.5, 0, "confidence at .* is 1.5; expected 0 to 1"),
        (1, -0.5, 0, "confidence at .* is -0.5; expected 0 to 1"),
        (1, 0.5, -1, "has 39 of side for 40 bars; expected one a bar"),
        (None, 0.5, 0, "raised ValueError: it broke"),
    ],
)
def test_strategy_of_ones_own_that_says_what_cannot_be_is_refused_by_name(
    side: float | None, confidence: float, more: int, told: str
) -> None:
    stage = StrategyStage([StrategySpec("own", Told(side, confidence, more), MINUTE_US, ("BTC",))])
    with pytest.raises(StrategyFailed, match=f"^strategy own.* {told}"):
        stage.prepare("BTC", MINUTE_US, walk(1, 40))


@pytest.mark.parametrize("said", [300, 0.5, float("nan")])
def test_actions_that_no_int8_holds_are_refused(said: float) -> None:
    class Wrong(UserStrategy):
        def actions(self, bars: Bars) -> np.ndarray:
            return np.full(len(bars), said)

    stage = StrategyStage([StrategySpec("own", Wrong(), MINUTE_US, ("BTC",))])
    with pytest.raises(StrategyFailed, match=r"^strategy own: action .* at bar 0; expected -1, 0 or 1"):
        stage.prepare("BTC", MINUTE_US, walk(1, 40))
