"""Stages, their source and Redis are killed at random under load, on both buses.

A few times; 200 times with `RAYSIGNAL_TEST_BUS_KILLS=200`.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = int(os.environ.get("RAYSIGNAL_TEST_BUS_KILLS", "8"))


@pytest.mark.timeout(60 + 10 * KILLS)
@pytest.mark.parametrize("bus", ["memory", "redis"])
def test_whoever_is_killed_whenever_no_effect_is_lost_or_doubled(bus: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.support.bus_killing", bus, str(KILLS)],
        cwd=Path(__file__).parents[2], check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{bus}: {KILLS} kills" in run.stdout
