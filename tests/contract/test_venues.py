"""What every venue keeps: addresses, events as the venue means them, and books that are right or not there."""

import random
from collections.abc import Sequence

import msgspec
import pytest

from raysignal.engine.core.errors import InvalidField, UnreadableInput
from raysignal.engine.core.market_events import (
    BookChange,
    BookLost,
    Channel,
    Event,
    Instrument,
    Kline,
    Quote,
    Trade,
    TradesLost,
)
from raysignal.engine.market.books import ASK, BID
from raysignal.engine.market.venues.catalogue import VENUES, venue_named
from raysignal.engine.market.venues.names import is_spot
from raysignal.engine.market.venues.protocol import Subscription, Tracker
from tests.support.market_speech import CLOSES, SPEECHES, START_MS, Speech, Step, market

STEPS = 40
PLACES = 60


@pytest.fixture(params=sorted(SPEECHES))
def speech(request: pytest.FixtureRequest) -> Speech:
    return SPEECHES[request.param]()


def test_every_venue_of_the_catalogue_is_spoken() -> None:
    assert set(SPEECHES) == set(VENUES)
    with pytest.raises(InvalidField, match="venue is 'mtgox'; expected one of binance"):
        venue_named("mtgox")


class Listener:
    """A tracker as the feed would drive it: what it wants, it gets, as the market is at that time."""

    def __init__(self, speech: Speech, steps: Sequence[Step]) -> None:
        self.speech, self.steps, self.now = speech, list(steps), 0
        self.tracker: Tracker = speech.tracker(Channel.DEPTH)
        self.events: list[Event] = []
        if not speech.by_request:
            self.subscribed()

    def subscribed(self) -> None:
        for raw in self.speech.snapshot(self.steps[self.now]):
            self.events += self.tracker.receive(raw, 1)

    def hear(self, index: int) -> Sequence[Event]:
        self.now = max(self.now, index)
        events = list(self.tracker.receive(self.steps[index].raw, 1))
        for want in self.tracker.wants():
            assert want.instrument == self.speech.instrument
            if want.request is not None:
                (body,) = self.speech.snapshot(self.steps[self.now])
                events += self.tracker.snapshot(want.instrument, body, 1)
            if want.texts:
                self.subscribed()
        self.events += events
        return events

    def book(self) -> tuple[dict[int, int], dict[int, int]]:
        book = self.tracker.book(self.speech.instrument)
        sides = [book.levels(side) for side in (BID, ASK)]
        bids, asks = ({int(p): int(q) for p, q in zip(*side, strict=True)} for side in sides)
        return bids, asks


def _right(listener: Listener, index: int) -> bool:
    return listener.book() == (listener.steps[index].bids, listener.steps[index].asks)


def test_an_undisturbed_market_is_followed_without_a_gap(speech: Speech) -> None:
    steps = list(market(speech, 1, 300))
    listener = Listener(speech, steps)
    for index in range(1, len(steps)):
        listener.hear(index)
        assert listener.tracker.in_sync(speech.instrument)
        assert _right(listener, index)
    counts = listener.tracker.counts
    assert [counts[each] for each in ("gaps", "resyncs", "crossed", "malformed", "unknown", "refused")] == [
        0
    ] * 6
    changes = [event for event in listener.events if isinstance(event, BookChange)]
    assert changes[-1].update_id == steps[-1].update_id
    assert changes[-1].exchange_us == 1000 * (START_MS + 100 * (len(steps) - 1))
    assert (changes[-1].bid, changes[-1].ask) == (max(steps[-1].bids), min(steps[-1].asks))


