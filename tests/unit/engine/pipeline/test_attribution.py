"""Who earned what of a trade, however many fills it takes, and the records of strategies."""

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysignal.engine.core.columns import TextColumn
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.events import OrderFill, PositionDecision, TradeAttribution, Vote
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.engine.pipeline.attribution import Attributor
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.trades import TradeFold, TradeRows
from tests.support.effort import examples

SYMBOL = "BTC"
DAY_US = 86_400_000_000


def fill(
    side: int, quantity: str, price: str, at_us: int = 0, fee: str = "0", symbol: str = SYMBOL
) -> OrderFill:
    return OrderFill(
        at_us=at_us, symbol=symbol, client_id="order", ordinal=at_us, side=side, quantity=quantity, price=price,
        fee=fee, decided_price=float(price),
    )  # fmt: skip


def decided(side: int, *votes: tuple[str, int, float], reason: str = "signal") -> PositionDecision:
    return PositionDecision(
        at_us=0, symbol=SYMBOL, side=side, size=abs(side) * 0.5, price=1.0, reason=reason,
        votes=tuple(Vote(*vote) for vote in votes),
    )  # fmt: skip


LONG = decided(1, ("alpha", 1, 0.5), ("beta", 1, 0.25), ("gamma", -1, 0.25))
FLAT = decided(0, ("alpha", 0, 0.2), ("beta", 1, 0.3), ("gamma", -1, 0.5))
STOPPED = None


def traded(*fills: tuple[OrderFill, PositionDecision | None]) -> list[TradeAttribution]:
    attributor = Attributor()
    return [closed for each, why in fills if (closed := attributor.on_fill(each, why)) is not None]


class TestShares:
    def test_half_goes_by_the_opening_and_half_by_the_closing(self) -> None:
        (trade,) = traded((fill(1, "2", "100", 1), LONG), (fill(-1, "2", "121", 9), FLAT))
        assert (trade.opened_us, trade.at_us, trade.pnl) == (1, 9, 42.0)
        assert trade.shares == pytest.approx(
            {"alpha": 21 * 2 / 3 + 21 * 2 / 7, "beta": 21 / 3, "gamma": 21 * 5 / 7}
        )

    def test_fees_are_part_of_the_profit(self) -> None:
        (trade,) = traded((fill(1, "1", "100", fee="0.1"), LONG), (fill(-1, "1", "100", fee="0.2"), FLAT))
        assert trade.pnl == -0.3

    def test_short_trade_earns_when_the_price_falls(self) -> None:
        short = decided(-1, ("gamma", -1, 1.0))
        (trade,) = traded((fill(-1, "1", "100"), short), (fill(1, "1", "90"), LONG))
        assert trade.shares == pytest.approx({"gamma": 5.0, "alpha": 10 / 3, "beta": 5 / 3})

    @pytest.mark.parametrize("why", [STOPPED, decided(0, reason="risk"), decided(0, ("beta", 1, 1.0))])
    def test_opening_counts_whole_where_nobody_voted_for_the_closing(
        self, why: PositionDecision | None
    ) -> None:
        (trade,) = traded((fill(1, "1", "100"), LONG), (fill(-1, "1", "97"), why))
        assert trade.shares == pytest.approx({"alpha": -2.0, "beta": -1.0})

    def test_closing_counts_whole_where_nobody_voted_for_the_opening(self) -> None:
        by_command = decided(1, reason="command")
        (trade,) = traded((fill(1, "1", "100"), by_command), (fill(-1, "1", "107"), FLAT))
        assert trade.shares == pytest.approx({"alpha": 2.0, "gamma": 5.0})

    @pytest.mark.parametrize(
        ("closing", "name"),
        [
            (STOPPED, "stop"),
            (decided(0, reason="risk"), "risk"),
            (decided(0, ("alpha", 1, 1.0)), "overruled"),
        ],
    )
    def test_trade_that_nobody_voted_for_has_a_name_of_its_own(
        self, closing: PositionDecision | None, name: str
    ) -> None:
        (trade,) = traded(
            (fill(1, "1", "100"), decided(1, reason="command")), (fill(-1, "1", "107"), closing)
        )
        assert trade.shares == {name: 7.0}


