"""The made-up market is a market; and a day of it through every disturbance leaves the right books."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.market_events import (
    BookChange,
    BookLost,
    Channel,
    ContractState,
    Event,
    Instrument,
    Kline,
    Liquidation,
    Quote,
    Trade,
)
from raysignal.engine.market.conversation import ConnectionTimeouts
from raysignal.engine.market.venues.catalogue import VENUES, venue_named
from raysignal.engine.market.venues.protocol import Subscription
from raysignal.loopback.exchanges.disturbance import (
    OF_MESSAGES,
    Disturbance,
    DisturbancePlan,
    Disturber,
    Orders,
    disturb,
)
from raysignal.loopback.exchanges.exchange import SYMBOLS, GeneratedExchange, made_up
from raysignal.loopback.exchanges.market import MINUTE_US, GeneratedMarket, MarketMoves
from raysignal.loopback.exchanges.speech import Message
from raysignal.loopback.exchanges.unplugged import Unplugged, generate

START_US = 1_700_000_000_000_000
# So that outages are short where disturbances are many.
HASTY = ConnectionTimeouts(still_s=5.0, unsynced_s=10.0, ping_s=3.0, pong_s=3.0, most_delay_s=2.0)
BTC = Instrument("binance", "BTCUSDT", 2, 5)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    volatility=st.sampled_from([0.1, 0.6, 20.0, 300.0]),
    price=st.sampled_from([0.5, 30.0, 60_000.0]),
)
def test_a_market_is_never_crossed_and_its_changes_add_up(seed: int, volatility: float, price: float) -> None:
    market = GeneratedMarket(
        BTC, seed=seed, start_us=START_US, options=MarketMoves(price, levels=8, volatility=volatility)
    )
    bids, asks, last = dict(market.bids), dict(market.asks), market.update_id
    trade_id = market.trade_id
    for _ in range(60):
        step = market.step()
        assert (step.previous, step.first) == (last, last + 1)
        assert step.last == last + len(step.bids) + len(step.asks)
        for side, changes in ((bids, step.bids), (asks, step.asks)):
            for level, size in changes.items():
                side[level] = size
                if not size:
                    del side[level]
        assert (bids, asks) == (market.bids, market.asks)
        assert step.best == (max(bids), bids[max(bids)], min(asks), asks[min(asks)])
        assert 0 < step.best[0] < step.best[2]
        assert all(size > 0 for size in (*bids.values(), *asks.values()))
        for each in step.trades:
            trade_id += 1
            assert (each.number, each.size > 0, abs(each.side)) == (trade_id, True, 1)
        last = step.last
        kept = market.at(last)
        assert kept is not None
        assert (kept.bids, kept.asks) == (bids, asks)
    assert market.at(last + 1) is None


def test_the_same_seed_makes_the_same_market_and_another_one_another() -> None:
    def steps(seed: int) -> list[object]:
        market = GeneratedMarket(BTC, seed=seed, start_us=START_US)
        return [market.step() for _ in range(200)]

    assert steps(1) == steps(1)
    assert steps(1) != steps(2)


def test_averages_of_the_price_cross_both_ways_and_more_than_once_in_two_hours() -> None:
    market = GeneratedMarket(BTC, seed=1, start_us=START_US, options=MarketMoves(step_us=1_000_000))
    closes = []
    for _ in range(7_200):
        market.step()
        closes.append(market.last_price)
    above = [
        sum(closes[end - 60 : end]) / 60 > sum(closes[end - 240 : end]) / 240 for end in range(240, 7_200, 10)
    ]
    turns = Counter((first, second) for first, second in pairwise(above) if first is not second)
    assert turns[False, True] >= 2
    assert turns[True, False] >= 2


def test_bars_of_the_past_join_and_lead_up_to_the_first_price() -> None:
    market = GeneratedMarket(BTC, seed=1, start_us=START_US)
    for interval_us in (MINUTE_US, 60 * MINUTE_US, 1440 * MINUTE_US):
        start = START_US - START_US % interval_us
        bars = market.candles(interval_us, start, 300)
        assert [each.open_us for each in bars] == [start - (300 - k) * interval_us for k in range(300)]
        for each, following in pairwise(bars):
            assert each.close == following.open
            assert each.low <= min(each.open, each.close) <= max(each.open, each.close) <= each.high
        assert bars[-1].close == market.last_price


class Kept:
    """Counts what a feed says, and compares books, klines and trades with each other and with the exchange."""

    def __init__(self, exchange: GeneratedExchange) -> None:
        self.exchange, self.feed = exchange, None
        self.said: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.wrong: list[BookChange] = []
        self.trades: list[Trade] = []
        self.klines: dict[int, Kline] = {}
        self.quotes: dict[int, tuple[int, ...]] = {}
        self.differing: list[int] = []

    def __call__(self, events: Sequence[Event]) -> None:
        assert self.feed is not None
        for event in events:
            self.said[type(event).__name__] += 1
            if isinstance(event, BookChange):
                truth = self.exchange.market(event.instrument.symbol).at(event.update_id)
                book = self.feed.tracker(event.instrument).book(event.instrument)
                sides = [
                    dict(zip(*(each.tolist() for each in book.levels(side)), strict=True)) for side in (0, 1)
                ]
                if truth is None or sides != [truth.bids, truth.asks]:
                    self.wrong.append(event)
            elif isinstance(event, BookLost):
                self.lost[event.reason] += 1
            elif isinstance(event, Trade):
                self.trades.append(event)
            elif isinstance(event, Kline) and event.closed:
                self.klines[event.open_us] = event
            elif isinstance(event, Quote) and event.update_id:
                truth = self.exchange.market(event.instrument.symbol).at(event.update_id)
                best = (event.bid, event.bid_size, event.ask, event.ask_size)
                assert truth is not None
                bid, ask = max(truth.bids), min(truth.asks)
                if best != (bid, truth.bids[bid], ask, truth.asks[ask]):
                    self.differing.append(event.update_id)


def unplugged(
    venue: str, plan: DisturbancePlan | None, *, seed: int = 2, step_us: int = 500_000
) -> tuple[Unplugged, Kept]:
    exchange = GeneratedExchange(
        venue,
        seed=seed,
        start_us=START_US,
        symbols=SYMBOLS[venue][:1],
        market=MarketMoves(step_us=step_us, levels=12),
    )
    kept = Kept(exchange)
    subscriptions = [Subscription(each, frozenset(Channel)) for each in exchange.instruments]
    kept.feed = Unplugged(
        exchange, venue_named(venue), subscriptions, kept, seed=seed, plan=plan, terms=HASTY
    )  # type: ignore[assignment]
    return kept.feed, kept  # type: ignore[return-value]


@pytest.mark.parametrize("venue", sorted(VENUES))
def test_every_disturbance_leaves_every_book_right(venue: str) -> None:
    feed, kept = unplugged(venue, DisturbancePlan(2, 20.0))
    feed.run(START_US + 20 * MINUTE_US)
    counts, done = feed.counts(), feed.exchange.orders.done
    assert kept.wrong == []
    assert kept.differing == []
    assert kept.said["BookChange"] > 900
    assert set(OF_MESSAGES) <= set(done)
    assert counts["gaps"] + counts["stale_snapshots"] >= done[Disturbance.DROP]
    assert counts["malformed"] == done[Disturbance.MALFORMED]
    assert 1 <= kept.lost["malformed"] <= done[Disturbance.MALFORMED]  # a lost book is not lost again
    assert counts["silences"] >= 1
    assert counts["stale_books"] >= 1
    assert counts["reconnects"] >= done[Disturbance.CUT]
    instrument = feed.exchange.instruments[0]
    feed.exchange.orders = Orders()  # what is still waiting is called off
    settled = feed.now_us + 5 * MINUTE_US
    feed.run(settled)
    assert feed.tracker(instrument).in_sync(instrument)


@pytest.mark.parametrize("venue", sorted(VENUES))
def test_trades_that_stall_while_all_else_goes_on_are_had_again(venue: str) -> None:
    feed, kept = unplugged(venue, None)
    feed.run(START_US + 2 * MINUTE_US)
    feed.exchange.orders.place(Disturbance.STALL, channel=Channel.TRADES)
    feed.run(START_US + 5 * MINUTE_US)
    assert feed.counts()["stale_books"] == 1
    assert feed.now_us - kept.trades[-1].exchange_us < MINUTE_US / 4


def test_a_stream_that_stalls_alone_on_a_connection_that_answers_pings_is_had_again() -> None:
    exchange = GeneratedExchange(
        "binance-usdm", seed=2, start_us=START_US, symbols=["BTCUSDT"], market=MarketMoves(levels=12)
    )
    kept = Kept(exchange)
    wanted = [Subscription(each, frozenset({Channel.DEPTH})) for each in exchange.instruments]
    feed = kept.feed = Unplugged(exchange, venue_named("binance-usdm"), wanted, kept, seed=2, terms=HASTY)  # type: ignore[assignment]
    feed.run(START_US + MINUTE_US)
    exchange.orders.place(Disturbance.STALL)
    feed.run(START_US + 2 * MINUTE_US)
    assert (feed.counts()["stale_books"], feed.counts()["silences"]) == (1, 0)
    assert feed.tracker(exchange.instruments[0]).in_sync(exchange.instruments[0])


def test_an_undisturbed_feed_loses_nothing() -> None:
    feed, kept = unplugged("binance", None)
    feed.run(START_US + 10 * MINUTE_US)
    market = feed.exchange.market("BTCUSDT")
    assert kept.lost == {}
    assert [int(each.trade_id) for each in kept.trades] == list(
        range(int(kept.trades[0].trade_id), market.trade_id + 1)
    )
    assert len(kept.klines) >= 9
    # The klines that the stream says are those of its trades.
    for open_us, bar in sorted(kept.klines.items())[1:]:
        inside = [each for each in kept.trades if open_us <= each.exchange_us < open_us + MINUTE_US]
        assert (bar.open, bar.close) == (inside[0].price, inside[-1].price)
        assert bar.high == max(each.price for each in inside)
        assert bar.low == min(each.price for each in inside)
        assert bar.volume == sum(each.size for each in inside)
    feed.end()
    assert kept.lost == {"disconnected": 1}


def test_a_day_is_the_same_for_the_same_seeds() -> None:
    runs = []
    for seed in (2, 2, 3):
        feed, kept = unplugged("okx", DisturbancePlan(2, 12.0), seed=seed)
        feed.run(START_US + 5 * MINUTE_US)
        runs.append((kept.said, kept.lost, kept.trades, feed.counts()))
    assert runs[0] == runs[1] != runs[2]


def message(number: int, channel: Channel = Channel.DEPTH, symbol: str = "A") -> Message:
    return Message(b'{"number":%d}' % number, channel, symbol, number)


def passed(what: str, count: int = 12) -> list[int]:
    orders = Orders()
    disturber = Disturber(orders)
    out: list[Message] = []
    for number in range(count):
        if number == 3:
            orders.place(what)
        out += disturber.pass_on(message(number))
        out += disturber.pass_on(message(number, Channel.TRADES))
    assert [each.us for each in out if each.channel is Channel.TRADES] == (
        list(range(count)) if what not in {"cut", "half_open"} else [0, 1, 2]
    )
    return [each.us if each.raw.endswith(b"}") else -1 for each in out if each.channel is Channel.DEPTH]


@pytest.mark.parametrize(
    ("what", "numbers"),
    [
        ("drop", [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11]),
        ("double", [0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        ("swap", [0, 1, 2, 4, 3, 5, 6, 7, 8, 9, 10, 11]),
        ("delay", [0, 1, 2, 4, 5, 6, 7, 8, 3, 9, 10, 11]),
        ("malformed", [0, 1, 2, -1, 4, 5, 6, 7, 8, 9, 10, 11]),
        ("stall", [0, 1, 2]),
        ("cut", [0, 1, 2]),
        ("half_open", [0, 1, 2]),
    ],
)
def test_a_disturbance_does_what_it_says_to_its_stream_alone(what: str, numbers: list[int]) -> None:
    assert passed(what) == numbers


def test_a_stream_that_stalled_speaks_again_when_it_is_subscribed_to_anew() -> None:
    orders = Orders()
    disturber = Disturber(orders)
    orders.place("stall")
    assert disturber.pass_on(message(1)) == []
    assert disturber.pass_on(message(2)) == []
    disturber.resume(Channel.DEPTH, "A")
    assert disturber.pass_on(message(3)) == [message(3)]


def test_an_order_can_be_for_one_symbol_and_channel() -> None:
    orders = Orders()
    disturber = Disturber(orders)
    orders.place("drop", channel="trades", symbol="B", count=2)
    out = [
        each
        for number in range(4)
        for symbol in "AB"
        for channel in (Channel.DEPTH, Channel.TRADES)
        for each in disturber.pass_on(message(number, channel, symbol))
    ]
    gone = Counter((each.channel, each.symbol) for each in out)
    assert gone[Channel.TRADES, "B"] == 2
    assert sum(gone.values()) == 14
    assert (orders.waiting(), orders.done["drop"]) == (0, 2)  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"what": "explode"}, "what"),
        ({"what": "drop", "channel": "x"}, "channel"),
        ({"what": "cut", "count": 0}, "count"),
    ],
)
def test_an_order_that_cannot_be_is_refused_and_not_placed(arguments: dict[str, object], field: str) -> None:
    orders = Orders()
    with pytest.raises(InvalidField, match=field):
        orders.place(**arguments)  # type: ignore[arg-type]
    assert orders.waiting() == 0


def test_a_stream_through_a_plan_is_the_same_again_and_ends_with_a_cut() -> None:
    def out(plan: DisturbancePlan) -> list[bytes]:
        exchange = GeneratedExchange(
            "binance", seed=1, start_us=START_US, symbols=["BTCUSDT"], market=MarketMoves(levels=5)
        )
        stream = generate(exchange, "/stream?streams=btcusdt@depth@100ms", (), START_US + 60_000_000)
        return [each.raw for each in disturb(stream, plan, START_US)]

    milder = tuple(each for each in OF_MESSAGES if each is not Disturbance.CUT)
    plain, some = out(DisturbancePlan(1, 1e9)), out(DisturbancePlan(1, 2.0, milder))
    assert some == out(DisturbancePlan(1, 2.0, milder)) != plain
    assert len(out(DisturbancePlan(1, 2.0, (Disturbance.CUT,)))) < len(plain) / 2


def test_a_venue_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidField, match="venue is 'nasdaq'"):
        GeneratedExchange("nasdaq", seed=1, start_us=0)
    assert made_up("okx", "BTC-USDT-SWAP").contract_size < 1


def test_instants_of_a_plan_come_about_as_often_as_asked() -> None:
    instants = DisturbancePlan(3, 60.0).instants(0)
    last = [next(instants)[0] for _ in range(1_000)][-1]
    assert last == pytest.approx(60e9, rel=0.1)


@pytest.mark.parametrize(
    ("venue", "symbol"),
    [
        ("binance-usdm", "BTCUSDT"), ("binance-coinm", "BTCUSD_PERP"), ("bybit-linear", "BTCUSDT"),
        ("okx", "BTC-USDT-SWAP"),
    ],
)  # fmt: skip
def test_contracts_are_told_of_with_the_funding_that_is_settled_afterwards(venue: str, symbol: str) -> None:
    exchange = GeneratedExchange(
        venue, seed=2, start_us=START_US, symbols=[symbol], market=MarketMoves(step_us=500_000, levels=12)
    )
    told: list[Event] = []
    channels = frozenset({Channel.CONTRACT, Channel.LIQUIDATIONS})
    wanted = [Subscription(each, channels) for each in exchange.instruments]
    feed = Unplugged(exchange, venue_named(venue), wanted, told.extend, seed=2)
    feed.run(START_US + 2 * MINUTE_US)
    states = [each for each in told if isinstance(each, ContractState)]
    assert len(states) > 100
    last, market = states[-1], exchange.market(symbol)
    assert last.mark is not None
    assert last.index is not None
    assert abs(last.mark / last.index - 1) < Decimal("0.01")
    assert (last.open_interest is None) == venue.startswith("binance")
    assert any(isinstance(each, Liquidation) for each in told)
    assert feed.counts()["unknown"] == feed.counts()["malformed"] == 0
    market.now_us = last.next_funding_us
    ((_, settled),) = market.funding(last.next_funding_us, last.next_funding_us + 1)
    assert last.funding_rate == Decimal(settled)
