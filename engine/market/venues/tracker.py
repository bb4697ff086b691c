"""A connection's tracker: the same for every venue, which says the rest in a `Dialect`.

A snapshot that is asked for shows some levels of a side, and changes tell of others only when they change: the book is
exact from the lowest bid to the highest ask of its snapshot (`known`), and asked for anew, while it goes on, before its
best price comes to that edge. Where the venue says its own best prices (`Channel.QUOTES`), those that are of the same
update as the book are compared: a book that differs again and again is given up.

A message goes through one compiled call (`sequence.take`) and becomes one event. What the compiled reader refuses is
decoded by msgspec and either taken through the same forms, or heard as what it is: an acknowledgement, an error, a
kline. Books that wait for a REST snapshot keep the raw changes that came meanwhile, up to a limit, and go through
them again when it is there.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from raysignal.engine.core.errors import UnreadableInput
from raysignal.engine.core.market_events import (
    BookChange,
    BookLost,
    Channel,
    Event,
    Instrument,
    Quote,
    Trade,
    TradesLost,
)
from raysignal.engine.market.books import ASK, BID, HEAD, LAST, STATE, BookSet, OrderBook
from raysignal.engine.market.reader import READ, ROWS_AT, Reader, decode, read
from raysignal.engine.market.shapes import ROW_SLOTS, Elsewhere, Form, RowSlot, Slot, Symbol
from raysignal.engine.market.venues.protocol import RestRequest, ResyncRequest, Subscription
from raysignal.engine.market.venues.sequence import (
    BEAT,
    CHANGED,
    CROSSED,
    ELSEWHERE,
    FRESH,
    GAP,
    LIVE,
    LOST,
    OLD,
    QUOTED,
    ROOM,
    STALE,
    TOP,
    TRADED,
    UNFOLLOWED,
    UNREAD,
    WAIT,
    Found,
    begin,
    settle,
    take,
)

_COUNTED = {"gap": "gaps", "stale_snapshot": "stale_snapshots", "crossed": "crossed"}
COUNTS = (
    "stale", "gaps", "resyncs", "crossed", "malformed", "stale_snapshots", "refreshes", "unknown", "refused", "closes",
    "agreed", "differed",
)  # fmt: skip
MOST_DIFFERING = 3  # in a row: one may be a best price that the venue itself was late with
_QUOTES_KEPT = 1024
_EDGE_SHARE = 4  # a snapshot is asked for anew when a quarter of what it knew beyond the best price is left
_NO_EDGE = 2**63 - 1
MOST_WAITING = 4096
MOST_WAITING_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class ControlMessage:
    """A message that is no change, trade or quote.

    Attributes:
        events: klines.
        refused: the venue's error text; empty: it is none.
        follows: the symbol whose depth channel was just acknowledged; empty: none was.
        closing: the venue will end the connection soon.
        unknown: it is of a kind that is not known here, and about no stream.
    """

    events: tuple[Event, ...] = ()
    refused: str = ""
    follows: str = ""
    closing: bool = False
    unknown: bool = False


class Dialect(Protocol):
    """How a venue speaks: what `StreamTracker` has to know of it."""

    @property
    def rule(self) -> int:
        """The rule of `sequence` by which its changes follow each other."""

    @property
    def stream(self) -> Form:
        """A message of the stream."""

    @property
    def levels(self) -> int:
        """How many levels of a side a snapshot shows at most."""

    @property
    def depth(self) -> Form | None:
        """The answer to `depth_request`; None: snapshots come by the stream alone."""

    def depth_request(self, instrument: Instrument) -> RestRequest | None:
        """Asks for a snapshot."""

    def resubscribe(self, instrument: Instrument) -> tuple[str, ...]:
        """What to send for a snapshot by the stream; nothing where it comes by `depth_request`."""

    def hear(
        self, message: object, instruments: Mapping[str, Instrument], received_us: int
    ) -> ControlMessage | None:
        """A decoded message that is none of the forms'; None: it is for them. `UnreadableInput`: it is neither."""

    def about(self, raw: bytes) -> tuple[Channel | None, str] | None:
        """The channel (None: one that is not followed) and symbol that a message that cannot be read is about.

        None: nobody can tell.
        """


