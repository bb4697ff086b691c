"""The compiled kernel against the slow reference, on whatever policies and signals hypothesis thinks of."""

from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysignal.engine.core.ledger_rows import LedgerRows, Outcome
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio import account as at
from raysignal.engine.portfolio.ledger import Ledger, sweep
from raysignal.engine.portfolio.performance import Performance, performance_table
from tests.support.effort import examples
from tests.support.reference import YEAR_US, ReferenceLedger, growths, last_of_each

HOUR_US = 3_600_000_000
POLICIES = st.builds(
    Policy,
    initial_cash=st.sampled_from([10_000.0, 1.0, 1e9, 777.77]),
    fee_bps=st.sampled_from([0.0, 4.0, 10.0, 37.5, 1000.0]),
    slippage_bps=st.sampled_from([0.0, 3.0, 1000.0]),
    side=st.sampled_from(["long-flat", "long-short"]),
    weight=st.sampled_from([1.0, 0.5, 0.3, 0.01]),
    fill=st.sampled_from(["signal", "next"]),
)
Signals = list[tuple[int, int, int, float]]


@st.composite
def signals(draw: Any, longest: int = 60) -> Signals:
    """Up to three symbols, each in order of its own time; prices wander, and sometimes explode or collapse.

    Stamps of several symbols are often the same, and go back and forth.
    """
    symbols = draw(st.integers(1, 3))
    odd = draw(st.sampled_from([0, 999_999]))
    prices = [draw(st.sampled_from([100.0, 0.0375, 61_234.5]))] * symbols
    clocks = [1_740_000_000_000_000] * symbols
    taken = []
    for _ in range(draw(st.integers(1, longest))):
        symbol = draw(st.integers(0, symbols - 1))
        clocks[symbol] += draw(st.integers(1, 72)) * HOUR_US + draw(st.integers(0, odd))
        prices[symbol] *= draw(st.sampled_from([1.0, 1.01, 0.99, 1.003, 0.7, 1.5, 3.0, 0.1]))
        taken.append((clocks[symbol], symbol, draw(st.sampled_from([-1, 0, 1])), prices[symbol]))
    return taken


def arrays(taken: Signals) -> tuple[Any, Any, Any, Any]:
    stamps, symbols, actions, prices = zip(*taken, strict=True)
    return (
        np.array(stamps, dtype=np.int64),
        np.array(symbols, dtype=np.int32),
        np.array(actions, dtype=np.int8),
        np.array(prices),
    )


def ledger_of(policy: Policy, taken: Signals) -> Ledger:
    ledger = Ledger(policy)
    ledger.ensure_symbols(1 + max(symbol for _, symbol, _, _ in taken))
    return ledger


@given(POLICIES, signals())
@settings(max_examples=examples(300))
def test_every_row_is_the_reference_bit_for_bit(policy: Policy, taken: Signals) -> None:
    rows = LedgerRows.empty(len(taken))
    ledger_of(policy, taken).run(*arrays(taken), rows=rows)
    reference = ReferenceLedger(policy)
    for index, signal in enumerate(taken):
        expected = reference.take(*signal)
        for column in fields(LedgerRows):
            value = getattr(rows, column.name)[index]
            if column.name in {"outcome", "executed"}:
                assert Outcome(value).name == expected[column.name], (index, column.name)
            else:
                assert value == expected[column.name] or (value != value and column.name == "fill_price"), (  # noqa: PLR0124 - NaN
                    index, column.name, value, expected[column.name],
                )  # fmt: skip


@given(POLICIES, signals())
@settings(max_examples=examples(300))
def test_every_figure_is_the_reference(policy: Policy, taken: Signals) -> None:
    ledger = ledger_of(policy, taken)
    ledger.run(*arrays(taken))
    reference = ReferenceLedger(policy)
    for signal in taken:
        reference.take(*signal)
    figures, expected = Performance.of(ledger.account).as_dict(), reference.figures()

    exact = ("signals", "initial_cash", "cash", "equity", "total_return", "signal_return", "realised_pnl",
             "fees", "trades", "closed_trades", "win_rate", "drawdown", "exposure", "periods", "period_s",
             "ruined")  # fmt: skip
    assert {name: figures[name] for name in exact} == {name: expected[name] for name in exact}
    money = max(policy.initial_cash, *(abs(row["equity"]) + abs(row["cash"]) for row in reference.rows))
    assert figures["unrealised_pnl"] == pytest.approx(expected["unrealised_pnl"], rel=1e-9, abs=1e-12 * money)
    for name in ("profit_factor", "turnover"):
        assert agree(figures[name], expected[name]), name
    check_ratios(figures, expected, growths(reference.levels()))
    check_ratios(
        figures["buy_and_hold"], expected["buy_and_hold"], [float(r) for r in reference.hold_returns]
    )