@pytest.mark.parametrize("fault", ["dropped", "doubled", "swapped"])
def test_one_message_amiss_anywhere_is_noticed_and_the_book_ends_right(speech: Speech, fault: str) -> None:
    random_ = random.Random(fault)
    for place in range(PLACES):
        steps = list(market(type(speech)(), place, STEPS))
        truth = {step.update_id: (max(step.bids), min(step.asks)) for step in steps}
        at = random_.randint(3, STEPS - 3)
        order = list(range(1, STEPS))
        position = order.index(at)
        if fault == "dropped":
            del order[position]
        elif fault == "doubled":
            order.insert(position, at)
        else:
            order[position], order[position + 1] = order[position + 1], order[position]
        listener = Listener(speech, steps)
        for index in order:
            for event in listener.hear(index):
                if isinstance(event, BookChange):
                    assert (event.bid, event.ask) == truth[event.update_id]
        counts = listener.tracker.counts
        assert _right(listener, STEPS - 1), f"seed {place}, {fault} at {at}"
        assert listener.tracker.in_sync(speech.instrument)
        lost = [event for event in listener.events if isinstance(event, BookLost)]
        if fault == "doubled":
            assert not lost
            assert counts["gaps"] == 0
        elif steps[at].changed and steps[at + 1].changed:
            assert [event.reason for event in lost[:1]] == ["gap"], f"seed {place}, {fault} at {at}"
            assert counts["gaps"] >= 1
            assert counts["resyncs"] >= 1


def test_a_book_is_empty_while_it_is_lost(speech: Speech) -> None:
    steps = list(market(speech, 2, 10))
    listener = Listener(speech, steps)
    listener.hear(1)
    events = listener.tracker.disconnected(9)
    assert [(type(event), event.reason) for event in events if isinstance(event, BookLost)] == [
        (BookLost, "disconnected")
    ]
    assert not listener.tracker.in_sync(speech.instrument)
    assert listener.book() == ({}, {})
    assert list(listener.tracker.wants()) == []
    assert not listener.tracker.disconnected(9)


def test_a_connection_that_ends_says_that_trades_are_missed_although_it_had_no_book(speech: Speech) -> None:
    tracker = speech.tracker(Channel.DEPTH, Channel.TRADES)
    tracker.receive(b"{}", 8)
    assert tracker.disconnected(9) == [TradesLost(speech.instrument, "disconnected", 9)]
    assert not tracker.disconnected(10)  # nothing was heard since


def test_trades_come_by_one_connection_that_says_so_when_it_ends(speech: Speech) -> None:
    channels = frozenset({Channel.DEPTH, Channel.TRADES})
    said = []
    for opening in speech.venue.openings([Subscription(speech.instrument, channels)]):
        tracker = speech.venue.tracker(opening.subscriptions)
        tracker.receive(b"{}", 1)
        said += [event for event in tracker.disconnected(2) if isinstance(event, TradesLost)]
    assert said == [TradesLost(speech.instrument, "disconnected", 2)]


def test_a_message_that_cannot_be_read_may_have_been_a_trade(speech: Speech) -> None:
    tracker = speech.tracker(Channel.TRADES)
    assert tracker.receive(b'{"half', 9) == [TradesLost(speech.instrument, "malformed", 9)]
    assert not speech.tracker(Channel.DEPTH).receive(b'{"half', 9)


def test_a_connection_that_comes_back_begins_anew(speech: Speech) -> None:
    steps = list(market(speech, 3, 20))
    listener = Listener(speech, steps)
    for index in range(1, 5):
        listener.hear(index)
    listener.tracker.disconnected(9)
    listener.now = 12
    if not speech.by_request:
        listener.subscribed()
    listener.hear(13)
    assert listener.tracker.in_sync(speech.instrument)
    assert _right(listener, 13)
    assert listener.tracker.counts["resyncs"] == 1
    assert listener.tracker.counts["gaps"] == 0


