"""Experiments: comparisons of arms, sweeps, Monte Carlo, selection; each run with a manifest."""
