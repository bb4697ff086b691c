"""Sweeps: thousands of configurations over the same prices, what is best of them, and whether it is luck."""

from raysignal.experiments.sweeps.market import Market
from raysignal.experiments.sweeps.running import SweepResult, run_sweep
from raysignal.experiments.sweeps.space import Axis, Space
from raysignal.experiments.sweeps.sweep import SweepSpec

__all__ = ["Axis", "Market", "Space", "SweepResult", "SweepSpec", "run_sweep"]
