"""Benchmarks: one module each, `measure()` gives its figures; `python -m experiments.benchmarks` runs them."""
