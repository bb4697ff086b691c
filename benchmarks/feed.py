"""Raw bytes to an updated book to a decision, beside cryptofeed and ccxt.pro on the very same messages.

    python -m benchmarks.feed [--recording PATH]

The input is a recording of Binance USD-M (also by RAYSIGNAL_BENCH_RECORDING), else a generated stream of its shape.
Everybody reads every message, keeps the whole book and makes events of trades and best prices; at the end the best
prices must agree. Only raysignal's figure includes a decision: bars of one second from mid prices and the crossover
of their means. Throughput is the best of several runs; the time a message is measured in a run of its own.
"""

import argparse
import gc
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import quantiles

import msgspec
import orjson

from benchmarks.feed_input import SYMBOL, FeedMessages, generated, recorded
from benchmarks.feed_peers import Best, Ccxt, Cryptofeed
from benchmarks.figures import Figure
from raysignal.engine.core.market_events import BookChange, Instrument
from raysignal.engine.market.bars import BarBuilder, Basis
from raysignal.engine.market.crossover import Crossover
from raysignal.engine.market.venues.binance import USDM
from raysignal.engine.market.venues.protocol import Subscription, Tracker

RECORDING = "RAYSIGNAL_BENCH_RECORDING"
INSTRUMENT = Instrument(USDM.name, SYMBOL, 2, 3)
SECOND_US = 1_000_000
RUNS = 5
MANY = 200
MANY_SECONDS = 3.0


def measure(path: str | None = None) -> list[Figure]:
    """The figures: name, value, unit, and the target where there is one."""
    path = path or os.environ.get(RECORDING)
    stream = recorded(Path(path)) if path else generated()
    messages = stream.messages
    count = len(messages)
    print(f"{stream.source}: {count} messages in {stream.seconds:.0f} s", file=sys.stderr)

    book_s = min(_timed(lambda own: own.books(messages), stream) for _ in range(RUNS))
    decision_s = min(_timed(lambda own: own.decisions(messages), stream) for _ in range(RUNS))
    own = Own(stream)
    middle, high = _percentiles(own.timed(messages))
    parsers = {
        "orjson": _fastest(lambda: deque((orjson.loads(raw) for _, raw in messages), 0)),
        "msgspec": _fastest(lambda: deque((msgspec.json.decode(raw) for _, raw in messages), 0)),
    }
    results = [
        _figure("messages/s, bytes to book", count / book_s, "1/s"),
        _figure("messages/s, bytes to book to decision", count / decision_s, "1/s"),
        _figure("a message, bytes to book to decision, p50", 1e6 * middle, "µs"),
        _figure("a message, bytes to book to decision, p99", 1e6 * high, "µs"),
        *(_figure(f"{name} alone, decoding the same bytes", count / s, "1/s") for name, s in parsers.items()),
        _figure("bytes to book: its time over that of orjson's decoding alone", book_s / parsers["orjson"], "x"),
        _figure(
            f"{MANY} symbols on one tracker, each at {count / stream.seconds:.0f} messages/s: CPU of a core",
            100 * many(stream), "%",
        ),
    ]  # fmt: skip
    texts = [raw.decode() for _, raw in messages]
    for make, target in ((Cryptofeed, 2.5), (Ccxt, 10.0)):
        try:
            seconds, times = _peer(make, stream, texts, own.best())
        except ImportError:
            print(
                f"{make.name} is not installed, so there is no ratio: `make bench` installs it",
                file=sys.stderr,
            )
            continue
        low, high = _percentiles(times)
        results += [
            _figure(f"{make.name}: messages/s, its own handling of the same", count / seconds, "1/s"),
            _figure(f"{make.name}: a message, p50", 1e6 * low, "µs"),
            _figure(f"{make.name}: a message, p99", 1e6 * high, "µs"),
            _figure(f"ratio to {make.name}, decision included", seconds / decision_s, "x", target),
        ]
    return results


def _figure(what: str, value: float, unit: str, target: float | None = None) -> Figure:
    return Figure("feed", what, value, unit, target)


