"""The page that Prometheus reads: exact counts, because each comes from the one actor that owns it.

A page made of counters in the replicas would show whichever replica answered. These numbers are those of
`Mailbox.observe`, summed over the shards; they begin at zero when an actor restarts, as Prometheus expects of
counters.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from raysignal.engine.market.monitoring.collector import FeedCollector

CONTENT_TYPE = CONTENT_TYPE_LATEST

_COUNTERS = (
    ("received", "raysignal_signals_received", "Signals that reached a portfolio actor"),
    ("accepted", "raysignal_signals_accepted", "Signals processed for the first time"),
    ("executed", "raysignal_signals_executed", "Signals that changed a position"),
    ("replayed", "raysignal_signals_replayed", "Signals sent again, answered with their first receipt"),
    ("records", "raysignal_journal_records", "Journal records made durable"),
    ("checkpoints", "raysignal_checkpoints", "Checkpoints written: history, identities and snapshot"),
)
_BY_REASON = (
    ("refused", "raysignal_signals_refused", "Signals refused, by the name of their error"),
    (
        "refusals",
        "raysignal_refusals",
        "Signals refused at the entrances of the service, by the name of their error",
    ),
    (
        "store_failures",
        "raysignal_store_failures",
        "Commits, checkpoints and openings of a journal that failed, by the disk's error (ENOSPC: it is full)",
    ),
)
_STREAM = (
    ("connected", "raysignal_stream_clients", "Clients of the broadcast that came"),
    ("sent", "raysignal_stream_messages", "Messages that were handed to clients of the broadcast"),
    ("resumed", "raysignal_stream_resumed", "Clients of the broadcast that went on where they were"),
    ("too_old", "raysignal_stream_too_old", "Clients of the broadcast that missed what was removed"),
    ("other_epoch", "raysignal_stream_other_epoch", "Clients of the broadcast that came from another store"),
)
_SLOW = (("slow_seconds", "seconds"), ("slow_bytes", "bytes"))
_GAUGES = (
    ("queue_depth", "raysignal_queue_depth", "Calls that wait for their record to become durable"),
    (
        "rows_kept",
        "raysignal_history_pending_rows",
        "Processed signals that are not in the Parquet history yet",
    ),
    ("durable_sequence", "raysignal_journal_sequence", "The last durable journal record"),
    ("epoch", "raysignal_journal_epoch", "The epoch of the journal's writer; rises when an actor takes over"),
)
_FIGURES = (
    ("equity", "raysignal_portfolio_equity", "Cash and positions at their last prices"),
    ("total_return", "raysignal_portfolio_return", "Return since the portfolio began, a share"),
    ("drawdown", "raysignal_portfolio_drawdown", "Loss since the highest equity, a share"),
    ("fees", "raysignal_portfolio_fees", "Fees paid so far"),
    ("closed_trades", "raysignal_portfolio_closed_trades", "Positions closed so far"),
)


def metrics_page(
    shards: Sequence[Mapping[str, Any]],
    bounds_s: Sequence[float],
    agent: Mapping[str, Any] | None = None,
    feeds: Sequence[Mapping[str, Any]] = (),
    portfolios: Sequence[Mapping[str, Any]] = (),
) -> bytes:
    """The page in Prometheus' text format.

    Args:
        shards: what each shard's mailbox observes of itself, in the order of the shards.
        bounds_s: upper bounds of the commit latency buckets; the observed buckets have one more, above all.
        agent: what the agent says of itself; None: there is none, or it does not answer.
        feeds: what each live feed says of itself, see `engine.market.feed.Feed.snapshot`.
        portfolios: the bodies of `GET /performance/{portfolio}`, those of pipelines among them.
    """
    registry = CollectorRegistry()
    registry.register(_Observed(shards, bounds_s))
    if agent is not None:
        registry.register(_Agent(agent))
    if feeds:
        registry.register(FeedCollector(feeds))
    registry.register(_Portfolios(portfolios))
    page: bytes = generate_latest(registry)
    return page


class _Observed(Collector):
    def __init__(self, shards: Sequence[Mapping[str, Any]], bounds_s: Sequence[float]) -> None:
        self._shards = shards
        self._bounds_s = bounds_s

    def collect(self) -> Iterator[Metric]:
        for key, name, text in _COUNTERS:
            yield CounterMetricFamily(name, text, value=sum(shard[key] for shard in self._shards))
        for key, name, text in _BY_REASON:
            family = CounterMetricFamily(name, text, labels=["reason"])
            totals: Counter[str] = Counter()
            for shard in self._shards:
                totals.update(shard[key])
            for reason, count in sorted(totals.items()):
                family.add_metric([reason], count)
            yield family
        yield from self._stream()
        yield self._commits()
        for key, name, text in _GAUGES:
            gauge = GaugeMetricFamily(name, text, labels=["shard"])
            for index, shard in enumerate(self._shards):
                gauge.add_metric([str(index)], shard[key])
            yield gauge

    def _stream(self) -> Iterator[Metric]:
        counts: Counter[str] = Counter()
        for shard in self._shards:
            counts.update(shard["stream"])
        for key, name, text in _STREAM:
            yield CounterMetricFamily(name, text, value=counts[key])
        slow = CounterMetricFamily(
            "raysignal_stream_slow_clients", "Clients of the broadcast closed as too slow, by the bound they met",
            labels=["bound"],
        )  # fmt: skip
        for key, bound in _SLOW:
            slow.add_metric([bound], counts[key])
        yield slow
        yield GaugeMetricFamily(
            "raysignal_stream_connected", "Clients of the broadcast", value=counts["clients"]
        )

    def _commits(self) -> Metric:
        counts = [
            sum(column) for column in zip(*(shard["commit_buckets"] for shard in self._shards), strict=True)
        ]
        bounds = [*(f"{bound:g}" for bound in self._bounds_s), "+Inf"]
        family = HistogramMetricFamily("raysignal_commit_seconds", "Time a commit took to become durable")
        family.add_metric(
            [],
            list(zip(bounds, accumulate(counts), strict=True)),
            sum(shard["commit_s"] for shard in self._shards),
        )
        return family


class _Portfolios(Collector):
    def __init__(self, portfolios: Sequence[Mapping[str, Any]]) -> None:
        self._portfolios = portfolios

    def collect(self) -> Iterator[Metric]:
        for figure, name, text in _FIGURES:
            gauge = GaugeMetricFamily(name, text, labels=["portfolio"])
            for standing in self._portfolios:
                gauge.add_metric([standing["portfolio"]], standing["performance"][figure])
            yield gauge


class _Agent(Collector):
    def __init__(self, status: Mapping[str, Any]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        status = self._status
        decisions = CounterMetricFamily(
            "raysignal_agent_decisions", "Decisions of the agent since it began, by reason", labels=["reason"]
        )
        for reason, count in sorted(status["decisions"].items()):
            decisions.add_metric([reason], count)
        yield decisions
        gauges = (
            ("raysignal_agent_behind", "Signals that the agent has not decided yet", status["behind"]),
            ("raysignal_agent_settled", "Outcomes that the memory holds", status["settled"]),
            (
                "raysignal_agent_breaker_open", "1 when the breaker is open and every signal stands",
                None if status["breaker"] is None else float(status["breaker"]["open"]),
            ),
            ("raysignal_agent_chroma_behind", "Outcomes that Chroma does not hold", status["chroma"]["behind"]),
        )  # fmt: skip
        for name, text, value in gauges:
            if value is not None:
                yield GaugeMetricFamily(name, text, value=value)