def test_a_crossed_book_is_given_up(speech: Speech) -> None:
    steps = list(market(speech, 4, 10))
    listener = Listener(speech, steps)
    for index in range(1, 5):
        listener.hear(index)
    above = max(steps[4].asks) + 1
    speech.ids = dict(steps[4].ids)
    speech.step(random.Random(1), empty=False)
    events = listener.tracker.receive(speech.change({above: 5}, {}, START_MS), 1)
    assert [event.reason for event in events if isinstance(event, BookLost)] == ["crossed"]
    assert listener.tracker.counts["crossed"] == 1
    assert not listener.tracker.in_sync(speech.instrument)
    assert listener.book() == ({}, {})


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"\xff\xfe", b"null", b"[]", b"17", b'"text"', b'{"stream":5}{', b'{"stream":"btcusdt@dep'],
)
def test_what_cannot_be_read_loses_every_book_and_nothing_else(speech: Speech, damage: bytes) -> None:
    steps = list(market(speech, 5, 10))
    listener = Listener(speech, steps)
    listener.hear(1)
    events = listener.tracker.receive(damage, 1)
    assert [event.reason for event in events if isinstance(event, BookLost)] == ["malformed"]
    assert listener.tracker.counts["malformed"] == 1
    for want in listener.tracker.wants():
        assert want.texts
        listener.subscribed()
    for index in range(2, 6):
        listener.hear(index)
    assert _right(listener, 5)


@pytest.mark.parametrize(
    "said",
    [
        b"{}",
        b'{"a":1}',
        b'{"e":"maintenance","E":1770123456789}',
        b'{"type":"COMMAND_RESP","success":true,"ret_msg":"","data":{"failTopics":[],"successTopics":["x"]}}',
        b'{"event":"notice","code":"1"}',
        b'{"id":3,"status":200,"rateLimits":[]}',
    ],
)
def test_an_object_about_no_stream_is_passed_over_and_loses_nothing(speech: Speech, said: bytes) -> None:
    listener = Listener(speech, list(market(speech, 5, 10)))
    listener.hear(1)
    tracker = listener.tracker
    assert not tracker.receive(said, 1)
    assert not speech.tracker(Channel.TRADES).receive(said, 1)
    assert tracker.in_sync(speech.instrument)
    assert tracker.counts["malformed"] == tracker.counts["refused"] == tracker.counts["closes"] == 0
    assert not tracker.closing


def test_an_announced_close_is_counted_and_loses_nothing_before_it_comes(speech: Speech) -> None:
    if speech.name not in CLOSES:
        pytest.skip("the venue announces none")
    steps = list(market(speech, 5, 10))
    listener = Listener(speech, steps)
    listener.hear(1)
    tracker = listener.tracker
    assert not tracker.receive(CLOSES[speech.name], 1)
    assert tracker.closing
    assert tracker.counts["closes"] == 1
    assert tracker.counts["unknown"] == tracker.counts["malformed"] == 0
    listener.hear(2)
    assert _right(listener, 2)
    tracker.disconnected(1)
    assert not tracker.closing


def test_a_damaged_quote_or_kline_loses_neither_book_nor_trades(speech: Speech) -> None:
    steps = list(market(speech, 5, 10))
    tracker = speech.tracker()
    for raw in speech.snapshot(steps[0]) if not speech.by_request else ():
        tracker.receive(raw, 1)
    whole = tracker.in_sync(speech.instrument)
    for raw in (
        speech.quote(99_999, 3, 100_001, 4, 815, START_MS),
        speech.kline(START_MS, (100, 120, 90, 110), 5, closed=True),
    ):
        assert not tracker.receive(raw[:-4], 1)
        assert not tracker.receive(raw[:-1] + b"]", 1)
    assert tracker.counts["malformed"] == 4
    assert tracker.in_sync(speech.instrument) == whole


def test_a_damaged_trade_is_missed_of_its_own_symbol_alone(speech: Speech) -> None:
    other = Instrument(speech.name, "ETH-USDT" if speech.name == "okx" else "ETHUSDT", 2, 3)
    channels = frozenset({Channel.TRADES})
    tracker = speech.venue.tracker([Subscription(each, channels) for each in (speech.instrument, other)])
    raw = speech.trade("17", 100_000, 5, 1, START_MS)
    assert tracker.receive(raw[:-4], 9) == [TradesLost(speech.instrument, "malformed", 9)]
    assert len(tracker.receive(raw[:7], 9)) == 2  # of whom nobody can tell


