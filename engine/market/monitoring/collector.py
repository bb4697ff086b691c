"""The feeds' part of the page that Prometheus reads: exact numbers, from the snapshots of those who own them.

Each feed has a state from the first second on; what else there is to say comes once it lives.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from raysignal.engine.market.monitoring.health import FeedState

_BOUNDS_S = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1, 2.5, 5,
             10)  # fmt: skip
BOUNDS_NS = tuple(round(bound * 1e9) for bound in _BOUNDS_S)

_COUNTERS = {
    "messages": "Messages received",
    "bytes": "Bytes of messages received",
    "events": "Events handed on",
    "connects": "Connections that opened",
    "reconnects": "Connections that opened again",
    "renewals": "Connections that were opened anew before the venue would have ended them",
    "connect_errors": "Connections that did not open",
    "rest_requests": "REST requests sent",
    "rest_errors": "REST requests that failed",
    "rest_limited": "REST requests that the venue refused for its limits",
    "stale_books": "Times that a book, or trades, stood still while their connection lived",
    "silences": "Times that a connection said nothing for too long",
    "slow_sinks": "Times that what follows the feed held up its reading",
    "loop_lags": "Times that the event loop was late",
    "unrecorded": "Messages that a recording lacks",
}
_BOOKS = {
    "gaps": "Gaps in the changes of a book",
    "resyncs": "Books that became whole again",
    "crossed": "Books found crossed",
    "malformed": "Messages that could not be read",
    "stale": "Changes passed over because the book had them",
    "stale_snapshots": "Snapshots older than the changes kept",
    "unknown": "Messages about nothing that was subscribed to, or of a kind that is not known",
    "refused": "Refusals of the venue",
    "refreshes": "Snapshots asked for anew because the price came to the edge of what the last one showed",
    "agreed": "Best prices of the venue's own that are those of the book after the same update",
    "differed": "Best prices of the venue's own that are not those of the book after the same update",
    "closes": "Times that the venue announced that it will end the connection",
}
_GAUGES = {
    "books": "Books followed",
    "books_in_sync": "Books that are whole",
    "connections": "Connections that are open",
    "staleness_s": "Seconds since the last change of the book that has been still for longest",
}


class FeedCollector(Collector):
    """The families, for a page that holds more than feeds."""

    def __init__(self, feeds: Sequence[Mapping[str, Any]]) -> None:
        self._feeds = feeds

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        if not self._feeds:
            return
        for part, texts in (("counts", _COUNTERS), ("books", _BOOKS)):
            for name, text in texts.items():
                family = CounterMetricFamily(f"raysignal_feed_{name}", text, labels=["feed"])
                for feed in self._feeds:
                    if part in feed:
                        family.add_metric([feed["name"]], feed[part][name])
                yield family
        for name, text in _GAUGES.items():
            gauge = GaugeMetricFamily(f"raysignal_feed_{name}", text, labels=["feed"])
            for feed in self._feeds:
                if feed.get("state", {}).get(name) is not None:
                    gauge.add_metric([feed["name"]], feed["state"][name])
            yield gauge
        yield self._left_out()
        yield from self._own()

    def _left_out(self) -> Metric:
        family = CounterMetricFamily(
            "raysignal_feed_prices_left_out",
            "Prices that no bar is made of: of the future, of bars that have ended, seen before",
            labels=["feed", "reason"],
        )
        for feed in self._feeds:
            symbols = feed.get("station", {}).get("symbols", {}).values()
            for reason in ("ahead", "late", "repeated") if symbols else ():
                family.add_metric([feed["name"], reason], sum(symbol[reason] for symbol in symbols))
        return family

    def _own(self) -> Iterator[Metric]:
        state = GaugeMetricFamily(
            "raysignal_feed_state", "1 for the state that the feed is in", labels=["feed", "state"]
        )
        offset = GaugeMetricFamily(
            "raysignal_feed_clock_offset_seconds",
            "Estimate: this clock minus the venue's, and with the fastest message's way where it was not asked",
            labels=["feed", "basis"],
        )
        uncertainty = GaugeMetricFamily(
            "raysignal_feed_clock_uncertainty_seconds",
            "At most so far is the clock's offset off: half the time that the venue's answer took",
            labels=["feed"],
        )
        latency = HistogramMetricFamily(
            "raysignal_feed_latency_seconds",
            "Time by stage; arrival is above the fastest message",
            labels=["feed", "stage"],
        )
        cpu = CounterMetricFamily("raysignal_feed_cpu_seconds", "CPU time of the process", labels=["feed"])
        memory = GaugeMetricFamily("raysignal_feed_memory_bytes", "Resident memory", labels=["feed"])
        lives = CounterMetricFamily(
            "raysignal_feed_lives", "Times that it was begun, over restarts of its process", labels=["feed"]
        )
        for feed in self._feeds:
            name = feed["name"]
            for each in FeedState:
                state.add_metric([name, each], float(feed["health"]["state"] == each))
            if "lives" in feed:
                lives.add_metric([name], feed["lives"])
            if "clock" not in feed:
                continue  # it does not live just now, and has a state all the same
            if feed["clock"]["offset_us"] is not None:
                offset.add_metric([name, feed["clock"]["basis"]], feed["clock"]["offset_us"] / 1e6)
            if feed["clock"]["uncertainty_us"] is not None:
                uncertainty.add_metric([name], feed["clock"]["uncertainty_us"] / 1e6)
            for stage, found in feed["latency"].items():
                buckets = [
                    (f"{bound:g}", count) for bound, count in zip(_BOUNDS_S, found["buckets"], strict=True)
                ]
                latency.add_metric([name, stage], [*buckets, ("+Inf", found["count"])], found["total_s"])
            if feed["process"] is not None:
                cpu.add_metric([name], feed["process"]["cpu_s"])
                memory.add_metric([name], feed["process"]["memory_bytes"])
        yield from (state, lives, offset, uncertainty, latency, cpu, memory)
