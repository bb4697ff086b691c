"""The kernel against the slow reference where signals say more than their side: brackets, sizes, CLOSE, confidence."""

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from raysignal.engine.core.ledger_rows import CloseReason, LedgerRows, Outcome
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.terms import SignalTerms
from raysignal.engine.portfolio import account as at
from raysignal.engine.portfolio.ledger import Ledger, sweep
from raysignal.engine.portfolio.performance import Performance
from tests.support.effort import examples
from tests.support.reference import ReferenceLedger, Said

HOUR_US = 3_600_000_000
START_US = 1_740_000_000_000_000
LEVELS = st.sampled_from([0.0, 0.0, 50.0, 100.0, 1_000.0])
POLICIES = st.builds(
    Policy,
    fee_bps=st.sampled_from([0.0, 10.0, 37.5]),
    slippage_bps=st.sampled_from([0.0, 3.0]),
    side=st.sampled_from(["long-flat", "long-short"]),
    weight=st.sampled_from([1.0, 0.3]),
    fill=st.sampled_from(["signal", "next"]),
    min_confidence=st.sampled_from([0.0, 0.5]),
    stop_bps=LEVELS,
    take_bps=LEVELS,
    trail_bps=LEVELS,
)
Row = tuple[int, int, int, float, Said]


def some(values: st.SearchStrategy[float]) -> st.SearchStrategy[float | None]:
    """A value in one of four rows."""
    return st.one_of(st.none(), st.none(), st.none(), values)


@st.composite
def told(draw: Any, longest: int = 50) -> list[Row]:
    """Up to three symbols. Prices move by steps that meet levels exactly, cross them, and gap beyond them."""
    symbols = draw(st.integers(1, 3))
    prices, clocks = [100.0] * symbols, [START_US] * symbols
    rows: list[Row] = []
    for _ in range(draw(st.integers(1, longest))):
        symbol = draw(st.integers(0, symbols - 1))
        clocks[symbol] += draw(st.integers(1, 5)) * HOUR_US
        prices[symbol] *= draw(st.sampled_from([1.0, 1.01, 0.99, 1.003, 0.995, 1.05, 0.95, 1.3, 0.7]))
        price, now = prices[symbol], clocks[symbol]
        said = Said(
            size=draw(some(st.sampled_from([0.1, 0.5, 1.0]))),
            stop_loss=draw(some(st.sampled_from([0.99, 0.95, 1.01, 1.05]))),
            take_profit=draw(some(st.sampled_from([0.99, 0.95, 1.01, 1.05]))),
            trailing_stop_bps=draw(some(st.sampled_from([50.0, 200.0, 5_000.0]))),
            confidence=draw(some(st.sampled_from([0.0, 0.4999, 0.5, 1.0]))),
            expires=draw(some(st.integers(1, 12))),  # type: ignore[arg-type]
            high=draw(some(st.sampled_from([0.999, 1.0, 1.01, 1.06]))),
            low=draw(some(st.sampled_from([1.001, 1.0, 0.99, 0.94]))),
        )
        scaled = {
            name: None if getattr(said, name) is None else price * getattr(said, name)
            for name in ("stop_loss", "take_profit", "high", "low")
        }
        expires = None if said.expires is None else now + said.expires * HOUR_US
        values = {name: getattr(said, name) for name in Said.__dataclass_fields__}
        said = Said(**values | scaled | {"expires": expires})
        rows.append((now, symbol, draw(st.sampled_from([-1, 0, 0, 0, 1, 2])), price, said))
    return rows


def columns(rows: list[Row]) -> tuple[Any, ...]:
    stamps, symbols, actions, prices, _ = zip(*rows, strict=True)
    return (
        np.array(stamps, np.int64), np.array(symbols, np.int32), np.array(actions, np.int8), np.array(prices),
    )  # fmt: skip


def terms_of(rows: list[Row]) -> SignalTerms:
    names = ("size", "stop_loss", "take_profit", "trailing_stop_bps", "confidence", "expires")
    values = np.array([[getattr(row[4], name) for name in names] for row in rows], np.float64)
    high, low = (np.array([getattr(row[4], name) for row in rows], np.float64) for name in ("high", "low"))
    return SignalTerms(values, high, low)


def ledger_of(policy: Policy, rows: list[Row]) -> Ledger:
    ledger = Ledger(policy)
    ledger.ensure_symbols(1 + max(row[1] for row in rows))
    return ledger


def check_rows(rows: LedgerRows, expected: list[dict[str, Any]]) -> None:
    for name, column in rows.columns().items():
        values: list[Any] = column.tolist()
        if name in {"outcome", "executed"}:
            values = [Outcome(value).name for value in values]
        for index, value in enumerate(values):
            other = expected[index][name]
            assert value == other or (value != value and other != other), (index, name, value, other)  # noqa: PLR0124


@given(POLICIES, told())
@settings(max_examples=examples(500))
def test_every_row_with_brackets_is_the_reference_bit_for_bit(policy: Policy, rows: list[Row]) -> None:
    done = LedgerRows.empty(len(rows))
    ledger = ledger_of(policy, rows)
    ledger.run(*columns(rows), rows=done, terms=terms_of(rows))
    reference = ReferenceLedger(policy)
    check_rows(done, [reference.take(*row) for row in rows])

    figures, expected = Performance.of(ledger.account).as_dict(), reference.figures()
    for name in ("cash", "equity", "realised_pnl", "fees", "trades", "closed_trades", "win_rate", "exposure"):
        assert figures[name] == expected[name], name