class TestFills:
    def test_trade_goes_from_flat_to_flat_however_many_fills_it_takes(self) -> None:
        other = decided(1, ("gamma", 1, 1.0))
        trades = traded(
            (fill(1, "1", "100", 1), LONG), (fill(1, "3", "104", 2), other), (fill(-1, "2", "110", 3), FLAT),
            (fill(-1, "2", "90", 4), STOPPED),
        )  # fmt: skip
        (trade,) = trades
        assert (trade.opened_us, trade.at_us, trade.pnl) == (1, 4, -12.0)
        # A quarter of what was opened is alpha's and beta's; all that votes closed is alpha's and gamma's.
        opening = {"alpha": -6 / 4 * 2 / 3, "beta": -6 / 4 / 3, "gamma": -6 * 3 / 4}
        closing = {"alpha": -6 * 2 / 7, "beta": 0.0, "gamma": -6 * 5 / 7}
        assert trade.shares == pytest.approx({name: opening[name] + closing[name] for name in opening})
        assert sum(trade.turnover.values()) == pytest.approx(100 + 312 + 220 + 180)

    def test_fill_that_turns_a_position_closes_one_trade_and_opens_another(self) -> None:
        turn = decided(-1, ("alpha", 1, 0.4), ("gamma", -1, 0.6))
        first, second = traded(
            (fill(1, "1", "100", 1), LONG), (fill(-1, "3", "110", 5, fee="3"), turn),
            (fill(1, "2", "100", 9), decided(1, ("beta", 1, 1.0))),
        )  # fmt: skip
        assert (first.opened_us, first.at_us, first.pnl) == (1, 5, 9.0)
        assert (second.opened_us, second.at_us, second.pnl) == (5, 9, 18.0)
        assert second.shares == pytest.approx({"gamma": 9.0, "beta": 9.0})

    def test_what_floats_are_rounded_by_is_no_position(self) -> None:
        (trade,) = traded(
            (fill(1, "0.1", "100", 1), LONG), (fill(1, "0.2", "100", 2), LONG),
            (fill(-1, "0.30000000000000004", "110", 3), FLAT),
        )  # fmt: skip
        assert trade.pnl == pytest.approx(3.0)

    def test_smallest_weights_and_quantities_still_share(self) -> None:
        tiny = decided(1, ("alpha", 1, 5e-324))
        (trade,) = traded((fill(1, "0.001", "100", 1), tiny), (fill(-1, "0.001", "110", 2), STOPPED))
        assert trade.shares == {"alpha": 0.01}
        (trade,) = traded((fill(1, "1e-400", "100", 1), tiny), (fill(-1, "1e-400", "110", 2), STOPPED))
        assert trade.shares == {"stop": 0.0}

    @pytest.mark.parametrize(
        ("name", "value"), [("quantity", "0"), ("quantity", "-1"), ("price", "nan"), ("fee", "much")]
    )
    def test_fill_that_is_none_is_refused_and_changes_nothing(self, name: str, value: str) -> None:
        attributor = Attributor()
        attributor.on_fill(fill(1, "1", "100"), LONG)
        with pytest.raises(InvalidField, match=rf"{name} is .*{value}.* a decimal number.*order:0"):
            attributor.on_fill(fill(-1, **{"quantity": "1", "price": "100"} | {name: value}), FLAT)
        closed = attributor.on_fill(fill(-1, "1", "110"), FLAT)
        assert closed is not None
        assert closed.pnl == 10.0


class TestRecords:
    def test_often_right_and_dear_when_wrong_shows_in_the_record(self) -> None:
        attributor = Attributor()
        closed = []
        for trade in range(20):
            price = "101" if trade % 5 in {0, 1, 3} else "98"
            attributor.on_fill(
                fill(1, "1", "100", 2 * trade), decided(1, ("often", 1, 0.7), ("seldom", -1, 0.3))
            )
            closed.append(
                attributor.on_fill(fill(-1, "1", price, 2 * trade + 1), decided(0, ("often", 0, 1.0)))
            )
        (record,) = attributor.records()
        assert (record.strategy, record.trades, record.hit_rate, record.payoff) == ("often", 20, 0.6, 0.5)
        assert (record.contribution, record.expectancy) == pytest.approx((-4.0, -0.2))
        assert record.turnover == pytest.approx(20 * 100 + 12 * 101 + 8 * 98)


