"""What Prometheus is shown of feeds alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from raysignal.engine.market.monitoring.collector import FeedCollector


def feed_page(feeds: Sequence[Mapping[str, Any]]) -> bytes:
    """Prometheus' text format, of the snapshots of `Feed.snapshot`."""
    registry = CollectorRegistry()
    registry.register(FeedCollector(feeds))
    return generate_latest(registry)
