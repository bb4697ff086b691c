"""Sweeps: thousands of configurations over the same prices, what is best of them, and whether it is luck."""

from experiments.sweeps.market import Market
from experiments.sweeps.running import Swept, run_sweep
from experiments.sweeps.space import Axis, Space
from experiments.sweeps.sweep import SweepSpec

__all__ = ["Axis", "Market", "Space", "SweepSpec", "Swept", "run_sweep"]