def agree(value: float | None, expected: float | None, absolute: float = 0.0) -> bool:
    """Both undefined, or equal to 1e-9 of their size."""
    if value is None or expected is None:
        return value is expected
    return value == pytest.approx(expected, rel=1e-9, abs=absolute)


def check_ratios(figures: dict[str, Any], expected: dict[str, Any], returns: list[float]) -> None:
    assert figures["total_return"] == pytest.approx(expected["total_return"], rel=1e-9, abs=1e-12)
    assert figures["max_drawdown"] == pytest.approx(expected["max_drawdown"], rel=1e-9, abs=1e-12)
    # A ratio over a deviation or drawdown of mere rounding has no digits to compare.
    spread = max(abs(value) for value in returns)
    if np.std(returns) > 1e-4 * spread:
        assert agree(figures["sharpe"], expected["sharpe"], 1e-9)
        assert agree(figures["sharpe_per_period"], expected["sharpe_per_period"], 1e-10)
    if not returns or min(returns) == 0.0 or min(returns) < -1e-9:
        assert agree(figures["sortino"], expected["sortino"], 1e-9)
        assert agree(figures["sortino_per_period"], expected["sortino_per_period"], 1e-10)
    if expected["max_drawdown"] > 1e-9:
        assert agree(figures["calmar"], expected["calmar"], 1e-9)
        assert agree(figures["return_over_drawdown"], expected["return_over_drawdown"], 1e-9)


@given(POLICIES, signals(), st.data())
@settings(max_examples=examples(150))
def test_any_cut_into_calls_ends_on_the_same_bytes(policy: Policy, taken: Signals, data: Any) -> None:
    columns = arrays(taken)
    whole, whole_rows = ledger_of(policy, taken), LedgerRows.empty(len(taken))
    whole_accounts = np.empty((len(taken), at.ACCOUNT_SIZE))
    whole.run(*columns, rows=whole_rows, accounts=whole_accounts)

    cuts = sorted({0, len(taken), *data.draw(st.lists(st.integers(0, len(taken)), max_size=8))})
    ledger, rows = Ledger(policy), LedgerRows.empty(len(taken))
    accounts = np.empty_like(whole_accounts)
    for start, stop in pairwise(cuts):
        # Symbols come to be known as they appear; between calls the state goes through its stored form.
        ledger.ensure_symbols(1 + int(columns[1][:stop].max()))
        ledger.run(*(c[start:stop] for c in columns), rows.slice(start, stop), accounts[start:stop])
        ledger = Ledger.from_bytes(policy, ledger.to_bytes())
    assert ledger.to_bytes() == whole.to_bytes()
    assert accounts.tobytes() == whole_accounts.tobytes()
    for name, column in rows.columns().items():
        assert column.tobytes() == whole_rows.columns()[name].tobytes(), name