@st.composite
def decisions(draw: st.DrawFn) -> PositionDecision | None:
    votes = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["alpha", "beta", "gamma"]), st.sampled_from([1, -1, 0]), st.floats(0.0, 1.0)
            ),
            max_size=3,
            unique_by=lambda vote: vote[0],
        )
    )
    return draw(
        st.sampled_from([None, decided(draw(st.sampled_from([1, -1, 0])), *votes, reason=draw(REASON))])
    )


REASON = st.sampled_from(["signal", "risk", "command"])
AMOUNT = st.decimals("0.001", "1000", places=3)
FILLS = st.lists(
    st.tuples(
        st.sampled_from([1, -1]), st.sampled_from(["0.5", "1", "1.5"]) | AMOUNT.map(str), AMOUNT.map(str),
        st.decimals("-1", "10", places=4).map(str), st.sampled_from([SYMBOL, "ETH"]), decisions(),
    ),
    max_size=20,
)  # fmt: skip


def numbered(
    rows: list[tuple[int, str, str, str, str, Any]],
) -> list[tuple[OrderFill, PositionDecision | None]]:
    return [
        (fill(side, quantity, price, at_us, fee, symbol), decision)
        for at_us, (side, quantity, price, fee, symbol, decision) in enumerate(rows)
    ]


class TestFillsAtRandom:
    @given(FILLS)
    @settings(max_examples=examples(100))
    def test_shares_sum_to_the_trade_and_trades_to_the_account(self, rows: list[Any]) -> None:
        attributor, closed = Attributor(), []
        cash, held = Decimal(0), {SYMBOL: Decimal(0), "ETH": Decimal(0)}
        earned = 0.0
        for each, decision in numbered(rows):
            quantity = each.side * Decimal(each.quantity)
            cash -= quantity * Decimal(each.price) + Decimal(each.fee)
            held[each.symbol] += quantity
            trade = attributor.on_fill(each, decision)
            if trade is not None:
                closed.append(trade)
                earned += trade.pnl
                assert abs(math.fsum(trade.shares.values()) - trade.pnl) <= 1e-9
                assert trade.shares.keys() == trade.turnover.keys()
            if not any(held.values()):
                assert earned == pytest.approx(float(cash), rel=1e-12, abs=1e-9)
        records = attributor.records()
        assert sum(record.contribution for record in records) == pytest.approx(earned, rel=1e-9, abs=1e-9)

    @given(
        st.sampled_from(["long-flat", "long-short"]),
        st.lists(st.tuples(st.sampled_from([1, -1, 2, 0]), st.floats(50.0, 200.0)), min_size=1, max_size=40),
    )
    @settings(max_examples=examples(50))
    def test_trades_are_those_of_the_kernels_rows(self, side: Any, rows: list[tuple[int, float]]) -> None:
        policy, n = Policy(side=side, fee_bps=10.0, slippage_bps=5.0), len(rows)
        stamps, code = np.arange(n, dtype=np.int64), np.zeros(n, np.int32)
        prices = np.array([price for _, price in rows])
        done, ledger = LedgerRows.empty(n), Ledger(policy)
        ledger.ensure_symbols(1)
        ledger.run(stamps, code, np.array([action for action, _ in rows], np.int8), prices, done)
        expected: pa.Table = TradeFold().run(
            TradeRows.of(0, stamps, code, (SYMBOL,), prices, TextColumn.empty(n), done)
        )
        quantities, at, fees = (column.tolist() for column in (done.fill_quantity, done.fill_price, done.fee))
        fills = [
            fill(1 if quantity > 0 else -1, repr(abs(quantity)), repr(price), row, repr(fee))
            for row, (quantity, price, fee) in enumerate(zip(quantities, at, fees, strict=True))
            if quantity
        ]
        found = traded(*((each, LONG) for each in fills))
        assert [trade.at_us for trade in found] == expected["exit_time"].cast(pa.int64()).to_pylist()
        assert [trade.opened_us for trade in found] == expected["entry_time"].cast(pa.int64()).to_pylist()
        assert [trade.pnl for trade in found] == pytest.approx(
            expected["pnl"].to_pylist(), rel=1e-9, abs=1e-6
        )
