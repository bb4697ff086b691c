from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from raysignal.engine.portfolio.mailbox import COMMIT_BUCKETS_S, Counts
from raysignal.serve.metrics import metrics_page


def shard(**changed: Any) -> dict[str, Any]:
    """What a mailbox observes of itself."""
    counts = Counts()
    plain = {name: getattr(counts, name) for name in Counts.__dataclass_fields__}
    depths = {"queue_depth": 0, "rows_kept": 0, "durable_sequence": 0, "epoch": 1, "stream": {}}
    return plain | depths | changed


def samples(page: bytes) -> dict[tuple[str, str], float]:
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_counts_of_all_shards_are_summed() -> None:
    page = samples(metrics_page([shard(received=3, executed=1), shard(received=4)], COMMIT_BUCKETS_S))
    assert page["raysignal_signals_received_total", ""] == 7
    assert page["raysignal_signals_executed_total", ""] == 1


def test_refusals_are_counted_by_their_reason() -> None:
    shards = [shard(refused={"LateSignal": 2}), shard(refused={"LateSignal": 1, "PriceJump": 5})]
    page = samples(metrics_page(shards, COMMIT_BUCKETS_S))
    assert page["raysignal_signals_refused_total", "LateSignal"] == 3
    assert page["raysignal_signals_refused_total", "PriceJump"] == 5


def test_failures_of_the_store_are_counted_by_their_reason() -> None:
    shards = [shard(store_failures={"ENOSPC": 2}), shard(store_failures={"ENOSPC": 1, "Fenced": 1})]
    page = samples(metrics_page(shards, COMMIT_BUCKETS_S))
    assert page["raysignal_store_failures_total", "ENOSPC"] == 3
    assert page["raysignal_store_failures_total", "Fenced"] == 1


def test_commit_latency_is_a_cumulative_histogram() -> None:
    counts = Counts()
    for seconds in (0.0004, 0.0004, 0.03, 9.0):
        counts.time_commit(seconds, 1)
    observed = shard(commit_buckets=counts.commit_buckets, commit_s=counts.commit_s)
    page = samples(metrics_page([observed, observed], COMMIT_BUCKETS_S))
    assert page["raysignal_commit_seconds_bucket", "0.0005"] == 4
    assert page["raysignal_commit_seconds_bucket", "0.05"] == 6
    assert page["raysignal_commit_seconds_bucket", "2.5"] == 6
    assert page["raysignal_commit_seconds_bucket", "+Inf"] == 8
    assert page["raysignal_commit_seconds_count", ""] == 8
    assert abs(page["raysignal_commit_seconds_sum", ""] - 2 * counts.commit_s) < 1e-12


def test_figures_of_portfolios_are_shown_by_name() -> None:
    figures = {"equity": 10_500.0, "total_return": 0.05, "drawdown": 0.01, "fees": 3.5, "closed_trades": 7}
    shown = [{"portfolio": name, "performance": figures} for name in ("baseline", "trends")]
    page = samples(metrics_page([shard()], COMMIT_BUCKETS_S, portfolios=shown))
    assert page["raysignal_portfolio_equity", "trends"] == 10_500.0
    assert page["raysignal_portfolio_return", "baseline"] == 0.05
    assert page["raysignal_portfolio_closed_trades", "trends"] == 7


def test_depths_are_shown_by_shard() -> None:
    page = samples(metrics_page([shard(queue_depth=3), shard(queue_depth=5)], COMMIT_BUCKETS_S))
    assert page["raysignal_queue_depth", "0"] == 3
    assert page["raysignal_queue_depth", "1"] == 5


def test_the_page_for_prometheus_leaves_out_what_the_agent_does_not_know() -> None:
    status: dict[str, Any] = {
        "decisions": {"evidence_for": 2}, "behind": None, "settled": 1, "breaker": None, "chroma": {"behind": 0},
    }  # fmt: skip
    page = metrics_page([shard()], COMMIT_BUCKETS_S, status).decode()
    assert 'raysignal_agent_decisions_total{reason="evidence_for"} 2.0' in page
    assert "raysignal_agent_behind " not in page
    assert "raysignal_agent_breaker_open" not in page
    assert "raysignal_agent" not in metrics_page([shard()], COMMIT_BUCKETS_S).decode()


def test_clients_of_the_broadcast_are_counted_over_all_shards() -> None:
    counts = {"connected": 9, "clients": 4, "slow_seconds": 2, "slow_bytes": 1, "sent": 70}
    page = samples(metrics_page([shard(stream=counts), shard()], COMMIT_BUCKETS_S))
    assert page["raysignal_stream_clients_total", ""] == 9
    assert page["raysignal_stream_connected", ""] == 4
    assert page["raysignal_stream_slow_clients_total", "seconds"] == 2
    assert page["raysignal_stream_slow_clients_total", "bytes"] == 1
    assert page["raysignal_stream_messages_total", ""] == 70
