"""One connection's conduct, without IO and without a clock: what comes in, what has to be done, when to give it up.

The driver (`engine.market.connection`) reads and writes sockets and does what this says; the runner without sockets
(`loopback.exchanges.unplugged`) does the same in virtual time. Instants are `now_ns` (UTC, stamped on events) and
`now_s` (monotonic, for durations).

The sink is called here, in line: no queue, so nothing is dropped and nothing is reordered. While it works nothing is
read, which TCP passes on to the venue; a call that takes longer than `ConnectionTimeouts.slow_sink_s` is counted. An
exception from it ends the feed: who has missed events cannot go on.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from raysignal.engine.core.market_events import BookChange, BookLost, Channel, Event, Instrument, Trade
from raysignal.engine.market.backoff import Backoff
from raysignal.engine.market.monitoring.feed_metrics import STAGES, FeedMetrics
from raysignal.engine.market.staleness import BookWatch, Heartbeat, TradeWatch
from raysignal.engine.market.venues.protocol import RateRules, RestRequest, StreamRequest, Tracker, Venue

Sink = Callable[[Sequence[Event]], None]

_NOTHING: tuple[tuple[()], tuple[()]] = ((), ())


class Notes(Protocol):
    """What a recording takes down; see `engine.market.recordings.Recorder`."""

    def message(self, received_ns: int, raw: bytes) -> None:
        """A message of the stream."""

    def answer(self, received_ns: int, symbol: str, body: bytes) -> None:
        """A REST snapshot."""

    def disconnected(self, received_ns: int) -> None:
        """The connection ended."""


@dataclass(frozen=True, slots=True)
class ConnectionTimeouts:
    """The feed's own bounds, in seconds of its clock.

    Attributes:
        open_s, answer_s: how long opening a connection and a REST answer may take.
        first_delay_s, most_delay_s: of the back-off between connections.
        lasting_s: a connection that lived so long sets the back-off back.
        still_s, unsynced_s: see `BookWatch`; the first is for trades, too.
        quiet_s: a book that has not changed for so long, and for fifty of its usual pauses, is not ready.
        ping_s, pong_s: protocol pings, besides the venue's own; and how long an answer may take.
        renew_share: of the venue's lifetime of a connection; about then it is opened anew.
        leave_s: a connection whose end the venue announces is opened anew within so long.
        time_every_s: how often the venue is asked what time it is.
        slow_sink_s, late_loop_s: what is counted as slow.
        start_within_s, mend_within_s: see `HealthWatch`.
    """

    open_s: float = 10.0
    answer_s: float = 10.0
    first_delay_s: float = 0.5
    most_delay_s: float = 60.0
    lasting_s: float = 30.0
    still_s: float = 30.0
    unsynced_s: float = 60.0
    quiet_s: float = 5.0
    ping_s: float = 10.0
    pong_s: float = 10.0
    renew_share: float = 0.95
    leave_s: float = 60.0
    time_every_s: float = 120.0
    slow_sink_s: float = 0.25
    late_loop_s: float = 0.25
    start_within_s: float = 120.0
    mend_within_s: float = 300.0


class Conversation:
    """See the module. `opened` begins it, `closed` ends it; then it can be opened again."""

    def __init__(
        self, venue: Venue, opening: StreamRequest, sink: Sink, *, terms: ConnectionTimeouts, observed: FeedMetrics,
        random: Random, now_s: float, notes: Notes | None = None,
    ) -> None:  # fmt: skip
        self.opening = opening
        self.tracker: Tracker = venue.tracker(opening.subscriptions)
        self.symbols = tuple(
            each.instrument.symbol for each in opening.subscriptions if Channel.DEPTH in each.channels
        )
        self.open = self._closing = False
        self._manners: RateRules = venue.manners
        self._sink, self._terms, self._observed, self._random, self._notes = (
            sink,
            terms,
            observed,
            random,
            notes,
        )
        self.watch = BookWatch(self.symbols, now_s, still_s=terms.still_s, unsynced_s=terms.unsynced_s)
        traded = [each.instrument.symbol for each in opening.subscriptions if Channel.TRADES in each.channels]
        self._trades = TradeWatch(traded, now_s, still_s=terms.still_s)
        self._ponged_s = now_s
        self._impatient: dict[str, Backoff] = {}  # books that were asked for since they last changed
        self._asked: set[str] = set()
        self._sink_failed = False
        stages = observed.stages
        self._arrival, self._book, self._decision = (stages[each].observe for each in STAGES[:3])
        self._slow_ns = round(terms.slow_sink_s * 1e9)
        self.opened_s = self._heard_s = self._renew_s = now_s
        self.ping = Heartbeat(terms.ping_s, terms.pong_s, now_s)
        self._text_ping = Heartbeat(None, None, now_s)

    def opened(self, now_s: float) -> tuple[str, ...]:
        """The connection is there; the texts to send."""
        lifetime = self._manners.lifetime_s
        self.open, self._closing = True, False
        self.opened_s = self._heard_s = now_s
        # Some minutes apart, so that connections that were opened together are not renewed together.
        share = self._terms.renew_share * self._random.uniform(0.9, 1.0)
        self._renew_s = float("inf") if lifetime is None else now_s + share * lifetime
        self.ping = Heartbeat(self._terms.ping_s, self._terms.pong_s, now_s)
        self._text_ping = Heartbeat(self._manners.ping_every_s, None, now_s)
        self.watch.begun(now_s)
        self._trades.begun(now_s)
        return self.opening.texts

    def received(self, raw: bytes, now_ns: int, now_s: float) -> None:
        """A message."""
        observed = self._observed
        observed.messages += 1
        observed.bytes += len(raw)
        self._heard_s = now_s
        if self._notes is not None:
            self._notes.message(now_ns, raw)
        begun = time.perf_counter_ns()
        events = self.tracker.receive(raw, now_ns // 1000)
        done = time.perf_counter_ns()
        self._book(done - begun)
        if events:
            self._pass_on(events, now_s, done)
        else:
            self.watch.heard(now_s)

    def answered(self, instrument: Instrument, body: bytes, now_ns: int, now_s: float) -> None:
        """The answer to a request of `requests`."""
        self._asked.discard(instrument.symbol)
        if self._notes is not None:
            self._notes.answer(now_ns, instrument.symbol, body)
        events = self.tracker.snapshot(instrument, body, now_ns // 1000)
        self._pass_on(events, now_s, time.perf_counter_ns())

    def closed(self, now_ns: int, now_s: float) -> None:
        """The connection is gone."""
        self.open = False
        self._asked.clear()
        if self._notes is not None:
            self._notes.disconnected(now_ns)
        self._pass_on(self.tracker.disconnected(now_ns // 1000), now_s, time.perf_counter_ns())

    def wants(self) -> tuple[Sequence[str], Sequence[tuple[float, Instrument, RestRequest]]]:
        """Texts to send, and requests to make with the delay before each.

        A book is asked for once at a time, and later each time that the answer was of no use.
        """
        wants = self.tracker.wants()
        if not wants:
            return _NOTHING
        texts: list[str] = []
        requests: list[tuple[float, Instrument, RestRequest]] = []
        for want in wants:
            texts += want.texts
            symbol = want.instrument.symbol
            if want.request is None or symbol in self._asked:
                continue
            self._asked.add(symbol)
            again = self._impatient.get(symbol)
            if again is None:
                self._impatient[symbol] = Backoff(self._random, first_s=0.2, most_s=10.0)
            requests.append((0.0 if again is None else again.failed(), want.instrument, want.request))
        return texts, requests

    def ponged(self, now_s: float) -> None:
        """A ping was answered."""
        self.ping.answered()
        self._ponged_s = now_s

    def text_due(self, now_s: float) -> str | None:
        """The venue's own ping, if it is time for one."""
        return self._manners.ping_text if self._text_ping.due(now_s) else None

    def over(self, now_s: float) -> str | None:
        """Why the connection is to be given up now: `silence`, `still`, or `renewal`; None: it is not."""
        if now_s - self._heard_s > self._manners.silence_s or self.ping.unanswered(now_s):
            self._observed.silences += 1
            return "silence"
        alive_s = max(self._heard_s, self._ponged_s)
        for watch in (self.watch, self._trades):
            watch.heard(alive_s)
            still = watch.still(now_s)
            if still:
                self._observed.stale_books += len(still)
                watch.remedied(still)
                return "still"
        if self.tracker.closing and not self._closing:
            self._closing = True
            # Some seconds apart: others were told at the same instant, and each loses its books for a moment.
            self._renew_s = min(self._renew_s, now_s + self._random.uniform(0.1, 1.0) * self._terms.leave_s)
        if now_s >= self._renew_s:
            self._observed.renewals += 1
            return "renewal"
        return None

    def missing(self, now_s: float) -> str:
        """What is not as it should be, in words; empty: nothing."""
        if not self.open:
            return f"{self.opening.path.partition('?')[0]} is not connected"
        out = [
            each.instrument.symbol
            for each in self.opening.subscriptions
            if Channel.DEPTH in each.channels and not self.tracker.in_sync(each.instrument)
        ]
        if out:
            return f"not in sync: {_listed(out)}"
        quiet = self.watch.quiet(now_s, self._terms.quiet_s)
        return f"stands still: {_listed(quiet)}" if quiet else ""

    def _pass_on(self, events: Sequence[Event], now_s: float, begun: int) -> None:
        if not events or self._sink_failed:
            return
        watch, observed = self.watch, self._observed
        watch.heard(now_s)
        for event in events:
            kind = type(event)
            if kind is BookChange:
                watch.moved(event.instrument.symbol, now_s)
                if self._impatient:
                    self._impatient.pop(event.instrument.symbol, None)
            elif kind is Trade:
                self._trades.moved(event.instrument.symbol, now_s)
            elif kind is BookLost:
                watch.lost(event.instrument.symbol, now_s)
        observed.events += len(events)
        last = events[-1]
        exchange_us = getattr(last, "exchange_us", 0)  # a loss has none
        if exchange_us:
            received_us = last.received_us
            offset = observed.offset
            offset.observe(received_us, exchange_us)
            self._arrival(1000 * (received_us - exchange_us - offset.offset_us()))
        try:
            self._sink(events)
        except BaseException:
            self._sink_failed = True
            raise
        took = time.perf_counter_ns() - begun
        self._decision(took)
        if took > self._slow_ns:
            observed.slow_sinks += 1


def _listed(symbols: Sequence[str]) -> str:
    return f"{', '.join(symbols[:5])}{' …' if len(symbols) > 5 else ''}"
