"""The report of a sweep: whole, the same again, and sensible where there is little to show."""

import re
from dataclasses import asdict

import numpy as np
import pytest

from raysignal.experiments.comparison.arms import Trial
from raysignal.experiments.selection.verdict import judge
from raysignal.experiments.sweeps.chunks import run_chunk
from raysignal.experiments.sweeps.folding import choices, folds_table, out_of_sample
from raysignal.experiments.sweeps.report import MarketView, make_sweep_report
from raysignal.experiments.sweeps.space import Space
from raysignal.experiments.sweeps.sweep import SweepSpec, WalkForward
from raysignal.experiments.sweeps.tables import (
    curve,
    period_returns,
    ranks,
    sweep_table,
    trades_of_configuration,
)
from tests.support.sweep_markets import market


def view(grid: list[str], n: int = 600, *, folds: bool = False, symbol: str = "BTC") -> MarketView:
    where, space = market(n, symbol=symbol), Space.of("sma", grid, ["side=long-short"])
    spec = SweepSpec(space, validation=WalkForward(200, 100) if folds else None)
    table = run_chunk(where, space, 0, len(space), spec.marks(where), Trial())
    rank = ranks(table, "sharpe")
    _, returns = period_returns(table)
    found = spec.folds(where)
    best = int(np.argmin(rank))
    chosen = choices(table, found, by_return=False) if found else []
    return MarketView(
        symbol, sweep_table(where, space, table, rank), "sharpe", tuple(axis.name for axis in space.axes), space.varied,
        asdict(judge(returns, np.zeros(len(returns)), best=best, trials=len(space), seed=0, resamples=50)),
        folds_table(where, found, chosen) if found else None,
        out_of_sample(where, chosen, periods_per_year=8760.0, by_return=False).sentence if found else None,
        [curve(where, space, best, Trial())], {"total_return": 0.1, "sharpe": None, "max_drawdown": 0.2},
        {"the best": trades_of_configuration(where, space, best, Trial())}, "observed",
    )  # fmt: skip


@pytest.mark.slow
def test_a_report_says_what_was_found_and_is_the_same_again() -> None:
    one = view(["sma_fast=2:6:2", "sma_slow=10,20,30", "fee_bps=0,10"], folds=True)
    report = make_sweep_report([one], {"title": "<b>A & B</b>", "run_id": "r"})
    assert report == make_sweep_report([one], {"title": "<b>A & B</b>", "run_id": "r"})
    assert "&lt;b&gt;A &amp; B&lt;/b&gt;" in report.html
    assert "<b>A & B" not in report.html
    for said in (
        "May be luck",
        "Where it is good",
        "Parameters together",
        "All configurations",
        "Out of sample",
        "4 folds",
        "The trades of the best",
        "longest losing streak",
        "return of a trade",
    ):
        assert said in report.html
    assert not re.findall(r'(?:src|href)="http', report.html), "it needs nothing else"
    assert report.png.startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("grid", [["sma_fast=3"], ["sma_fast=2,3", "side=long-flat,long-short"]])
def test_little_to_show_is_still_a_report(grid: list[str]) -> None:
    where, space = market(60), Space.of("sma", grid, ["sma_slow=9"])
    table = run_chunk(where, space, 0, len(space), SweepSpec(space).marks(where), Trial())
    names = tuple(axis.name for axis in space.axes)
    shown = sweep_table(where, space, table, ranks(table, "sharpe"))
    one = MarketView("A&B", shown, "sharpe", names, space.varied, None, None, None, (), {}, {}, "observed")
    assert "A&amp;B" in make_sweep_report([one, one], {"title": "t"}).html