@given(POLICIES, told())
@settings(max_examples=examples(150))
def test_a_stop_never_earns_and_a_target_never_loses(policy: Policy, rows: list[Row]) -> None:
    free = Policy.from_dict(policy.as_dict() | {"fee_bps": 0.0, "slippage_bps": 0.0})
    done, ledger = LedgerRows.empty(len(rows)), ledger_of(free, rows)
    ledger.run(*columns(rows), rows=done, terms=terms_of(rows))
    entry: dict[int, tuple[float, float]] = {}  # the position of each symbol, and the price that opened it
    for row, (_, symbol, _, price, _) in enumerate(rows):
        quantity, opened_at = entry.get(symbol, (0.0, 0.0))
        gain = np.sign(quantity) * (done.exit_price[row] - opened_at)
        closed_by = CloseReason(done.closed_by[row])
        assert closed_by is not CloseReason.STOP or gain <= 0.0
        assert closed_by is not CloseReason.TARGET or gain >= 0.0
        if done.position[row] != quantity or closed_by is not CloseReason.SIGNAL:
            entry[symbol] = (done.position[row], price)


@given(POLICIES, told(), st.data())
@settings(max_examples=examples(200))
def test_any_cut_with_brackets_ends_on_the_same_bytes(policy: Policy, rows: list[Row], data: Any) -> None:
    given_columns, terms = columns(rows), terms_of(rows)
    whole, whole_rows = ledger_of(policy, rows), LedgerRows.empty(len(rows))
    whole_accounts = np.empty((len(rows), at.ACCOUNT_SIZE))
    whole.run(*given_columns, rows=whole_rows, accounts=whole_accounts, terms=terms)

    cuts = sorted({0, len(rows), *data.draw(st.lists(st.integers(0, len(rows)), max_size=8))})
    ledger, done = Ledger(policy), LedgerRows.empty(len(rows))
    accounts = np.empty_like(whole_accounts)
    for start, stop in pairwise(cuts):
        ledger.ensure_symbols(1 + int(given_columns[1][:stop].max()))
        ledger.run(
            *(column[start:stop] for column in given_columns), done.slice(start, stop), accounts[start:stop],
            terms=terms.slice(start, stop),
        )  # fmt: skip
        ledger = Ledger.from_bytes(policy, ledger.to_bytes())
    assert ledger.to_bytes() == whole.to_bytes()
    assert accounts.tobytes() == whole_accounts.tobytes()
    assert done.to_bytes() == whole_rows.to_bytes()


@given(POLICIES, told())
@settings(max_examples=examples(150))
def test_terms_that_say_nothing_change_no_byte(policy: Policy, rows: list[Row]) -> None:
    plain = Policy.from_dict(policy.as_dict() | {"stop_bps": 0.0, "take_bps": 0.0, "trail_bps": 0.0})
    n = len(rows)
    without, with_none = ledger_of(plain, rows), ledger_of(plain, rows)
    first, second = LedgerRows.empty(n), LedgerRows.empty(n)
    without.run(*columns(rows), rows=first)
    with_none.run(*columns(rows), rows=second, terms=SignalTerms(np.full((n, 6), np.nan)))
    assert with_none.to_bytes() == without.to_bytes()
    assert second.to_bytes() == first.to_bytes()


@given(st.lists(POLICIES, min_size=1, max_size=4), told())
@settings(max_examples=examples(60))
def test_a_sweep_with_brackets_is_its_single_runs(policies: list[Policy], rows: list[Row]) -> None:
    table = sweep(policies, *columns(rows), terms=terms_of(rows))
    for policy, account in zip(policies, table, strict=True):
        ledger = ledger_of(policy, rows)
        ledger.run(*columns(rows), terms=terms_of(rows))
        assert account.tobytes() == ledger.account.tobytes()


@given(POLICIES, st.integers(0, 2**32), st.sampled_from([1, 3]))
@settings(max_examples=examples(30))
def test_long_streams_with_brackets_are_the_reference(policy: Policy, seed: int, symbols: int) -> None:
    random = np.random.default_rng(seed)
    n = 900
    prices = 100.0 * np.exp(np.cumsum(random.normal(0.0, 0.004, n)))
    stamps = START_US + 60_000_000 * np.arange(n)
    actions = np.where(random.random(n) < 0.1, random.integers(-1, 3, n), 0)
    symbol = random.integers(0, symbols, n)
    # Nothing is said in the first half: blocks with and without brackets follow one another.
    speaks = (random.random(n) < 0.3) & (np.arange(n) > n // 2)
    rows: list[Row] = [
        (
            int(stamps[row]), int(symbol[row]), int(actions[row]), float(prices[row]),
            Said(stop_loss=float(prices[row]) * 0.99, trailing_stop_bps=80.0, expires=int(stamps[row]) + 900_000_000)
            if speaks[row]
            else Said(),
        )
        for row in range(n)
    ]  # fmt: skip
    done, ledger = LedgerRows.empty(n), ledger_of(policy, rows)
    half = n // 2
    given_columns, terms = columns(rows), terms_of(rows)
    ledger.run(*(column[:half] for column in given_columns), rows=done.slice(0, half))
    ledger.run(
        *(column[half:] for column in given_columns), rows=done.slice(half, n), terms=terms.slice(half, n)
    )
    reference = ReferenceLedger(policy)
    check_rows(done, [reference.take(*row) for row in rows])
