"""A connection's tracker: the same for every venue, which says the rest in a `Dialect`.

The venue's module decodes a message and hands what it says to the tracker (`depth`, `quote`, `trade`, `kline`, or
what the connection is told), which makes events of it. Nothing is changed before all of a message has been read.

A snapshot that is asked for shows some levels of a side, and changes tell of others only when they change: the book is
exact from the lowest bid to the highest ask of its snapshot (`known`), and asked for anew, while it goes on, before its
best price comes to that edge. Where the venue says its own best prices (`Channel.QUOTES`), those that are of the same
update as the book are compared: a book that differs again and again is given up. Books that wait for a REST snapshot
keep the changes that came meanwhile, up to a limit, and take them once it is there.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import Enum
from typing import NamedTuple, Protocol

from msgspec import Raw, Struct

from raysignal.engine.core.arrays import Int64Array
from raysignal.engine.core.errors import UnreadableInput
from raysignal.engine.core.market_events import (
    BookChange,
    BookLost,
    Channel,
    ContractLost,
    ContractState,
    Event,
    Instrument,
    Liquidation,
    Quote,
    Trade,
    TradesLost,
)
from raysignal.engine.market.books import ASK, BID, OrderBook
from raysignal.engine.market.venues import answers
from raysignal.engine.market.venues.levels import read_levels
from raysignal.engine.market.venues.numbers import exact_numbers
from raysignal.engine.market.venues.protocol import RestRequest, ResyncRequest, Subscription

_COUNTED = {"gap": "gaps", "stale_snapshot": "stale_snapshots", "crossed": "crossed"}
COUNTS = (
    "stale", "gaps", "resyncs", "crossed", "malformed", "stale_snapshots", "refreshes", "unknown", "refused", "closes",
    "agreed", "differed",
)  # fmt: skip
MOST_BYTES = 1 << 24
MOST_DIFFERING = 3  # in a row: one may be a best price that the venue itself was late with
_QUOTES_KEPT = 1024
_EDGE_SHARE = 4  # a snapshot is asked for anew when a quarter of what it knew beyond the best price is left
_NO_EDGE = 2**63 - 1
MOST_WAITING = 4096
MOST_WAITING_BYTES = 8 << 20


class DepthChange(Struct, frozen=True, gc=False):
    """Levels of a book as they are now.

    Attributes:
        last: the update id after it. `first`, `previous`: the first id that it holds, and the last one of the change
            before it, where the venue's rule compares them.
        update_id: the id that events give it.
        replaces: it is the whole book.
    """

    last: int
    first: int
    previous: int
    update_id: int
    ms: int
    bids: Int64Array
    asks: Int64Array
    replaces: bool


class DepthSnapshot(NamedTuple):
    """The answer to a `depth_request`, its levels as they are written."""

    last: int
    ms: int
    bids: Raw
    asks: Raw


class BookState(Enum):
    """LOST: empty until a snapshot; FRESH: a snapshot that no change has met yet; LIVE: a change has."""

    LOST = 0
    FRESH = 1
    LIVE = 2


class SequenceVerdict(Enum):
    """What is done with a change: into the book; passed over since the book has it; nothing, it says only that the
    venue lives.
    """

    APPLY = 0
    STALE = 1
    HEARTBEAT = 2


class Missing(NamedTuple):
    """Something between the book and a change: the id that the venue's rule expected, and the one that came."""

    expected: int
    got: int


