"""What is counted and timed of one feed; plain numbers, owned by the one who runs the feed."""

from dataclasses import dataclass, field

from raysignal.engine.market.monitoring.histogram import Histogram
from raysignal.engine.market.monitoring.offset import ClockOffset

STAGES = ("arrival", "book", "decision", "order")
"""exchange's stamp to receipt; reading and book; what the sink does with it; from decision to order."""


@dataclass(slots=True)
class FeedMetrics:
    """See the module.

    Attributes:
        messages, bytes: received on all connections.
        events: handed to the sink.
        connects: connections that opened; `reconnects` counts those after the first of each.
        renewals: reconnects that were planned, before the venue would have ended the connection.
        connect_errors: connections that did not open.
        rest_requests, rest_errors, rest_limited: requests sent; those that failed; those refused by 429 or 418.
        stale_books: times that a book, or trades, stood still while their connection lived.
        silences: times that a connection said nothing for too long.
        slow_sinks: times that the sink took longer than the bound: while it works, nothing is read.
        loop_lags: times that the event loop was late by more than the bound; `worst_lag_s` the most.
        unrecorded: messages that a recording lacks because the disk could not follow.
        offset: the clock's; `time_refused` says why the venue's time is not known, empty if it is.
        stages: histograms, by `STAGES`.
    """

    messages: int = 0
    bytes: int = 0
    events: int = 0
    connects: int = 0
    reconnects: int = 0
    renewals: int = 0
    connect_errors: int = 0
    rest_requests: int = 0
    rest_errors: int = 0
    rest_limited: int = 0
    stale_books: int = 0
    silences: int = 0
    slow_sinks: int = 0
    loop_lags: int = 0
    worst_lag_s: float = 0.0
    unrecorded: int = 0
    time_refused: str = ""
    offset: ClockOffset = field(default_factory=ClockOffset)
    stages: dict[str, Histogram] = field(default_factory=lambda: {stage: Histogram() for stage in STAGES})

    def counts(self) -> dict[str, int]:
        """Every whole number by its name."""
        return {
            name: value
            for name in self.__slots__
            if isinstance(value := getattr(self, name), int) and not isinstance(value, bool)
        }
