"""Benchmarks: one module each, `measure()` gives its figures; `python -m benchmarks` runs them."""