class FollowedBook:
    """An order book and where it stands in the venue's sequence. `last`, `before`: `last` and `previous` of the change
    that was applied last.
    """

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.book = OrderBook(instrument)
        self.state = BookState.LOST
        self.last = self.before = 0
        self.whole = self.was_lost = False  # as events have said it
        self.asked = self.acknowledged = self.refreshing = False
        self.waiting: deque[DepthChange] = deque()
        self.waiting_bytes = 0
        # Lowest bid and highest ask that are known, and the best prices that are too near to them.
        self.known = self.edges = 0, _NO_EDGE
        self.best = 0, 0, 0  # update id, bid, ask
        self.quotes: dict[int, tuple[int, int]] = {}
        self.differing = 0  # in a row

    def apply(self, change: DepthChange, state: BookState = BookState.LIVE) -> tuple[int, int, int, int]:
        """Take a change in; the best prices after it."""
        if change.replaces:
            self.book.clear()
        best = self.book.change(change.bids, change.asks)
        self.state, self.last, self.before = state, change.last, change.previous
        return best

    def lose(self) -> None:
        """Nothing is known of the book any more."""
        self.book.clear()
        self.state, self.last = BookState.LOST, 0
        self.was_lost |= self.whole
        self.whole = False
        self.known = self.edges = 0, _NO_EDGE
        self.best = 0, 0, 0
        self.quotes.clear()
        self.differing = 0

    def forget(self) -> None:
        """Nothing is waited for."""
        self.waiting.clear()
        self.waiting_bytes = 0
        self.asked = self.refreshing = False

    def keep(self, change: DepthChange) -> None:
        """Keep a change; the oldest go when there are too many, and then no snapshot from before them is used."""
        self.waiting.append(change)
        self.waiting_bytes += change.bids.nbytes + change.asks.nbytes
        while len(self.waiting) > MOST_WAITING or self.waiting_bytes > MOST_WAITING_BYTES:
            gone = self.waiting.popleft()
            self.waiting_bytes -= gone.bids.nbytes + gone.asks.nbytes

    def measure(self, levels_shown: int) -> None:
        """The book is what its snapshot showed: everything of a side, if that was less than a snapshot can show."""
        bids, asks = (self.book.levels(side)[0].tolist() for side in (BID, ASK))
        low, high, low_edge, high_edge = 0, _NO_EDGE, 0, _NO_EDGE
        if len(bids) >= levels_shown:
            low = bids[-1]
            low_edge = low + (bids[0] - low) // _EDGE_SHARE
        if len(asks) >= levels_shown:
            high = asks[-1]
            high_edge = high - (high - asks[0]) // _EDGE_SHARE
        self.known, self.edges = (low, high), (low_edge, high_edge)


class SubscribedInstrument:
    """One instrument of a connection: how its numbers are written, its book, and its book of depth 1."""

    def __init__(self, subscription: Subscription) -> None:
        self.instrument = subscription.instrument
        self.prices = exact_numbers(self.instrument.price_decimals)
        self.sizes = exact_numbers(self.instrument.size_decimals)
        self.has_depth = Channel.DEPTH in subscription.channels
        self.has_trades = Channel.TRADES in subscription.channels
        self.contract: ContractState | None = None  # as events have said it
        self.book, self.top = FollowedBook(self.instrument), FollowedBook(self.instrument)

    def levels(self, raw: Raw) -> Int64Array:
        """Levels in ticks and lots."""
        return read_levels(raw, self.instrument.price_decimals, self.instrument.size_decimals)


class Dialect(Protocol):
    """How a venue speaks: what `StreamTracker` has to know of it."""

    @property
    def depth_limit(self) -> int:
        """How many levels of a side a snapshot shows at most."""

    def hear(self, raw: bytes, tracker: "StreamTracker") -> Sequence[Event]:
        """Hand what a message says to the tracker. Raises one of `UNREADABLE` for a message that is damaged."""

    def about(self, raw: bytes) -> tuple[Channel | None, str] | None:
        """The channel (None: one that is not followed) and symbol that a message that cannot be read is about.

        None: nobody can tell.
        """

    def judge(self, book: FollowedBook, change: DepthChange) -> SequenceVerdict | Missing:
        """What the venue's rule of sequence says of a change that does not replace a book which is not lost.

        Passed over as stale is only what is certain to be in the book: where a venue's ids can start anew, that is the
        very message that was applied last, since any other low id may come after a restart that was lost.
        """

    def depth_request(self, instrument: Instrument) -> RestRequest | None:
        """Asks for a snapshot; None: the stream brings it."""

    def read_snapshot(self, body: bytes) -> DepthSnapshot:
        """The answer to it; raises one of `UNREADABLE`."""

    def resubscribe(self, instrument: Instrument, channel: Channel) -> tuple[str, ...]:
        """What to send for a snapshot of the depth (or of the best prices) by the stream; nothing where none comes."""