class StreamTracker:
    """See `engine.market.venues.protocol.Tracker`."""

    def __init__(self, dialect: Dialect, subscriptions: Sequence[Subscription]) -> None:
        self._dialect = dialect
        self._rule = dialect.rule
        self._instruments = [each.instrument for each in subscriptions]
        self._by_symbol = {each.symbol: each for each in self._instruments}
        if len(self._by_symbol) != len(self._instruments):
            raise ValueError("two subscriptions for one symbol")
        self._rows = {each.symbol: row for row, each in enumerate(self._instruments)}
        roots = [dialect.stream] if dialect.depth is None else [dialect.stream, dialect.depth]
        symbols = [Symbol(each.symbol, each.price_decimals, each.size_decimals) for each in self._instruments]
        self._reader = Reader(roots, symbols)
        # Books of depth 1, for venues that say the best prices so, stand behind the others.
        self._tops = len(self._instruments)
        self._shelf = BookSet(self._instruments * 2)
        self._depths = [row for row, each in enumerate(subscriptions) if Channel.DEPTH in each.channels]
        self._traded = [each.instrument for each in subscriptions if Channel.TRADES in each.channels]
        for row in range(self._tops):
            if row not in set(self._depths):
                self._shelf.heads[HEAD * row + STATE] = UNFOLLOWED
        self._books = [self._shelf.book(row) for row in range(self._tops)]
        self._waiting: list[deque[bytes]] = [deque() for _ in self._instruments]
        self._waiting_bytes = [0] * self._tops
        self._asked = [False] * self._tops
        self._acknowledged = [False] * self._tops
        self._were_whole: set[int] = set()
        self._lost_before: set[int] = set()
        self._wants: list[ResyncRequest] = []
        self._messages = self._events = self._messages_before = 0
        self._counts = dict.fromkeys(COUNTS, 0)
        # Lowest bid and highest ask that are known of each book, and the best prices that are too near to them.
        self._known = [(0, _NO_EDGE)] * self._tops
        self._edges = [(0, _NO_EDGE)] * self._tops
        self._refreshing: set[int] = set()  # books that are whole and wait for another snapshot
        self._best: list[tuple[int, int, int]] = [(0, 0, 0)] * self._tops  # update id, bid, ask of each book
        self._quotes: list[dict[int, tuple[int, int]]] = [{} for _ in self._instruments]
        self._differing = [0] * self._tops  # in a row
        self.last_refusal = ""
        self.closing = False

    def receive(self, raw: bytes, received_us: int) -> Sequence[Event]:
        """One message as it came."""
        self._messages += 1
        reader, shelf = self._reader, self._shelf
        size = len(raw)
        if size > reader.capacity:
            try:
                reader.load(raw)
            except UnreadableInput:
                return self._malformed(raw, received_us)
        reader.view[:size] = raw
        found = take(
            reader.text, size, self._rule, self._tops, reader.table, reader.work, shelf.heads, shelf.cells
        )
        status, row, a, b, c, d, e, us, rows, _ = found
        if status == QUOTED:
            self._events += 1
            quote = Quote(self._instruments[row], a, b, c, d, e, us, received_us)
            return (quote, *self._quoted(row, a, b, d, received_us))
        if status == CHANGED and row in self._were_whole:
            self._events += 1
            change = BookChange(self._instruments[row], a, b, c, d, e, us, received_us)
            return (change, *self._noted(row, a, b, d, raw, received_us))
        if status == TRADED and rows == 1 and a and b:
            self._events += 1
            return (Trade(self._instruments[row], raw[d:e].decode(), a, b, c, us, received_us),)
        if status == UNREAD:
            return () if raw == b"pong" else self._slowly(raw, received_us)
        return self._finish(found, raw, raw, received_us)

    def snapshot(self, instrument: Instrument, body: bytes, received_us: int) -> Sequence[Event]:
        """The answer to a `ResyncRequest.request`."""
        row = self._rows[instrument.symbol]
        if self._shelf.heads[HEAD * row + STATE] != LOST and row not in self._refreshing:
            return ()  # it came too late: the stream has brought one
        self._asked[row] = False
        try:
            found = self._begin(row, body)
        except UnreadableInput:
            self._counts["malformed"] += 1
            self._ask(row)
            return ()
        self._counts["refreshes"] += row in self._refreshing
        self._refreshing.discard(row)
        self._know(row)
        if found[0] == CROSSED:
            return self._lose(row, "crossed", 0, 0, received_us)
        waiting, self._waiting[row] = self._waiting[row], deque()
        self._waiting_bytes[row] = 0
        while waiting:
            again = self._found(waiting[0])
            if again[0] in {GAP, OLD, CROSSED}:
                events = self._broken(again, waiting[0], received_us)
                if again[0] != CROSSED:
                    waiting.popleft()
                for raw in waiting if again[0] != CROSSED else ():
                    self._keep(row, raw)
                return events
            waiting.popleft()
            if again[0] == STALE:
                self._counts["stale"] += 1
            elif again[0] == CHANGED:
                found = again
        return self._changed(found, row, b"", received_us)

    def wants(self) -> Sequence[ResyncRequest]:
        """What is needed now."""
        wants, self._wants = self._wants, []
        return wants

    def disconnected(self, received_us: int) -> Sequence[Event]:
        """The connection is gone."""
        events: list[Event] = []
        for row in self._depths:
            if self._shelf.heads[HEAD * row + STATE] != LOST:
                events += self._lose(row, "disconnected", 0, 0, received_us)
            self._forget(row)
            self._acknowledged[row] = False
        for row in range(self._tops, 2 * self._tops):
            self._shelf.heads[HEAD * row + STATE] = LOST
        self._wants = []
        self.closing = False
        if self._messages != self._messages_before:
            events += self._miss_trades(self._traded, "disconnected", received_us)
        self._messages_before = self._messages
        return events

    def in_sync(self, instrument: Instrument) -> bool:
        """Whether the book is whole."""
        return bool(self._shelf.heads[HEAD * self._rows[instrument.symbol] + STATE] in {FRESH, LIVE})

    def book(self, instrument: Instrument) -> OrderBook:
        """The book as it is after the last message; empty while it is not in sync."""
        return self._books[self._rows[instrument.symbol]]

    def known(self, instrument: Instrument) -> tuple[int, int]:
        """Ticks of the lowest bid and the highest ask that the book is known to; 0: to its end."""
        low, high = self._known[self._rows[instrument.symbol]]
        return low, 0 if high == _NO_EDGE else high

    @property
    def counts(self) -> Mapping[str, int]:
        """See the protocol."""
        return {"messages": self._messages, "events": self._events, **self._counts}

    # A message that is not a plain change, trade or quote.

    def _slowly(self, raw: bytes, received_us: int) -> Sequence[Event]:
        """What the compiled reader does not know."""
        try:
            message = decode(raw)
        except UnreadableInput:
            return self._malformed(raw, received_us)
        try:
            heard = self._dialect.hear(message, self._by_symbol, received_us)
            if heard is not None:
                return self._heard(heard)
            record = self._reader.read_slow(message)
        except Elsewhere:
            self._counts["unknown"] += 1
            return ()
        except UnreadableInput:
            return self._malformed(raw, received_us)
        self._reader.put(record)
        return self._finish(self._settle(), raw, record.text, received_us)

    def _heard(self, heard: ControlMessage) -> Sequence[Event]:
        if heard.refused:
            self._counts["refused"] += 1
            self.last_refusal = heard.refused
        self._counts["unknown"] += heard.unknown
        self._counts["closes"] += heard.closing
        self.closing |= heard.closing
        row = self._rows.get(heard.follows)
        if row is not None:
            self._acknowledged[row] = True
        self._events += len(heard.events)
        return heard.events

    def _settle(self) -> Found:
        reader, shelf = self._reader, self._shelf
        while True:
            found: Found = settle(
                reader.capacity, self._rule, self._tops, reader.work, shelf.heads, shelf.cells
            )
            if found[0] != ROOM:
                return found
            self._make_room(found[1])

    def _make_room(self, row: int) -> None:
        work = self._reader.work
        if work[Slot.KIND] == TOP:
            row += self._tops
        self._shelf.make_room(row, int(work[Slot.BIDS]), int(work[Slot.ASKS]))

    def _found(self, raw: bytes) -> Found:
        """A message that has been read before, once more."""
        reader, shelf = self._reader, self._shelf
        size = reader.load(raw)
        found: Found = take(
            reader.text, size, self._rule, self._tops, reader.table, reader.work, shelf.heads, shelf.cells
        )
        if found[0] == UNREAD:
            reader.put(reader.read_slow(decode(raw)))
            found = self._settle()
        elif found[0] == ROOM:
            self._make_room(found[1])
            found = self._settle()
        return found

    def _begin(self, row: int, body: bytes) -> Found:
        """A snapshot becomes the book."""
        reader, shelf = self._reader, self._shelf
        size = reader.load(body)
        if read(reader.text, size, reader.roots[1], row, reader.table, reader.work) != READ:
            try:
                reader.put(reader.read_slow(decode(body), 1, row))
            except Elsewhere:
                raise UnreadableInput("the snapshot is of another symbol") from None
        while True:
            found: Found = begin(reader.capacity, reader.work, shelf.heads, shelf.cells)
            if found[0] != ROOM:
                return found
            self._make_room(row)

    def _finish(self, found: Found, raw: bytes, text: bytes, received_us: int) -> Sequence[Event]:
        """The events of what `settle` found; `text` is where trade ids are."""
        if found[0] == ROOM:
            self._make_room(found[1])
            found = self._settle()
        status, row = found[0], found[1]
        if status == TRADED:
            return self._trades(found, text, received_us)
        if status == QUOTED:
            self._events += 1
            quote = Quote(self._instruments[row], *found[2:8], received_us)
            return (quote, *self._quoted(row, found[2], found[3], found[5], received_us))
        if status == CHANGED:
            return self._changed(found, row, raw, received_us)
        if status == STALE:
            self._counts["stale"] += 1
        elif status == WAIT:
            self._wait(row, raw)
        elif status == ELSEWHERE:
            self._counts["unknown"] += 1
        elif status != BEAT:
            return self._broken(found, raw, received_us)
        return ()

    def _trades(self, found: Found, text: bytes, received_us: int) -> Sequence[Event]:
        instrument = self._instruments[found[1]]
        if found[8] == 1:
            _, _, price, size, side, start, stop, us, _, _ = found
            rows = [(price, size, start, stop, side, us)]
        else:
            work = self._reader.work[ROWS_AT : ROWS_AT + ROW_SLOTS * found[8]].reshape(-1, ROW_SLOTS)
            rows = [(*each[: RowSlot.MS], 1000 * each[RowSlot.MS]) for each in work.tolist()]
        # Binance futures say liquidations by insurance fund as trades of nothing.
        events = tuple(
            Trade(instrument, text[start:stop].decode(), price, size, side, us, received_us)
            for price, size, start, stop, side, us in rows
            if price and size
        )
        self._counts["unknown"] += len(rows) - len(events)
        self._events += len(events)
        return events

    # The life of a book.

    def _changed(self, found: Found, row: int, raw: bytes, received_us: int) -> Sequence[Event]:
        """The book is whole: it has changed, or is whole again."""
        if row not in self._were_whole:
            self._forget(row)
            if row in self._lost_before:
                self._counts["resyncs"] += 1
            self._were_whole.add(row)
        self._events += 1
        change = BookChange(self._instruments[row], *found[2:8], received_us)
        return (change, *self._noted(row, found[2], found[3], found[5], raw, received_us))

    def _noted(
        self, row: int, update_id: int, bid: int, ask: int, raw: bytes, received_us: int
    ) -> Sequence[Event]:
        """The book is this now: does its snapshot know it so far, and does the venue say the same best prices?"""
        self._best[row] = update_id, bid, ask
        low, high = self._edges[row]
        if (bid < low or ask > high) and not self._asked[row]:
            self._refreshing.add(row)
            self._ask(row)
        if row in self._refreshing and raw:
            self._keep(row, raw)
        quotes = self._quotes[row]
        if not quotes:
            return ()
        quote = quotes.pop(update_id, None)
        return () if quote is None else self._compared(row, quote == (bid, ask), received_us)

    def _quoted(self, row: int, update_id: int, bid: int, ask: int, received_us: int) -> Sequence[Event]:
        """The venue says that these are the best prices after an update; kept until the book has come to it."""
        best = self._best[row]
        if update_id == best[0]:
            return self._compared(row, best == (update_id, bid, ask), received_us) if update_id else ()
        if update_id > best[0]:
            quotes = self._quotes[row]
            quotes[update_id] = bid, ask
            if len(quotes) > _QUOTES_KEPT:
                del quotes[next(iter(quotes))]
        return ()

    def _compared(self, row: int, agreed: bool, received_us: int) -> Sequence[Event]:
        self._counts["agreed" if agreed else "differed"] += 1
        self._differing[row] = 0 if agreed else self._differing[row] + 1
        if self._differing[row] < MOST_DIFFERING:
            return ()
        return self._lose(row, "differs", 0, 0, received_us)

    def _know(self, row: int) -> None:
        """The book is what its snapshot showed: everything of a side, if that was less than a snapshot can show."""
        bids, asks = (self._books[row].levels(side)[0] for side in (BID, ASK))
        low, high, low_edge, high_edge = 0, _NO_EDGE, 0, _NO_EDGE
        if len(bids) >= self._dialect.levels:
            low = int(bids[-1])
            low_edge = low + (int(bids[0]) - low) // _EDGE_SHARE
        if len(asks) >= self._dialect.levels:
            high = int(asks[-1])
            high_edge = high - (high - int(asks[0])) // _EDGE_SHARE
        self._known[row], self._edges[row] = (low, high), (low_edge, high_edge)

    def _broken(self, found: Found, raw: bytes, received_us: int) -> Sequence[Event]:
        """The venue's rule says that something is missing, or the book is crossed."""
        status, row, expected, came = found[0], found[1], found[8], found[9]
        if self._reader.work[Slot.KIND] == TOP:
            self._shelf.heads[HEAD * (row + self._tops) + STATE] = LOST
            self._counts["gaps"] += 1
            self._wants += self._texts(row)
            return ()
        reason = {GAP: "gap", OLD: "stale_snapshot", CROSSED: "crossed"}[status]
        events = self._lose(row, reason, expected, came, received_us)
        if status != CROSSED:
            self._wait(row, raw)
        return events

    def _malformed(self, raw: bytes, received_us: int) -> Sequence[Event]:
        """A message that cannot be read: the books and trades that it may have been about are lost."""
        self._counts["malformed"] += 1
        channel, symbol = self._dialect.about(raw) or (None, None)
        books = channel is Channel.DEPTH or symbol is None
        trades = channel is Channel.TRADES or symbol is None
        events: list[Event] = []
        for row in self._depths if books else ():
            if symbol not in {None, self._instruments[row].symbol}:
                continue
            if self._shelf.heads[HEAD * row + STATE] in {FRESH, LIVE}:
                events += self._lose(row, "malformed", 0, 0, received_us)
            elif self._shelf.heads[HEAD * row + STATE] == LOST:
                self._forget(row)
        missed = [each for each in self._traded if symbol in {None, each.symbol}] if trades else []
        return [*events, *self._miss_trades(missed, "malformed", received_us)]

    def _miss_trades(
        self, instruments: Sequence[Instrument], reason: str, received_us: int
    ) -> Sequence[Event]:
        self._events += len(instruments)
        return [TradesLost(each, reason, received_us) for each in instruments]

    def _lose(self, row: int, reason: str, expected: int, came: int, received_us: int) -> Sequence[Event]:
        if reason in _COUNTED:
            self._counts[_COUNTED[reason]] += 1
        self._forget(row)
        self._known[row] = self._edges[row] = 0, _NO_EDGE
        self._best[row] = 0, 0, 0
        self._quotes[row].clear()
        self._differing[row] = 0
        self._books[row].clear()
        self._shelf.heads[HEAD * row + STATE] = LOST
        self._shelf.heads[HEAD * row + LAST] = 0
        if row in self._were_whole:
            self._were_whole.discard(row)
            self._lost_before.add(row)
        if reason != "stale_snapshot":  # there the subscription goes on, and another request is what helps
            self._acknowledged[row] = False
            self._wants += self._texts(row)
        self._events += 1
        return (BookLost(self._instruments[row], reason, expected, came, received_us),)

    def _texts(self, row: int) -> list[ResyncRequest]:
        texts = self._dialect.resubscribe(self._instruments[row])
        return [ResyncRequest(self._instruments[row], texts=texts)] if texts else []

    def _wait(self, row: int, raw: bytes) -> None:
        """A change that a snapshot has to come before."""
        if self._dialect.depth is None:
            self._counts["stale"] += 1  # the snapshot that the stream brings includes it
            return
        if self._texts(row) and not self._acknowledged[row]:
            self._counts["stale"] += 1  # of the subscription that was given up
            return
        self._keep(row, raw)
        if not self._asked[row]:
            self._ask(row)

    def _ask(self, row: int) -> None:
        instrument = self._instruments[row]
        self._asked[row] = True
        self._wants.append(ResyncRequest(instrument, request=self._dialect.depth_request(instrument)))

    def _keep(self, row: int, raw: bytes) -> None:
        """Keep a change; the oldest go when there are too many, and then no snapshot from before them is used."""
        waiting = self._waiting[row]
        waiting.append(raw)
        self._waiting_bytes[row] += len(raw)
        while len(waiting) > MOST_WAITING or self._waiting_bytes[row] > MOST_WAITING_BYTES:
            self._waiting_bytes[row] -= len(waiting.popleft())

    def _forget(self, row: int) -> None:
        self._waiting[row].clear()
        self._waiting_bytes[row] = 0
        self._asked[row] = False
        self._refreshing.discard(row)
        self._wants = [want for want in self._wants if want.instrument is not self._instruments[row]]