def test_a_book_whose_bid_equals_its_ask_is_kept(speech: Speech) -> None:
    steps = list(market(speech, 4, 10))
    listener = Listener(speech, steps)
    for index in range(1, 5):
        listener.hear(index)
    locked = min(steps[4].asks)
    speech.ids = dict(steps[4].ids)
    speech.step(random.Random(1), empty=False)
    (event,) = listener.tracker.receive(speech.change({locked: 5}, {}, START_MS), 1)
    assert isinstance(event, BookChange)
    assert (event.bid, event.ask) == (locked, locked)
    assert listener.tracker.counts["crossed"] == 0


def test_a_damaged_trade_does_not_lose_the_book(speech: Speech) -> None:
    listener = Listener(speech, list(market(speech, 5, 10)))
    listener.hear(1)
    raw = speech.trade("17", 100_000, 5, 1, START_MS)
    assert not listener.tracker.receive(raw[:-4], 1)
    assert listener.tracker.counts["malformed"] == 1
    assert listener.tracker.in_sync(speech.instrument)


def test_a_price_with_more_digits_than_the_instrument_has_is_refused_and_not_rounded(speech: Speech) -> None:
    listener = Listener(speech, list(market(speech, 5, 10)))
    listener.hear(1)
    price = speech.price(100_000)
    raw = speech.trade("17", 100_000, 5_000, 1, START_MS)
    assert price.encode() in raw
    longer = price + ("" if "." in price else ".") + "001"
    assert not listener.tracker.receive(raw.replace(price.encode(), longer.encode()), 1)
    assert listener.tracker.counts["malformed"] == 1
    zeros = price + ("" if "." in price else ".") + "000"
    (trade,) = listener.tracker.receive(raw.replace(price.encode(), zeros.encode()), 1)
    assert isinstance(trade, Trade)
    assert trade.price == 100_000


def test_trades_quotes_and_klines_are_as_the_venue_means_them(speech: Speech) -> None:
    tracker = speech.tracker()
    ours = speech.instrument
    assert list(tracker.receive(speech.trade("4711", 100_050, 7_000, -1, START_MS), 8)) == [
        Trade(ours, "4711", 100_050, 7_000, -1, 1000 * START_MS, 8)
    ]
    assert list(tracker.receive(speech.trade("4712", 100_051, 1, 1, START_MS), 8)) == [
        Trade(ours, "4712", 100_051, 1, 1, 1000 * START_MS, 8)
    ]
    (quote,) = tracker.receive(speech.quote(99_999, 3, 100_001, 4, 815, START_MS), 8)
    assert isinstance(quote, Quote)
    assert (quote.bid, quote.bid_size, quote.ask, quote.ask_size, quote.update_id) == (
        99_999,
        3,
        100_001,
        4,
        815,
    )
    assert quote.exchange_us == (0 if speech.name == "binance" else 1000 * START_MS)
    for closed in (False, True):
        (bar,) = tracker.receive(speech.kline(START_MS, (100, 120, 90, 110), 5, closed=closed), 8)
        assert isinstance(bar, Kline)
        assert (bar.instrument, bar.interval_us, bar.open_us) == (ours, 60_000_000, 1000 * START_MS)
        assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == (100, 120, 90, 110, 5)
        assert bar.closed is closed
    assert tracker.counts["malformed"] == 0


def test_acknowledgements_say_nothing_and_refusals_are_kept(speech: Speech) -> None:
    tracker = speech.tracker()
    assert not tracker.receive(speech.acknowledgement, 1)
    assert tracker.counts["refused"] == 0
    assert not tracker.receive(speech.refusal, 1)
    assert tracker.counts["refused"] == 1
    assert tracker.last_refusal
    assert tracker.counts["malformed"] == 0


def test_what_was_not_subscribed_to_is_counted_and_passed_over(speech: Speech) -> None:
    tracker = speech.tracker(Channel.TRADES)
    step = next(iter(market(speech, 1, 1)))
    assert not tracker.receive(step.raw, 1)
    other = speech.trade("1", 100_000, 5, 1, START_MS).replace(b"BTC", b"ETH").replace(b"btc", b"eth")
    assert not tracker.receive(other, 1)
    assert tracker.counts["unknown"] == 2
    assert tracker.counts["malformed"] == 0
    assert not tracker.wants()