class StreamTracker:
    """See `engine.market.venues.protocol.Tracker`."""

    def __init__(self, dialect: Dialect, subscriptions: Sequence[Subscription]) -> None:
        self._dialect = dialect
        self._followed = {each.instrument.symbol: SubscribedInstrument(each) for each in subscriptions}
        if len(self._followed) != len(subscriptions):
            raise ValueError("two subscriptions for one symbol")
        self._books = [each.book for each in self._followed.values() if each.has_depth]
        self._wants: list[ResyncRequest] = []
        self._messages = self._events = self._messages_before = 0
        self._counts = dict.fromkeys(COUNTS, 0)
        self._received_us = 0
        self.last_refusal = ""
        self.closing = False

    # What the connection is driven by, see the protocol.

    def receive(self, raw: bytes, received_us: int) -> Sequence[Event]:
        """One message as it came."""
        self._messages += 1
        self._received_us = received_us
        try:
            if len(raw) > MOST_BYTES:
                raise UnreadableInput(f"a message of {len(raw)} bytes; expected at most {MOST_BYTES}")
            events = self._dialect.hear(raw, self)
        except answers.UNREADABLE:
            events = self._malformed(raw)
        self._events += len(events)
        return events

    def snapshot(self, instrument: Instrument, body: bytes, received_us: int) -> Sequence[Event]:
        """The answer to a `ResyncRequest.request`."""
        self._received_us = received_us
        one = self._followed[instrument.symbol]
        book = one.book
        if not one.has_depth or (book.state is not BookState.LOST and not book.refreshing):
            return ()  # it came too late: the stream has brought one
        book.asked = False
        try:
            last, ms, bids, asks = self._dialect.read_snapshot(body)
            change = DepthChange(last, 0, -1, last, ms, one.levels(bids), one.levels(asks), replaces=True)
        except answers.UNREADABLE:
            self._counts["malformed"] += 1
            self._ask(book)
            return ()
        events = self._begin(book, change)
        self._events += len(events)
        return events

    def wants(self) -> Sequence[ResyncRequest]:
        """What is needed now."""
        wants, self._wants = self._wants, []
        return wants

    def disconnected(self, received_us: int) -> Sequence[Event]:
        """The connection is gone."""
        self._received_us = received_us
        events: list[Event] = []
        for book in self._books:
            if book.state is not BookState.LOST:
                events += self._lose(book, "disconnected")
            book.forget()
            book.acknowledged = False
        for each in self._followed.values():
            each.top.state = BookState.LOST
        events += self._lose_contracts(None, "disconnected")
        self._wants = []
        self.closing = False
        if self._messages != self._messages_before:
            events += self._miss_trades(None, "disconnected")
        self._messages_before = self._messages
        self._events += len(events)
        return events

    def in_sync(self, instrument: Instrument) -> bool:
        """Whether the book is whole."""
        return self._followed[instrument.symbol].book.state is not BookState.LOST

    def book(self, instrument: Instrument) -> OrderBook:
        """The book as it is after the last message; empty while it is not in sync."""
        return self._followed[instrument.symbol].book.book

    def known(self, instrument: Instrument) -> tuple[int, int]:
        """Ticks of the lowest bid and the highest ask that the book is known to; 0: to its end."""
        low, high = self._followed[instrument.symbol].book.known
        return low, 0 if high == _NO_EDGE else high

    @property
    def counts(self) -> Mapping[str, int]:
        """See the protocol."""
        return {"messages": self._messages, "events": self._events, **self._counts}

    # What a dialect hears. Numbers that are texts there are texts here.

    def depth(
        self, symbol: str, last: int, ms: int, bids: Raw, asks: Raw, *,
        first: int = 0, previous: int = 0, update_id: int = 0, replaces: bool = False, top: bool = False,
    ) -> Sequence[Event]:  # fmt: skip
        """A change of a book, see `DepthChange`; or of the book of depth 1 (`top`), which is kept like any other, and
        whose changes are the venue's best prices.
        """
        one = self._followed.get(symbol)
        if one is None or not (top or one.has_depth):
            return self.unknown()
        book = one.top if top else one.book
        change = DepthChange(
            last, first, previous, update_id or last, ms, one.levels(bids), one.levels(asks), replaces
        )
        if book.state is BookState.LOST and not replaces:
            self._wait(book, change)
            return ()
        verdict = SequenceVerdict.APPLY if replaces else self._dialect.judge(book, change)
        if verdict is SequenceVerdict.APPLY:
            return self._applied(one, book, change)
        if isinstance(verdict, Missing):
            return self._lose_top(book) if top else self._break(book, verdict, [change])
        self._counts["stale"] += verdict is SequenceVerdict.STALE
        return ()

    def quote(
        self, symbol: str, update_id: int, bid: str, bid_size: str, ask: str, ask_size: str, ms: int
    ) -> Sequence[Event]:
        """The venue's best prices after an update."""
        one = self._followed.get(symbol)
        if one is None:
            return self.unknown()
        prices, sizes = one.prices, one.sizes
        best = prices[bid], sizes[bid_size], prices[ask], sizes[ask_size]
        return self._quoted(one, Quote(one.instrument, update_id, *best, 1000 * ms, self._received_us))

    def trade(
        self, symbol: str, trade_id: str, price: str, size: str, side: int, ms: int
    ) -> tuple[Trade, ...]:
        """A trade. One of nothing is passed over: Binance futures say liquidations by insurance fund so."""
        one = self._followed.get(symbol)
        if one is None:
            self.unknown()
            return ()
        ticks, lots = one.prices[price], one.sizes[size]
        if not ticks or not lots:
            self.unknown()
            return ()
        return (Trade(one.instrument, trade_id, ticks, lots, side, 1000 * ms, self._received_us),)

    def kline(
        self, symbol: str, interval_us: int | None, open_ms: int, prices: Sequence[str], volume: str, trades: int,
        *, closed: bool, ms: int,
    ) -> Sequence[Event]:  # fmt: skip
        """A kline: open, high, low, close; `interval_us` is None for a length that is not known."""
        one = self._followed.get(symbol)
        if one is None or interval_us is None:
            return self.unknown()
        return (
            answers.kline(
                one.instrument, interval_us, 1000 * open_ms, prices, volume, trades,
                closed=closed, exchange_us=1000 * ms, received_us=self._received_us,
            ),
        )  # fmt: skip

    def contract(
        self, symbol: str, ms: int, *, mark: Decimal | None = None, index: Decimal | None = None,
        funding_rate: Decimal | None = None, next_funding_ms: int = 0, open_interest: Decimal | None = None,
    ) -> Sequence[Event]:  # fmt: skip
        """What a message says of a contract; what it leaves out is as it was said before."""
        one = self._followed.get(symbol)
        if one is None:
            return self.unknown()
        before = one.contract or ContractState(one.instrument, None, None, None, 0, None, 0, 0)
        one.contract = ContractState(
            one.instrument,
            before.mark if mark is None else mark,
            before.index if index is None else index,
            before.funding_rate if funding_rate is None else funding_rate,
            1000 * next_funding_ms or before.next_funding_us,
            before.open_interest if open_interest is None else open_interest,
            1000 * ms,
            self._received_us,
        )
        return (one.contract,)

    def index(self, name: str, ms: int, price: Decimal) -> Sequence[Event]:
        """The price of an index, such as `BTC-USDT`, which is that of every contract whose symbol begins so."""
        symbols = [symbol for symbol in self._followed if symbol.startswith(f"{name}-")]
        if not symbols:
            return self.unknown()
        return [event for symbol in symbols for event in self.contract(symbol, ms, index=price)]

    def liquidation(
        self, symbol: str, price: Decimal, size: str, side: int, ms: int, *, all_symbols: bool = False
    ) -> tuple[Liquidation, ...]:
        """A position that was closed by force; `all_symbols`: the stream is not of this symbol alone."""
        one = self._followed.get(symbol)
        if one is None:
            if not all_symbols:
                self.unknown()
            return ()
        return (Liquidation(one.instrument, price, one.sizes[size], side, 1000 * ms, self._received_us),)

    def unknown(self) -> Sequence[Event]:
        """A message of a kind that is not known, or about nothing that is followed."""
        self._counts["unknown"] += 1
        return ()

    def refused(self, said: str) -> Sequence[Event]:
        """The venue's error text."""
        self._counts["refused"] += 1
        self.last_refusal = said
        return ()

    def acknowledged(self, symbol: str) -> Sequence[Event]:
        """The depth channel of the symbol begins anew."""
        if symbol in self._followed:
            self._followed[symbol].book.acknowledged = True
        return ()

    def closes(self) -> Sequence[Event]:
        """The venue will end the connection soon."""
        self._counts["closes"] += 1
        self.closing = True
        return ()

    # The life of a book.

    def _begin(self, book: FollowedBook, change: DepthChange) -> Sequence[Event]:
        """A snapshot becomes the book, then what came since it was asked for."""
        self._counts["refreshes"] += book.refreshing
        book.refreshing = False
        waiting = list(book.waiting)
        book.waiting.clear()
        book.waiting_bytes = 0
        best = book.apply(change, BookState.FRESH)
        book.measure(self._dialect.depth_limit)
        for place, each in enumerate(waiting):
            if best[0] > best[2] > 0:
                break
            verdict = self._dialect.judge(book, each)
            if isinstance(verdict, Missing):
                return self._break(book, verdict, waiting[place:])
            if verdict is SequenceVerdict.APPLY:
                best, change = book.apply(each), each
            self._counts["stale"] += verdict is SequenceVerdict.STALE
        if best[0] > best[2] > 0:
            return self._lose(book, "crossed")
        return self._changed(book, change, best, by_request=True)

    def _applied(self, one: SubscribedInstrument, book: FollowedBook, change: DepthChange) -> Sequence[Event]:
        """A change goes into a book, which must not be crossed by it; one that is locked is right for a moment."""
        best = book.apply(change)
        crossed = best[0] > best[2] > 0
        if book is one.book:
            return self._lose(book, "crossed") if crossed else self._changed(book, change, best)
        if crossed:
            return self._lose_top(book)
        return self._quoted(
            one, Quote(one.instrument, change.update_id, *best, 1000 * change.ms, self._received_us)
        )

    def _changed(
        self,
        book: FollowedBook,
        change: DepthChange,
        best: tuple[int, int, int, int],
        *,
        by_request: bool = False,
    ) -> Sequence[Event]:
        """The book has changed, or is whole again; `by_request`: by a snapshot, which holds all that came before it."""
        update_id, bid, ask = change.update_id, best[0], best[2]
        event = BookChange(book.instrument, update_id, *best, 1000 * change.ms, self._received_us)
        if not book.whole:
            self._forget(book)
            book.whole = True
            self._counts["resyncs"] += book.was_lost
        book.best = update_id, bid, ask
        low, high = book.edges
        if (bid < low or ask > high) and not book.asked:
            book.refreshing = True
            self._ask(book)
        if book.refreshing and not by_request:
            book.keep(change)
        quote = book.quotes.pop(update_id, None)
        if quote is None:
            return (event,)
        return (event, *self._compared(book, agreed=quote == (bid, ask)))

    def _quoted(self, one: SubscribedInstrument, quote: Quote) -> Sequence[Event]:
        """The venue's best prices are held against the book's, or kept until the book has come to that update."""
        book, update_id = one.book, quote.update_id
        best = book.best
        if update_id > best[0]:
            quotes = book.quotes
            quotes[update_id] = quote.bid, quote.ask
            if len(quotes) > _QUOTES_KEPT:
                del quotes[next(iter(quotes))]
        elif update_id == best[0] and update_id:
            return (quote, *self._compared(book, agreed=best == (update_id, quote.bid, quote.ask)))
        return (quote,)

    def _compared(self, book: FollowedBook, *, agreed: bool) -> Sequence[Event]:
        self._counts["agreed" if agreed else "differed"] += 1
        book.differing = 0 if agreed else book.differing + 1
        return () if book.differing < MOST_DIFFERING else self._lose(book, "differs")

    def _break(self, book: FollowedBook, missing: Missing, changes: Sequence[DepthChange]) -> Sequence[Event]:
        """Something is missing before these changes, which another snapshot may meet."""
        reason = "stale_snapshot" if book.state is BookState.FRESH else "gap"
        events = self._lose(book, reason, missing)
        for change in changes:
            self._wait(book, change)
        return events

    def _malformed(self, raw: bytes) -> Sequence[Event]:
        """A message that cannot be read: the books and trades that it may have been about are lost."""
        self._counts["malformed"] += 1
        channel, symbol = self._dialect.about(raw) or (None, None)
        events: list[Event] = []
        for book in self._books if channel is Channel.DEPTH or symbol is None else ():
            if symbol not in {None, book.instrument.symbol}:
                continue
            if book.state is not BookState.LOST:
                events += self._lose(book, "malformed")
            else:
                self._forget(book)
        if channel is Channel.TRADES or symbol is None:
            events += self._miss_trades(symbol, "malformed")
        if channel in {Channel.CONTRACT, Channel.LIQUIDATIONS} or symbol is None:
            events += self._lose_contracts(symbol, "malformed")
        return events

    def _lose_contracts(self, symbol: str | None, reason: str) -> list[Event]:
        """States of contracts are not known, and liquidations missed, until they are heard again."""
        events: list[Event] = []
        for each in self._followed.values():
            if each.contract is not None and (symbol is None or each.instrument.symbol.startswith(symbol)):
                each.contract = None
                texts = self._dialect.resubscribe(each.instrument, Channel.CONTRACT)
                self._wants += [ResyncRequest(each.instrument, texts=texts)] if texts else []
                events.append(ContractLost(each.instrument, reason, self._received_us))
        return events

    def _miss_trades(self, symbol: str | None, reason: str) -> list[Event]:
        return [
            TradesLost(each.instrument, reason, self._received_us)
            for each in self._followed.values()
            if each.has_trades and symbol in {None, each.instrument.symbol}
        ]

    def _lose(self, book: FollowedBook, reason: str, missing: Missing | None = None) -> Sequence[Event]:
        if reason in _COUNTED:
            self._counts[_COUNTED[reason]] += 1
        book.lose()
        self._forget(book)
        if reason != "stale_snapshot":  # there the subscription goes on, and another request is what helps
            book.acknowledged = False
            self._wants += self._texts(book)
        expected, got = missing or (0, 0)
        return (BookLost(book.instrument, reason, expected, got, self._received_us),)

    def _lose_top(self, top: FollowedBook) -> Sequence[Event]:
        """The book of depth 1 misses something."""
        top.state = BookState.LOST
        self._counts["gaps"] += 1
        self._wants += self._texts(top, Channel.QUOTES)
        return ()

    def _texts(self, book: FollowedBook, channel: Channel = Channel.DEPTH) -> list[ResyncRequest]:
        texts = self._dialect.resubscribe(book.instrument, channel)
        return [ResyncRequest(book.instrument, texts=texts)] if texts else []

    def _wait(self, book: FollowedBook, change: DepthChange) -> None:
        """A change that a snapshot has to come before."""
        request = self._dialect.depth_request(book.instrument)
        if request is None or (not book.acknowledged and self._texts(book)):
            # The snapshot that the stream brings holds it, or it is of the subscription that was given up.
            self._counts["stale"] += 1
            return
        book.keep(change)
        if not book.asked:
            self._ask(book)

    def _ask(self, book: FollowedBook) -> None:
        book.asked = True
        self._wants.append(
            ResyncRequest(book.instrument, request=self._dialect.depth_request(book.instrument))
        )

    def _forget(self, book: FollowedBook) -> None:
        """Nothing is waited for."""
        book.forget()
        self._wants = [want for want in self._wants if want.instrument is not book.instrument]