def long_stream(symbols: int, seed: int, n: int = 1500) -> tuple[Any, Any, Any, Any]:
    """More rows than a block holds; some stamps go back, some prices run away, symbols join as time passes."""
    random = np.random.default_rng(seed)
    prices = 100.0 * np.exp(np.cumsum(random.normal(0.0, random.choice([1e-3, 0.05, 0.4]), n)))
    last = np.minimum(np.arange(n) * symbols // (n // 2), symbols - 1)
    stamps = 1_740_000_000_000_000 + 60_000_000 * np.arange(n) - random.integers(0, 2, n) * 90_000_000
    actions = np.repeat(random.integers(-1, 2, n), random.integers(1, 9))[:n]
    return stamps, random.integers(0, last + 1).astype(np.int32), actions.astype(np.int8), prices


@given(POLICIES, st.sampled_from([1, 1, 3]), st.integers(0, 2**32))
@settings(max_examples=examples(40))
def test_a_long_stream_is_the_reference_bit_for_bit_however_it_is_cut(
    policy: Policy, symbols: int, seed: int
) -> None:
    columns = long_stream(symbols, seed)
    n = len(columns[0])
    reference = ReferenceLedger(policy)
    for signal in zip(*(column.tolist() for column in columns), strict=True):
        reference.take(*signal)

    whole, rows = Ledger(policy), LedgerRows.empty(n)
    whole.ensure_symbols(symbols)
    whole.run(*columns, rows=rows)
    for name, column in rows.columns().items():
        expected = [row[name] for row in reference.rows]
        if name in {"outcome", "executed"}:
            assert [Outcome(value).name for value in column] == expected, name
        else:
            np.testing.assert_array_equal(column, expected, err_msg=name)

    account = whole.account
    assert account[at.EXPOSED_US] == reference.exposed_us
    performance = Performance.of(account)
    assert performance.ruined == any(row["equity"] <= 0.0 for row in reference.rows)
    levels = np.array(reference.levels())
    if not performance.ruined:
        assert performance.max_drawdown == max(0.0, *(1.0 - levels / np.maximum.accumulate(levels)))
    returns = np.array(growths(levels.tolist()))
    sharpe = performance.sharpe
    if sharpe is not None:
        a_year = np.sqrt(YEAR_US / ((reference.times[-1] - reference.times[0]) / (len(returns) - 1)))
        expected = pytest.approx(returns.mean() / returns.std(ddof=1) * a_year, rel=1e-9, abs=1e-9)
        assert sharpe == expected
    if symbols == 1:
        held = last_of_each(reference.times, columns[3].tolist())
        falls = held / np.maximum.accumulate([columns[3][0], *held])[1:]
        assert 1.0 - performance.buy_and_hold.max_drawdown == pytest.approx(min(1.0, *falls), rel=1e-15)

    cuts = np.sort(np.random.default_rng(seed).integers(0, n, 6)).tolist()
    pieces = Ledger(policy)
    pieces.ensure_symbols(symbols)
    accounts = np.empty((n, at.ACCOUNT_SIZE))
    for start, stop in pairwise([0, *cuts, n]):
        recorded = accounts[start:stop] if start % 2 else None
        pieces.run(*(column[start:stop] for column in columns), accounts=recorded)
    assert pieces.to_bytes() == whole.to_bytes()


@given(st.lists(POLICIES, min_size=1, max_size=4), signals())
@settings(max_examples=examples(100))
def test_a_sweep_is_its_single_runs(policies: list[Policy], taken: Signals) -> None:
    columns = arrays(taken)
    table = sweep(policies, *columns)
    for policy, account in zip(policies, table, strict=True):
        ledger = ledger_of(policy, taken)
        ledger.run(*columns)
        assert account.tobytes() == ledger.account.tobytes()


@given(POLICIES, signals())
@settings(max_examples=examples(150))
def test_equity_is_cash_and_marked_positions_after_every_row(policy: Policy, taken: Signals) -> None:
    ledger, columns = ledger_of(policy, taken), arrays(taken)
    highest = policy.initial_cash
    for row in range(len(taken)):
        ledger.run(*(column[row : row + 1] for column in columns))
        values = ledger.positions[:, at.QUANTITY] * ledger.positions[:, at.PRICE]
        scale = abs(ledger.cash) + np.abs(values).sum()
        assert ledger.equity == pytest.approx(ledger.cash + values.sum(), rel=1e-9, abs=1e-12 * scale)
        performance = Performance.of(ledger.account)
        earned = performance.realised_pnl + performance.unrealised_pnl
        # What was earned and lost again is rounded at the size that it had.
        highest = max(highest, scale)
        assert policy.initial_cash + earned == pytest.approx(ledger.equity, rel=1e-9, abs=1e-12 * highest)
        if policy.side == "long-flat":
            assert ledger.cash >= 0.0
            assert (ledger.positions[:, at.QUANTITY] >= 0.0).all()


@given(POLICIES, signals())
@settings(max_examples=examples(100))
def test_a_table_of_accounts_holds_what_each_says_alone(policy: Policy, taken: Signals) -> None:
    accounts = np.empty((len(taken), at.ACCOUNT_SIZE))
    ledger_of(policy, taken).run(*arrays(taken), accounts=accounts)
    table = performance_table(accounts)
    for row, account in enumerate(accounts):
        single = Performance.of(account).as_dict()
        assert single.pop("calendar") == "observed"
        single |= {f"buy_and_hold_{name}": value for name, value in single.pop("buy_and_hold").items()}
        assert list(single) == list(table)
        for name, value in single.items():
            assert (value is None and np.isnan(table[name][row])) or value == table[name][row], name


@given(POLICIES, signals(longest=20))
@settings(max_examples=examples(100))
def test_no_figure_is_ever_infinite_or_nan(policy: Policy, taken: Signals) -> None:
    # A microsecond between the signals makes annual growth overflow.
    close = [(1_740_000_000_000_000 + row, *signal[1:]) for row, signal in enumerate(taken)]
    ledger = ledger_of(policy, close)
    ledger.run(*arrays(close))
    figures = Performance.of(ledger.account).as_dict()
    del figures["calendar"]
    for name, value in [*figures.items(), *figures["buy_and_hold"].items()]:
        assert value is None or isinstance(value, dict) or np.isfinite(value), name