def test_messages_written_otherwise_mean_the_same(speech: Speech) -> None:
    """Spaces, another order of names, escapes and new names."""
    steps = list(market(speech, 6, 30))
    listener = Listener(speech, steps)
    for index in range(1, len(steps)):
        message = msgspec.json.decode(steps[index].raw)
        loose = msgspec.json.format(msgspec.json.encode({"new": {"a": [1, "\\é"]}, **message}), indent=1)
        listener.steps[index] = _with(steps[index], loose)
        listener.hear(index)
        assert _right(listener, index)
    assert listener.tracker.counts["malformed"] == 0


def _with(step: Step, raw: bytes) -> Step:
    return Step(raw, step.bids, step.asks, step.update_id, step.ids, step.changed)


def test_every_channel_is_opened_once(speech: Speech) -> None:
    all_channels = Subscription(speech.instrument, frozenset(Channel))
    openings = speech.venue.openings([all_channels])
    brought = [channel for opening in openings for each in opening.subscriptions for channel in each.channels]
    of_contracts = {Channel.CONTRACT, Channel.LIQUIDATIONS}
    spot = is_spot(speech.name, speech.instrument.symbol)
    assert sorted(brought) == sorted(set(Channel) - of_contracts if spot else Channel)
    assert all(opening.path.startswith("/") for opening in openings)


def test_no_connection_takes_more_than_the_venue_allows(speech: Speech) -> None:
    many = [
        Subscription(Instrument(speech.name, f"A{number}-USDT"))
        for number in range(speech.venue.manners.streams)
    ]
    openings = speech.venue.openings(many)
    streams = [sum(len(each.channels) for each in opening.subscriptions) for opening in openings]
    assert max(streams) <= speech.venue.manners.streams
    assert sum(streams) == 3 * len(many)
    for opening in openings:
        speech.venue.tracker(opening.subscriptions)


def test_klines_of_a_length_the_venue_has_not_are_refused(speech: Speech) -> None:
    with pytest.raises(InvalidField, match=r"bar is '7s'; expected a length of .*'s own bars: .*1m, 3m, 5m"):
        speech.venue.klines_request(speech.instrument, 7_000_000, 0, 10)
    with pytest.raises(InvalidField, match="limit"):
        speech.venue.klines_request(speech.instrument, 60_000_000, 0, speech.venue.most_klines + 1)
    with pytest.raises(InvalidField, match="bar is '7s'"):
        speech.venue.openings([Subscription(speech.instrument, frozenset({Channel.KLINES}), 7_000_000)])


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"null", b"{}", b'{"code":-1121,"msg":"Invalid symbol."}', b"[[1]]"]
)
def test_answers_that_are_none_are_refused(speech: Speech, body: bytes) -> None:
    with pytest.raises(UnreadableInput):
        speech.venue.read_klines(speech.instrument, 60_000_000, body, 0)
    with pytest.raises(UnreadableInput):
        speech.venue.read_time(body)
    with pytest.raises(UnreadableInput):
        speech.venue.read_instruments([speech.symbol], body)


@pytest.mark.parametrize(
    ("name", "path", "body", "us"),
    [
        ("binance", "/api/v3/time", b'{"serverTime":1499827319559}', 1_499_827_319_559_000),
        ("binance-usdm", "/fapi/v1/time", b'{"serverTime":1499827319559}', 1_499_827_319_559_000),
        ("binance-coinm", "/dapi/v1/time", b'{"serverTime":1499827319559}', 1_499_827_319_559_000),
        ("okx", "/api/v5/public/time", b'{"code":"0","msg":"","data":[{"ts":"1597026383085"}]}', 1_597_026_383_085_000),
        (
            "bybit-linear", "/v5/market/time",
            b'{"retCode":0,"retMsg":"OK","result":{"timeSecond":"1688639403","timeNano":"1688639403423213947"}}',
            1_688_639_403_423_213,
        ),
    ],
)  # fmt: skip
def test_a_venues_time_is_asked_and_read_as_it_writes_it(name: str, path: str, body: bytes, us: int) -> None:
    venue = venue_named(name)
    assert venue.time_request.path == path
    assert venue.read_time(body) == us
