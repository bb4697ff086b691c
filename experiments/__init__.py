"""Experiments: what compares, sweeps and measures; `benchmarks` is what `make bench` runs."""
