"""Processes that are killed outright, at steps of an order's life, on both databases; `make long`: at every step.

`tests/unit/engine/execution/test_killed.py` tries every step of the market order without processes.
"""

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from raysignal.engine.core.orders import OrderState
from tests.support.order_script import LIVES, Wire, World, check, opened

FILLED = Decimal("97.551")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("stride", [29, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("life", sorted(LIVES))
def test_whoever_is_killed_at_whichever_step_the_next_one_ends_with_the_same_orders(
    address: str, life: str, stride: int, tmp_path: Path
) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "tests.support.order_script", address, life, str(tmp_path), str(stride)],
        cwd=Path(__file__).parents[2], check=True, timeout=500, stdout=subprocess.PIPE, text=True,
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
