"""What a feed says of itself: latencies by stage, counts, staleness, health, and the page that Prometheus reads."""
