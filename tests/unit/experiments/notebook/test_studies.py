"""Results in a notebook are what the verbs and a live portfolio make of the same rows."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import raysignal
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.performance import Performance
from raysignal.experiments.comparison.arms import Trial, memory_alone
from raysignal.experiments.monte_carlo.distributions import COLUMNS
from raysignal.experiments.sweeps.chunks import run_chunk
from raysignal.experiments.sweeps.market import markets_of
from raysignal.experiments.sweeps.results import sweep_findings
from raysignal.experiments.sweeps.space import Space
from raysignal.experiments.sweeps.sweep import SweepSpec

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def prices() -> pd.DataFrame:
    close = 100.0 * np.exp(np.cumsum(np.random.default_rng(3).normal(0.0, 0.01, 300)))
    return pd.DataFrame({"Close": close}, index=pd.date_range("2024-01-01", periods=300, freq="h"))


@pytest.fixture(scope="module")
def signals(prices) -> raysignal.Signals:
    sides = np.random.default_rng(4).choice([-1, 0, 1], len(prices))
    return raysignal.read(prices.assign(signal=sides), symbol="BTC")


def shown(result) -> dict:
    """What every result has to have; its summary, through strict JSON."""
    assert isinstance(result.frame, pd.DataFrame)
    assert pa.table(result).num_rows == len(result.frame)
    assert result._repr_html_().startswith("<div><p><b>")
    assert result.plot(size=(7.0, 4.0))._repr_png_().startswith(PNG)
    return json.loads(json.dumps(result.summary, allow_nan=False))


def test_a_replay_is_what_a_portfolio_makes_of_the_signals(signals):
    policy = raysignal.Policy(fee_bps=5.0, side="long-short", periods_per_year=252)
    ledger, batch = Ledger(policy), signals.batch
    ledger.ensure_symbols(1)
    ledger.run(batch.timestamp_us, batch.symbol, batch.action, batch.price)
    for given in (policy, policy.as_dict()):
        result = raysignal.replay(signals, given)
        assert shown(result) == Performance.of(ledger.account, policy).as_dict()
        assert result.frame["equity"].iloc[-1] == result.summary["equity"]
        assert len(result.frame) == len(signals)
    assert result.summary["calendar"] == "given"


@pytest.mark.parametrize("n", [1, 2])
def test_a_replay_of_a_row_or_two_is_shown(signals, n):
    result = raysignal.replay(signals.frame[:n])
    assert shown(result)["sharpe"] is None
    assert len(result.frame) == n


def test_a_ruined_account_says_so():
    rows = {
        "timestamp": pd.date_range("2024-01-01", periods=3),
        "signal": [-1, 0, 0],
        "price": [1.0, 4.0, 16.0],
    }
    result = raysignal.replay(pd.DataFrame(rows), {"side": "long-short"})
    assert shown(result)["ruined"]
    assert result.sentences[0].startswith("RUINED")


def test_a_policy_that_cannot_be_is_refused(signals):
    with pytest.raises(InvalidField, match="fee_bps"):
        raysignal.replay(signals, {"fee_bps": -1})
    with pytest.raises(InvalidField, match="one of"):
        raysignal.replay(signals, {"fees": 1})


def test_a_comparison_is_the_arms_of_the_verb(signals):
    result = raysignal.compare(signals, ("baseline", "memory"), horizon="6b", policy={"fee_bps": 2})
    rules = Trial().rules
    horizon = type(rules.horizon).parse("6b", lag_us=rules.horizon.lag_us)
    trial = Trial(raysignal.Policy(fee_bps=2), rules=type(rules)(horizon=horizon))
    expected = memory_alone(signals.batch, trial).as_dict()
    found = shown(result)
    assert found["arms"] == json.loads(json.dumps(expected["arms"]))
    assert found["assessments"] == json.loads(json.dumps(expected["assessments"]))
    assert result.frame["arm"].tolist() == ["baseline"] * 2 + ["memory"] * 2
    with pytest.raises(InvalidField, match="baseline among them"):
        raysignal.compare(signals, ("memory",))


def test_arms_that_draw_by_lot_run_after_the_memory(signals):
    result = raysignal.compare(signals, ("random", "memory", "baseline"))
    assert result.frame["arm"].unique().tolist() == ["random", "memory", "baseline"]


def test_a_sweep_is_that_of_the_verb(prices):
    result = raysignal.sweep(
        prices, {"sma_fast": range(2, 8, 2), "sma_slow": [10, 20]}, policy={"fee_bps": 1}, symbol="BTC",
        walk_forward=(100, 50),
    )  # fmt: skip
    texts = raysignal.sweep(
        prices,
        ["sma_fast=2:6:2", "sma_slow=10,20"],
        policy={"fee_bps": 1},
        symbol="BTC",
        walk_forward=(100, 50),
    )
    assert shown(result) == json.loads(json.dumps(texts.summary))
    assert result.frame["rank"].tolist() == [1, 2, 3, 4, 5, 6]
    assert set(result.frame["symbol"]) == {"BTC"}
    (market,) = markets_of(raysignal.read(prices, prices_only=True).batch)
    spec = SweepSpec(Space.of(None, ["sma_fast=2:6:2", "sma_slow=10,20"], ["fee_bps=1"]))
    table = run_chunk(market, spec.space, 0, 6, spec.marks(market), spec.trial)
    found = sweep_findings((market,), spec, [table]).metrics["symbols"]["BTC"]
    assert result.summary["symbols"]["BTC"]["verdict"] == found["verdict"]


def test_a_sweep_of_signals_needs_them_and_one_value_is_drawn_too(prices, signals):
    with pytest.raises(InvalidField, match="signal"):
        raysignal.sweep(prices, {"fee_bps": [0, 10]})
    assert shown(raysignal.sweep(signals, {"fee_bps": [0, 10]}))["strategy"] == "signals"
    two = shown(raysignal.sweep(signals.frame[:2], {"fee_bps": 3}))
    assert two["symbols"]["BTC"]["verdict"]["sentence"].startswith("Nothing can be said about luck")


@pytest.mark.parametrize(
    ("grid", "options", "said"),
    [
        ({}, {}, "at least one axis"),
        ({"sma_slwo": [3]}, {}, "sma_slow"),
        ({"calendar": ["365x24", "252-sessions"]}, {"strategy": "sma"}, "a year is as long for all"),
        ({"sma_fast": [2]}, {"walk_forward": (10, 5), "cross_validation": 3}, "not both"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(prices, grid, options, said):
    with pytest.raises(InvalidField, match=said):
        raysignal.sweep(prices, grid, **options)


@pytest.mark.parametrize("method", ["bootstrap", "trades", "order"])
def test_paths_are_a_row_each_and_the_same_again(signals, method):
    result = raysignal.monte_carlo(signals, method, paths=40)
    assert list(result.frame.columns) == ["path", *COLUMNS]
    assert len(result.frame) == shown(result)["paths"] == 40
    assert raysignal.monte_carlo(signals, method, paths=40).frame.equals(result.frame)


def test_paths_of_a_strategy_need_no_signals_and_one_symbol(prices):
    result = raysignal.monte_carlo(prices, paths=20, strategy="sma", parameters={"fast": 3, "slow": 9})
    assert shown(result)["paths"] == 20
    two = pd.concat([prices.assign(symbol=name) for name in "AB"])
    with pytest.raises(InvalidField, match="one of A, B"):
        raysignal.monte_carlo(two, strategy="sma")
    with pytest.raises(InvalidField, match="strategy='sma'"):
        raysignal.monte_carlo(prices, parameters={"fast": 3})


def few(n: int, *, ruin: bool) -> pd.DataFrame:
    price = 4.0 ** np.minimum(np.arange(n), 6) if ruin else 100.0 + np.arange(n)
    stamps = pd.date_range("2024-01-01", periods=n)
    return pd.DataFrame({"timestamp": stamps, "signal": np.where(np.arange(n) == 0, -1, 0), "price": price})


@pytest.mark.parametrize(("n", "ruin"), [(1, False), (2, False), (3, True), (60, True)])
def test_summaries_of_few_rows_and_after_ruin_are_strict_json(n, ruin):
    rows, short = few(n, ruin=ruin), {"side": "long-short"}
    found = [raysignal.replay(rows, short), raysignal.compare(rows, policy=short)]
    if n > 1:
        found += [raysignal.sweep(rows, {"fee_bps": [0, 10], "side": ["long-short", "long-flat"]})]
        found += [
            raysignal.monte_carlo(rows, method, paths=20, policy=short) for method in ("bootstrap", "order")
        ]
        best = found[2].frame
        assert best["side"].tolist()[: 2 if ruin else 0] == ["long-flat"] * (2 if ruin else 0)
        assert best["ruined"].tolist() == ([False, False, True, True] if ruin else [False] * 4)
    for result in found:
        json.dumps(result.summary, allow_nan=False)
        assert result._repr_html_()
    assert found[0].summary["ruined"] == ruin


def told(**columns) -> pd.DataFrame:
    n = len(columns["price"])
    return pd.DataFrame({"timestamp": pd.date_range("2024-01-01", periods=n), **columns})


def test_a_replay_closes_at_the_stop_that_the_signal_says():
    bought = told(signal=["BUY", None, None], price=[100.0, 90.0, 80.0], stop_loss=[95.0, None, None])
    result = raysignal.replay(raysignal.read(bought, prices_only=True).frame, {"fee_bps": 0})
    assert result.frame["position"].tolist() == [100.0, 0.0, 0.0]
    assert result.frame["equity"].tolist() == [10_000.0, 9_000.0, 9_000.0]
    assert result.summary["trades"] == 2
    assert result.frame["outcome"].tolist() == ["OPENED", "HOLD", "HOLD"]
    assert result.frame["closed_by"].fillna("").tolist() == ["", "STOP", ""]
    assert result.frame["exit_price"].isna().tolist() == [True, False, True]
    assert result.frame["exit_price"][1] == 90.0


def test_a_replay_takes_the_size_and_the_confidence_of_the_signal():
    half = told(signal=["BUY", "HOLD"], price=[100.0, 110.0], size=[0.5, None])
    assert raysignal.replay(half, {"fee_bps": 0}).frame["equity"].tolist() == [10_000.0, 10_500.0]
    doubted = told(signal=["BUY", "HOLD"], price=[100.0, 110.0], confidence=[0.1, None])
    result = raysignal.replay(doubted, {"min_confidence": 0.9})
    assert result.frame["outcome"].iloc[0] == "LOW_CONFIDENCE"
    assert result.summary["equity"] == 10_000.0


def test_a_replay_is_the_one_configuration_of_a_sweep():
    rows = told(
        signal=["BUY", "HOLD", "BUY", "HOLD", "SELL"], price=[100.0, 90.0, 92.0, 97.0, 94.0],
        stop_loss=[95.0, None, None, None, None], size=[0.5, None, 0.25, None, None],
        open=[100.0, 99.0, 91.0, 95.0, 96.0], high=[101.0, 99.0, 93.0, 98.0, 97.0], low=[99.0, 89.0, 90.0, 95.0, 93.0],
    )  # fmt: skip
    swept = raysignal.sweep(rows, {"fee_bps": 5}, policy={"slippage_bps": 2}).frame.iloc[0]
    replayed = raysignal.replay(rows, {"fee_bps": 5, "slippage_bps": 2}).summary
    assert replayed["trades"] == 4
    for name in ("equity", "total_return", "max_drawdown", "trades"):
        assert swept[name] == replayed[name], name


@pytest.mark.parametrize("policy", [[1, 2], "abc", 5, 0])
def test_a_policy_that_is_no_dict_is_refused(prices, policy):
    for asked in (lambda: raysignal.replay(prices.assign(signal=0), policy), lambda: raysignal.sweep(
        prices, {"sma_fast": [2, 3], "sma_slow": [5]}, policy=policy
    )):  # fmt: skip
        with pytest.raises(InvalidField, match=r"policy is .*; expected a"):
            asked()


def test_numbers_of_numpy_are_members_of_a_policy(signals):
    assert raysignal.replay(signals, {"fee_bps": np.int64(5)}).policy.fee_bps == 5.0


def test_two_rows_of_one_instant_are_named_where_a_bar_has_one_close():
    rows = told(signal=["BUY", "HOLD", "SELL"], price=[100.0, 101.0, 102.0])
    rows["timestamp"] = pd.to_datetime(["2024-01-30T12:00", "2024-01-31T12:00", "2024-01-30T12:00"])
    said = "row 2: timestamp is '2024-01-30T12:00:00Z'; expected an instant of its own: row 0 of BTC has the same"
    for asked in (
        lambda: raysignal.sweep(rows, {"fee_bps": [0, 5]}),
        lambda: raysignal.monte_carlo(rows, paths=2),
    ):
        with pytest.raises(InvalidField, match=said):
            asked()


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda frame: raysignal.monte_carlo(frame, paths="5"), "paths is '5'; expected a whole number"),
        (lambda frame: raysignal.monte_carlo(frame, paths=1.5), r"paths is 1\.5; expected a whole number"),
        (lambda frame: raysignal.compare(frame, seed=True), "seed is True; expected a whole number"),
        (
            lambda frame: raysignal.compare(frame, horizon=6),
            "horizon is 6; expected a text: bars such as '6b'",
        ),
        (
            lambda frame: raysignal.sweep(frame, {"stop_bps": [50]}, walk_forward=(200,)),
            r"walk_forward is \[200\]; expected .*\(200, 100\)",
        ),
        (
            lambda frame: raysignal.sweep(frame, {"stop_bps": [50]}, walk_forward="200/100"),
            r"walk_forward is '200/100'; expected .*\(200, 100\)",
        ),
    ],
)
def test_an_argument_of_another_kind_is_named_with_what_was_expected(ask, said, prices):
    with pytest.raises(InvalidField, match=said):
        ask(prices.assign(signal=1))


def test_numbers_of_numpy_are_numbers(prices):
    assert (
        len(raysignal.monte_carlo(prices.assign(signal=1), paths=np.int64(20), seed=np.int32(1)).frame) == 20
    )