class Own:
    """A tracker as the feed drives it, in sync, and the decision behind it."""

    def __init__(self, stream: FeedMessages) -> None:
        self.tracker: Tracker = USDM.tracker([Subscription(INSTRUMENT)])
        for received_us, raw in stream.before:
            self.tracker.receive(raw, received_us)
        self.tracker.snapshot(INSTRUMENT, stream.snapshot, stream.messages[0][0])
        self.bars = BarBuilder(INSTRUMENT, SECOND_US, Basis.MIDS)
        self.crossover = Crossover(SECOND_US, 5, 20)
        self.crossings = 0

    def books(self, messages: Sequence[tuple[int, bytes]]) -> None:
        """Bytes to book."""
        receive = self.tracker.receive
        for received_us, raw in messages:
            receive(raw, received_us)

    def decisions(self, messages: Sequence[tuple[int, bytes]]) -> None:
        """Bytes to book to decision."""
        receive, decide = self.tracker.receive, self._decide
        for received_us, raw in messages:
            for event in receive(raw, received_us):
                if type(event) is BookChange:
                    decide(event)

    def _decide(self, event: BookChange) -> None:
        for bar in self.bars.receive(event):
            self.crossings += self.crossover.take(bar) is not None

    def timed(self, messages: Sequence[tuple[int, bytes]]) -> list[float]:
        """How long each message took, to the decision."""
        receive, decide, clock, times = self.tracker.receive, self._decide, time.perf_counter, []
        for received_us, raw in messages:
            begin = clock()
            for event in receive(raw, received_us):
                if type(event) is BookChange:
                    decide(event)
            times.append(clock() - begin)
        counts = self.tracker.counts
        assert self.tracker.in_sync(INSTRUMENT)
        assert counts["gaps"] == counts["malformed"] == counts["unknown"] == 0, counts
        return times

    def best(self) -> Best:
        """Best bid and ask of the book."""
        bid, _, ask, _ = self.tracker.book(INSTRUMENT).best
        return INSTRUMENT.exact_price(bid), INSTRUMENT.exact_price(ask)


def _timed(work: Callable[[Own], None], stream: FeedMessages) -> float:
    own = Own(stream)
    return _seconds(lambda: work(own))


def _peer(
    make: type[Cryptofeed] | type[Ccxt], stream: FeedMessages, texts: Sequence[str], best: Best
) -> tuple[float, list[float]]:
    """Seconds of its best run, and the times of one."""
    seconds = []
    times: list[float] = []
    for clock in (None, None, None, time.perf_counter):
        peer = make(stream)
        peer.run([raw.decode() for _, raw in stream.before])
        gc.collect()
        begin = time.perf_counter()
        times = peer.run(texts, clock)
        if clock is None:
            seconds.append(time.perf_counter() - begin)
        assert peer.best() == best, f"{make.name}: {peer.best()}, here {best}"
        peer.close()
    return min(seconds), times


def _seconds(work: Callable[[], object]) -> float:
    gc.collect()
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _fastest(work: Callable[[], object]) -> float:
    return min(_seconds(work) for _ in range(3))


def _percentiles(times: Sequence[float]) -> tuple[float, float]:
    cuts = quantiles(times, n=100)
    return cuts[49], cuts[98]


def many(stream: FeedMessages) -> float:
    """CPU time over stream time with MANY symbols, each saying what the stream says."""
    instruments = [Instrument(USDM.name, f"S{number:03d}USDT", 2, 3) for number in range(MANY)]
    tracker = USDM.tracker([Subscription(each) for each in instruments])
    bars = {each.symbol: BarBuilder(each, SECOND_US, Basis.MIDS) for each in instruments}
    crossovers = {each.symbol: Crossover(SECOND_US, 5, 20) for each in instruments}
    until = stream.messages[0][0] + int(MANY_SECONDS * 1e6)
    part = [each for each in stream.messages if each[0] <= until]
    said: list[tuple[int, bytes]] = []
    for each in instruments:
        new = each.symbol.encode()
        spoken = [(us, _as(raw, new)) for us, raw in stream.before]
        for us, raw in spoken:
            tracker.receive(raw, us)
        if not spoken:
            tracker.snapshot(each, stream.snapshot, 0)
        else:
            tracker.snapshot(each, stream.snapshot, spoken[-1][0])
        said += [(us, _as(raw, new)) for us, raw in part]
    said.sort(key=lambda message: message[0])
    gc.collect()
    begin = time.process_time()
    for us, raw in said:
        for event in tracker.receive(raw, us):
            if type(event) is BookChange:
                symbol = event.instrument.symbol
                for bar in bars[symbol].receive(event):
                    crossovers[symbol].take(bar)
    used = time.process_time() - begin
    assert all(tracker.in_sync(each) for each in instruments)
    return used / MANY_SECONDS


def _as(raw: bytes, symbol: bytes) -> bytes:
    return raw.replace(SYMBOL.encode(), symbol).replace(SYMBOL.lower().encode(), symbol.lower())


def main() -> None:
    """Print the figures, one a line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.feed", description=__doc__)
    parser.add_argument("--recording", help="a gzip file of `<received_ns> <raw json>` lines")
    for found in measure(parser.parse_args().recording):
        print(f"{found.what:<76} {found.shown:>20} {found.asked}")


if __name__ == "__main__":
    main()
