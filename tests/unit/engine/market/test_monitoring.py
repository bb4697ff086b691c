"""Latencies, the clock's offset, and the page, against the plain way to say the same."""

from random import Random

import pytest
from prometheus_client.parser import text_string_to_metric_families

from raysignal.engine.market.clocks import FastClock
from raysignal.engine.market.monitoring.collector import BOUNDS_NS
from raysignal.engine.market.monitoring.feed_metrics import STAGES, FeedMetrics
from raysignal.engine.market.monitoring.histogram import Histogram, upper_bound_ns
from raysignal.engine.market.monitoring.offset import ClockOffset, Offset, VenueClock
from raysignal.engine.market.monitoring.process import ProcessWatch
from raysignal.engine.market.venues.tracker import COUNTS
from tests.support.feed_pages import feed_page


def filled(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    return histogram


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.99, 1.0])
def test_a_percentile_is_right_to_an_eighth(share: float) -> None:
    random = Random(2)
    values = sorted(int(random.lognormvariate(9, 4)) for _ in range(5_000))
    true = values[max(0, -int(-share * len(values) // 1) - 1)]
    found = filled(values).percentile_ns(share)
    assert found is not None
    assert true <= found <= max(true + 1, true * 1.125)


def test_every_value_falls_into_the_bucket_that_bounds_it() -> None:
    for value in [*range(300), *(2**k + d for k in range(8, 55) for d in (-1, 0, 1))]:
        histogram = filled([value])
        index = histogram._buckets.index(1)
        assert upper_bound_ns(index) >= value
        assert index == 0 or upper_bound_ns(index - 1) < value


def test_counts_below_a_bound_are_whole_buckets_and_never_too_many() -> None:
    random = Random(3)
    values = [int(random.lognormvariate(12, 3)) for _ in range(3_000)]
    counts = filled(values).counts_below(BOUNDS_NS)
    for bound, count in zip(BOUNDS_NS, counts, strict=True):
        assert (
            sum(value <= bound * 0.875 for value in values)
            <= count
            <= sum(value <= bound for value in values)
        )


def test_a_duration_below_zero_is_counted_as_what_it_is() -> None:
    histogram = filled([-5, 10])
    assert histogram.summary() == {
        "count": 2, "p50_us": 0.0, "p99_us": 0.01, "most_us": 0.01, "below_zero": 1,
    }  # fmt: skip
    assert Histogram().percentile_ns(0.5) is None


def test_the_offset_is_the_smallest_difference_of_the_window_and_follows_a_clock_that_drifts() -> None:
    offset, random = ClockOffset(60_000_000), Random(4)
    for second in range(600):
        drift = -1_270_000 + 100 * second
        offset.observe(second * 1_000_000 + drift + 20_000 + random.randrange(30_000), second * 1_000_000)
        found = offset.estimate(second * 1_000_000 + drift)
        assert found is not None
        assert found.basis == "fastest message"
        assert found.uncertainty_us is None
        # At most a window's drift below the fastest way here, at most the jitter above it.
        assert drift + 20_000 - 7_000 <= found.offset_us <= drift + 50_000
    assert offset.offset_us() == found.offset_us


def test_a_question_bounds_the_offset_and_the_tightest_answer_counts() -> None:
    offset = ClockOffset()
    offset.observe(5_000_500, 5_000_000)
    offset.asked(1_000_000, 2_050_000, 1_100_000)  # this clock is a second behind
    offset.asked(3_000_000, 4_004_000, 3_010_000)
    found = offset.estimate(3_010_000)
    assert found is not None
    assert (found.offset_us, found.uncertainty_us, found.basis) == (-999_000, 5_000, "server time")
    later = offset.estimate(3_010_000 + 601_000_000)
    assert later is not None
    assert later.basis == "fastest message"


def asked(offset: ClockOffset, ahead_us: int, at_us: int = 10**12, takes_us: int = 20_000) -> None:
    """A question to the venue whose clock this machine's is ahead of by so much."""
    offset.asked(at_us, at_us + takes_us // 2 - ahead_us, at_us + takes_us)


@pytest.mark.parametrize("ahead_us", [-61_000_000, 600_000_000, -3_600_000_000])
def test_a_clock_that_is_wrong_is_set_right_by_the_venues(ahead_us: int) -> None:
    offset = ClockOffset()
    clock = VenueClock(FastClock(10**12, 1.0), offset)
    asked(offset, ahead_us)
    assert offset.correction_us == ahead_us
    assert abs(clock.now_ns() // 1000 - (10**12 - ahead_us)) < 10_000_000
    found = offset.estimate(10**12)
    assert found is not None
    assert (found.offset_us, found.basis) == (ahead_us, "server time")
    asked(offset, 0)  # somebody has set it
    assert offset.correction_us == 0
    assert offset.estimate(10**12 + 60_000_000) == Offset(0, 10_000, "server time")


def test_a_clock_that_is_as_right_as_an_answer_can_tell_is_left_alone() -> None:
    offset = ClockOffset()
    asked(offset, 900_000)
    asked(offset, 3_000_000, takes_us=5_000_000)  # to within 2.5 s
    assert offset.correction_us == 0


def test_what_was_observed_by_a_wrong_clock_is_forgotten_when_it_is_set_right() -> None:
    offset = ClockOffset()
    offset.observe(10**12 - 61_000_000, 10**12 - 30_000)
    asked(offset, -61_000_000)
    assert offset.offset_us() == 0
    offset.observe(10**12 + 30_000, 10**12)
    assert offset.offset_us() == 30_000
    later = offset.estimate(2 * 10**12)
    assert later == Offset(30_000 - 61_000_000, None, "fastest message")


def test_before_anything_was_observed_there_is_no_estimate() -> None:
    assert ClockOffset().estimate(0) is None


def test_the_process_shows_its_cpu_and_memory() -> None:
    figures = ProcessWatch().read()
    assert figures.cpu_s > 0
    assert figures.memory_bytes > 10_000_000
    assert figures.threads >= 1


def snapshot(name: str, observed: FeedMetrics) -> dict[str, object]:
    return {
        "name": name,
        "health": {"state": "stale"},
        "state": {"books": 2, "books_in_sync": 1, "connections": 1, "staleness_s": 12.5},
        "counts": observed.counts(),
        "books": dict.fromkeys(COUNTS, 3),
        "clock": {"offset_us": -1_270_000, "uncertainty_us": None, "basis": "fastest message"},
        "latency": {
            stage: {
                **each.summary(), "total_s": each.total_ns / 1e9, "buckets": each.counts_below(BOUNDS_NS),
            }
            for stage, each in observed.stages.items()
        },
        "process": {"cpu_s": 1.5, "memory_bytes": 1000},
    }  # fmt: skip


def test_the_page_says_the_exact_numbers_of_every_feed() -> None:
    observed = FeedMetrics(messages=7, bytes=900)
    observed.stages["book"].observe(3_000)
    page = feed_page([snapshot("okx", observed), snapshot("bybit", FeedMetrics())])
    samples = {
        (each.name, each.labels.get("feed"), each.labels.get("state") or each.labels.get("stage")): each.value
        for family in text_string_to_metric_families(page.decode())
        for each in family.samples
        if "le" not in each.labels
    }
    assert samples["raysignal_feed_messages_total", "okx", None] == 7
    assert samples["raysignal_feed_messages_total", "bybit", None] == 0
    assert samples["raysignal_feed_gaps_total", "bybit", None] == 3
    assert samples["raysignal_feed_state", "okx", "stale"] == 1
    assert samples["raysignal_feed_state", "okx", "ready"] == 0
    assert samples["raysignal_feed_staleness_s", "okx", None] == 12.5
    assert samples["raysignal_feed_clock_offset_seconds", "okx", None] == -1.27
    for stage in STAGES:
        assert samples["raysignal_feed_latency_seconds_count", "okx", stage] == (stage == "book")


def test_the_page_of_no_feed_is_empty() -> None:
    assert feed_page([]) == b""
