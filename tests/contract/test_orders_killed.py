"""Processes that are killed outright, at every step of an order's life, on both databases.

At every seventh step; at every one with `RAYSIGNAL_TEST_EVERY_STEP=1`.
"""

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from raysignal.engine.core.orders import OrderState
from tests.support.order_script import LIVES, Wire, World, check, opened

FILLED = Decimal("97.551")


@pytest.mark.parametrize("life", sorted(LIVES))
def test_whoever_is_killed_at_whichever_step_the_next_one_ends_with_the_same_orders(
    address: str, life: str, tmp_path: Path
) -> None:
    stride = 1 if os.environ.get("RAYSIGNAL_TEST_EVERY_STEP") else 7
    told = subprocess.run(
        [sys.executable, "-m", "tests.support.order_script", address, life, str(tmp_path), str(stride)],
        cwd=Path(__file__).parents[2], check=True, timeout=100, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip
    survived = int(told)
    assert survived > 50
    script, plan = LIVES[life]
    database = opened(address)
    for step in range(1, survived + 1, stride):
        account = f"{life}-{step}"
        if step < survived:
            first = int((tmp_path / f"{step}.at").read_text())
            World(database, account, plan, Wire(), Wire()).live(script, first)
        (up, ended, bought), (down, sold_all, sold) = check(database, account)
        assert (up, down, sold_all) == ("up", "down", OrderState.FILLED), step
        assert bought == sold, step
        if life == "market":
            assert (ended, bought) == (OrderState.FILLED, FILLED), step
        else:
            assert ended is OrderState.CANCELLED, step
    database.close()
