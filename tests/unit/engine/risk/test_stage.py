"""Verdicts on decisions, limit by limit.

Unless a case says otherwise: equity 10 000, BTC at 100 since a second ago, ETH at 50, no fee. A size of 0.1 is 10 BTC.
"""

import math

import pytest

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.events import (
    Command,
    CommandKind,
    PositionDecision,
    RiskOutcome,
    RiskVerdict,
    Vote,
)
from raysignal.engine.risk.limits import RiskLimits
from raysignal.engine.risk.stage import AccountView, MarketPrice, RiskStage, leading_strategies

NOW_US = 1_000_000_000
SECOND_US = 1_000_000
ALLOW, REDUCE, REFUSE = RiskOutcome


def view(btc=0.0, eth=0.0, equity=10_000.0, btc_price=100.0, age_s=1.0, now_us=NOW_US):
    seen_us = int(now_us - age_s * SECOND_US)
    prices = {"BTC": MarketPrice(btc_price, seen_us), "ETH": MarketPrice(50.0, seen_us)}
    return AccountView(now_us=now_us, equity=equity, positions={"BTC": btc, "ETH": eth}, prices=prices)


def decision(size, price=100.0, votes=(), at_us=NOW_US, symbol="BTC"):
    """Its side is the sign of `size`."""
    side = int(math.copysign(1, size)) if size else 0
    return PositionDecision(
        at_us=at_us, symbol=symbol, side=side, size=abs(size), price=price, votes=tuple(votes)
    )


def ordered(stage, times, *, symbol="BTC", votes=(), age_s=30):
    """So many orders so long ago."""
    for _ in range(times):
        each = decision(0.1, at_us=NOW_US - age_s * SECOND_US, symbol=symbol, votes=votes)
        stage.count_order(
            RiskVerdict(at_us=each.at_us, symbol=symbol, decision=each, outcome=ALLOW, target=1.0)
        )


# limits, what is held, size that is wanted, how the case differs, outcome, target, reason
SIZES = [
    ({"position_quantity": 20}, {}, 0.2, ALLOW, 20.0, None),
    ({"position_quantity": 20}, {}, 0.3, REDUCE, 20.0, "position_quantity is 30; at most 20"),
    ({"position_quantity": 20}, {}, -0.3, REDUCE, -20.0, "position_quantity is 30; at most 20"),
    ({"position_quantity": 20}, {"btc": 20}, 0.3, REFUSE, 20.0, "position_quantity is 30; at most 20"),
    ({"position_quantity": 20}, {"btc": 25}, 0.3, REFUSE, 25.0, "position_quantity is 30; at most 20"),
    ({"position_quantity": 20}, {"btc": 50}, 0.3, ALLOW, 30.0, None),
    ({"position_quantity": 20}, {"btc": 50}, -0.3, REDUCE, -20.0, "position_quantity is 30; at most 20"),
    ({"position_quantity": 0}, {}, 0.1, REFUSE, 0.0, "position_quantity is 10; at most 0"),
    ({"position_notional": 2_000}, {}, 0.2, ALLOW, 20.0, None),
    ({"position_notional": 2_000}, {}, 0.3, REDUCE, 20.0, "position_notional is 3000; at most 2000"),
    ({"position_notional": 2_000}, {"btc": -20}, -0.3, REFUSE, -20.0, "position_notional is 3000; at most 2000"),
    # The decision's price makes the quantity, the market's its worth: 30 at 125 are 3 750.
    ({"position_notional": 2_000}, {"btc_price": 125.0}, 0.3, REDUCE, 16.0, "position_notional is 3750; at most 2000"),
    ({"gross_notional": 8_000}, {"eth": -100}, 0.3, ALLOW, 30.0, None),
    ({"gross_notional": 8_000}, {"eth": -100}, 0.4, REDUCE, 30.0, "gross_notional is 9000; at most 8000"),
    ({"gross_notional": 8_000}, {"eth": -180}, 0.4, REFUSE, 0.0, "gross_notional is 13000; at most 8000"),
    ({"gross_notional": 8_000}, {"eth": -180, "btc": 5}, 0.4, REFUSE, 5.0, "gross_notional is 13000; at most 8000"),
    ({"leverage": 1.5}, {"eth": 200}, 0.5, ALLOW, 50.0, None),
    ({"leverage": 1.5}, {"eth": 200}, 0.8, REDUCE, 50.0, "leverage is 1.8; at most 1.5"),
    ({"leverage": 1.5}, {"eth": 300}, 0.8, REFUSE, 0.0, "leverage is 2.3; at most 1.5"),
    # Of the equity, while the positions are worth less than that.
    ({"concentration": 0.25}, {}, 0.25, ALLOW, 25.0, None),
    ({"concentration": 0.25}, {"eth": 20}, 0.5, REDUCE, 25.0, "concentration is 0.5; at most 0.25"),
    ({"concentration": 0.25}, {"btc": 30}, 0.5, REFUSE, 30.0, "concentration is 0.5; at most 0.25"),
    # Of the gross notional, where that is more: 5 000 of 20 000 are a quarter.
    ({"concentration": 0.25}, {"eth": 300}, 0.5, ALLOW, 50.0, None),
    ({"concentration": 0.25}, {"eth": 300}, 0.6, REDUCE, 50.0, "concentration is 0.2857142857; at most 0.25"),
    ({"concentration": 1}, {"eth": 300}, 1.0, ALLOW, 100.0, None),
]  # fmt: skip

# The others leave what is held and less, or all.
FRESH, OLD = {"age_s": 60}, {"age_s": 61}
MOMENTS = [
    ({"stale_market_s": 60}, FRESH, 0.3, ALLOW, 30.0, None),
    ({"stale_market_s": 60}, OLD | {"btc": 5}, -0.3, REDUCE, 0.0, "stale_market_s is 61; at most 60"),
    ({"stale_market_s": 60}, OLD, 0.3, REFUSE, 0.0, "stale_market_s is 61; at most 60"),
    ({"stale_market_s": 60}, OLD | {"btc": 5}, 0.3, REFUSE, 5.0, "stale_market_s is 61; at most 60"),
    ({"stale_market_s": 60}, OLD | {"btc": 50}, 0.3, ALLOW, 30.0, None),
    ({"stale_market_s": 60}, OLD | {"btc": 50}, 0.0, ALLOW, 0.0, None),
    ({"price_collar_bps": 25}, {"btc_price": 100.25}, 0.3, ALLOW, 30.0, None),
    ({"price_collar_bps": 25}, {"btc_price": 80.0, "btc": -5}, 0.3, REDUCE, 0.0,
     "price_collar_bps is 2500, price 100 from the market's 80; at most 25"),
    ({"price_collar_bps": 25}, {"btc_price": 125.0}, 0.3, REFUSE, 0.0,
     "price_collar_bps is 2000, price 100 from the market's 125; at most 25"),
    ({}, {"equity": -5.0, "btc": -3}, -0.3, REFUSE, -3.0, "equity is -5; above 0"),
    ({}, {"equity": 0.0, "btc": -3}, 0.3, REDUCE, 0.0, "equity is 0; above 0"),
    ({}, {"equity": math.nan}, 0.3, REFUSE, 0.0, "equity is nan; above 0"),
    ({}, {"equity": math.nan, "btc": 3}, 0.0, ALLOW, 0.0, None),
]  # fmt: skip


@pytest.mark.parametrize(("limits", "held", "size", "outcome", "target", "reason"), SIZES + MOMENTS)
def test_a_decision_is_allowed_reduced_or_refused(limits, held, size, outcome, target, reason):
    asked = decision(size)
    verdict = RiskStage(RiskLimits.from_mapping(limits)).on(asked, view(**held))
    assert verdict == RiskVerdict(
        at_us=NOW_US,
        symbol="BTC",
        decision=asked,
        outcome=outcome,
        target=pytest.approx(target, rel=1e-12),
        reasons=() if reason is None else (reason,),
    )


@pytest.mark.parametrize(
    ("orders", "held", "size", "outcome", "target"),
    [
        (1, 0, 0.3, ALLOW, 30.0),
        (2, 5, -0.3, REDUCE, 0.0),
        (2, 0, 0.3, REFUSE, 0.0),
        (2, 5, 0.0, ALLOW, 0.0),
    ],
)
def test_orders_of_the_last_minute_are_counted(orders, held, size, outcome, target):
    stage = RiskStage(RiskLimits(orders_per_minute=2))
    ordered(stage, 5, age_s=60)
    ordered(stage, orders, age_s=59)
    verdict = stage.on(decision(size), view(btc=held))
    assert (verdict.outcome, verdict.target) == (outcome, target)
    if outcome is not ALLOW:
        assert verdict.reasons == ("orders_per_minute is 2 without this one; at most 2",)


def test_orders_that_are_a_minute_old_are_forgotten():
    stage = RiskStage(RiskLimits())
    ordered(stage, 5, age_s=90)
    ordered(stage, 1, age_s=30)
    assert len(stage._orders) == 1


@pytest.mark.parametrize(
    ("age_s", "held", "size", "outcome", "target", "reasons"),
    [
        (300, 0, 0.3, ALLOW, 30.0, ()),
        (301, 5, -0.3, REDUCE, 0.0, ("stale_model_s is 301; at most 300",)),
        (301, 0, 0.3, REFUSE, 0.0, ("stale_model_s is 301; at most 300",)),
        (None, 0, 0.3, REFUSE, 0.0, ("stale_model_s: nothing is known yet; at most 300",)),
        (None, 5, 0.0, ALLOW, 0.0, ()),
    ],
)
def test_a_model_that_is_silent_for_too_long_opens_nothing(age_s, held, size, outcome, target, reasons):
    stage = RiskStage(RiskLimits(stale_model_s=300))
    if age_s is not None:
        stage.count_model(NOW_US - age_s * SECOND_US)
    verdict = stage.on(decision(size), view(btc=held))
    assert (verdict.outcome, verdict.target, verdict.reasons) == (outcome, target, reasons)


LOSSES = [{"daily_loss_share": 0.02}, {"daily_loss_money": 200}, {"drawdown_share": 0.02}]


@pytest.mark.parametrize("limit", LOSSES)
@pytest.mark.parametrize(
    ("equity", "held", "size", "outcome", "target"),
    [
        (9_900.01, 0, 0.5, ALLOW, 50.0),
        (9_900.0, 5, -0.5, REDUCE, 0.0),
        (9_900.0, 5, 0.5, REFUSE, 5.0),
        (9_800.0, 5, -0.5, REDUCE, 0.0),
        (9_800.0, 0, 0.5, REFUSE, 0.0),
        (9_800.0, 80, 0.5, ALLOW, 50.0),
        (9_800.0, 80, 0.0, ALLOW, 0.0),
    ],
)
def test_a_loss_leaves_only_what_makes_positions_smaller(limit, equity, held, size, outcome, target):
    stage = RiskStage(RiskLimits(**limit, reduce_from_share=0.5))
    stage.breaker.mark(10_000.0, 0)
    stage.breaker.mark(equity, 1)
    verdict = stage.on(decision(size), view(btc=held))
    assert (verdict.outcome, verdict.target) == (outcome, target)
    if outcome is not ALLOW:
        (name,) = limit
        state = "halted" if equity == 9_800.0 else "reducing"
        assert verdict.reasons[0].startswith(f"trading is {state}: {name} is ")


def test_every_limit_that_has_something_to_say_is_named_and_the_tightest_counts():
    stage = RiskStage(RiskLimits(position_quantity=25, leverage=0.2, position_notional=2_200))
    verdict = stage.on(decision(0.3), view())
    assert verdict.target == 20.0
    assert verdict.reasons == (
        "leverage is 0.3; at most 0.2",
        "position_quantity is 30; at most 25",
        "position_notional is 3000; at most 2200",
    )


def test_a_fee_makes_the_quantity_smaller_as_in_the_kernel():
    verdict = RiskStage(RiskLimits(), fee_bps=10).on(decision(0.5), view())
    assert verdict.target == 0.5 * 10_000.0 / (100.0 * 1.001)


def test_a_position_exactly_at_its_limit_is_allowed_whatever_rounding_makes_of_it():
    stage = RiskStage(RiskLimits(leverage=1, concentration=0.3))
    for price in (0.1, 3.3, 7e-9, 98_765.4321):
        verdict = stage.on(decision(0.3, price=price), view(btc_price=price))
        assert verdict.outcome is ALLOW


def test_without_a_market_price_the_decisions_own_counts_and_collar_and_staleness_open_nothing():
    bare = AccountView(now_us=NOW_US, equity=10_000.0, positions={}, prices={})
    assert RiskStage(RiskLimits(position_notional=2_000)).on(decision(0.3), bare).target == 20.0
    verdict = RiskStage(RiskLimits(price_collar_bps=25, stale_market_s=60)).on(decision(0.3), bare)
    assert (verdict.outcome, verdict.reasons) == (
        REFUSE,
        (
            "price_collar_bps: no market price is known; at most 25",
            "stale_market_s: nothing is known yet; at most 60",
        ),
    )


def test_a_symbols_own_limits_count_instead_and_its_own_orders_beside():
    limits = {"position_quantity": 5, "orders_per_minute": 3}
    own = {"BTC": {"position_quantity": 20, "orders_per_minute": 2}}
    stage = RiskStage(RiskLimits.from_mapping(limits | {"symbols": own}))
    ordered(stage, 1, symbol="ETH")
    ordered(stage, 1)
    assert stage.on(decision(0.3), view()).reasons == ("position_quantity is 30; at most 20",)
    assert stage.on(decision(0.3, price=50.0, symbol="ETH"), view()).target == 5.0
    ordered(stage, 1)
    assert stage.on(decision(0.1), view()).reasons == (
        "orders_per_minute is 3 without this one; at most 3",
        "orders_per_minute of BTC is 2 without this one; at most 2",
    )


def test_a_strategys_limits_count_for_the_decisions_that_it_leads():
    own = {
        "sma": {"position_quantity": 5, "orders_per_minute": 1, "price_collar_bps": 1, "concentration": 0.04}
    }
    stage = RiskStage(RiskLimits.from_mapping({"position_quantity": 20, "strategies": own}))
    led = [Vote("sma", 1, 0.6), Vote("rsi", 1, 0.4)]
    follows = [Vote("sma", 1, 0.4), Vote("rsi", 1, 0.6)]
    ordered(stage, 1, votes=led)
    verdict = stage.on(decision(0.3, votes=led), view(btc_price=125.0, btc=3.0))
    assert (verdict.outcome, verdict.target) == (REFUSE, 3.0)
    assert verdict.reasons == (
        "position_quantity is 30; at most 20",
        "position_quantity of strategy sma is 30; at most 5",
        "concentration of strategy sma is 0.375; at most 0.04",
        "price_collar_bps of strategy sma is 2000, price 100 from the market's 125; at most 1",
        "orders_per_minute of strategy sma is 1 without this one; at most 1",
    )
    assert stage.on(decision(0.3, votes=follows), view()).reasons == ("position_quantity is 30; at most 20",)


@pytest.mark.parametrize(
    ("votes", "leading"),
    [
        ([("a", 1, 0.5), ("b", 1, 0.3), ("c", 0, 0.2)], ("a",)),
        ([("a", -1, 0.6), ("b", 1, 0.3), ("c", 1, 0.1)], ("b",)),
        ([("a", 1, 0.25), ("b", 1, 0.25), ("c", -1, 0.25), ("d", 0, 0.25)], ("a", "b")),
        ([("a", -1, 1.0)], ()),
        ([], ()),
    ],
)
def test_the_largest_weights_for_the_decided_side_lead(votes, leading):
    assert leading_strategies(decision(0.1, votes=[Vote(*each) for each in votes])) == leading


def test_asking_changes_nothing():
    stage = RiskStage(RiskLimits(orders_per_minute=1, position_quantity=5))
    assert stage.on(decision(0.3), view()) == stage.on(decision(0.3), view())


class TestAccount:
    """Two portfolios share an account: ours and another, which holds 30 BTC."""

    OTHER = view(btc=30.0)

    def verdict(self, limits, ours, size):
        stage = RiskStage(RiskLimits(), account=RiskStage(RiskLimits(**limits)))
        return stage.on(decision(size), ours, AccountView.total([ours, self.OTHER]))

    @pytest.mark.parametrize(
        ("limits", "held", "size", "outcome", "target", "reasons"),
        [
            ({"position_quantity": 50}, 0, 0.2, ALLOW, 20.0, ()),
            ({"position_quantity": 50}, 0, 0.5, REDUCE, 20.0,
             ("position_quantity of the account is 80; at most 50",)),
            ({"position_quantity": 50}, 20, 0.5, REFUSE, 20.0,
             ("position_quantity of the account is 80; at most 50",)),
            # Short here, the account comes nearer to nothing, and may go as far on the other side.
            ({"position_quantity": 50}, 0, -0.8, ALLOW, -80.0, ()),
            ({"position_quantity": 50}, 0, -0.9, REDUCE, -80.0,
             ("position_quantity of the account is 60; at most 50",)),
            # A position of ours is closed, also where the account's grows by that.
            ({"position_quantity": 5}, -30, 0.0, ALLOW, 0.0, ()),
            ({"position_quantity": 5}, -30, 0.3, REDUCE, 0.0,
             ("position_quantity of the account is 60; at most 5",)),
            ({"leverage": 0.25}, 0, 0.2, ALLOW, 20.0, ()),
            ({"leverage": 0.25}, 0, 0.3, REDUCE, 20.0, ("leverage of the account is 0.3; at most 0.25",)),
            ({"leverage": 0.15}, 0, 0.3, REFUSE, 0.0, ("leverage of the account is 0.3; at most 0.15",)),
        ],
    )  # fmt: skip
    def test_limits_count_for_the_sums(self, limits, held, size, outcome, target, reasons):
        verdict = self.verdict(limits, view(btc=held), size)
        assert (verdict.outcome, verdict.target, verdict.reasons) == (outcome, target, reasons)

    def test_its_breaker_its_orders_and_its_models_count_for_all(self):
        account = RiskStage(RiskLimits(orders_per_minute=2, drawdown_share=0.02, stale_model_s=300))
        first, second = RiskStage(RiskLimits(), account=account), RiskStage(RiskLimits(), account=account)
        first.count_model(NOW_US)
        ordered(first, 1)
        assert second.on(decision(0.1), view(), view()).outcome is ALLOW
        ordered(first, 1)
        account.breaker.mark(20_000.0, 0)
        account.breaker.mark(19_600.0, 1)
        assert second.on(decision(0.1), view(), view()).reasons == (
            "trading of the account is halted: drawdown_share is 0.02, equity 19600 of 20000; at most 0.02",
            "orders_per_minute of the account is 2 without this one; at most 2",
        )

    def test_is_asked_for_where_there_is_one(self):
        with pytest.raises(InvalidField, match="account is None"):
            RiskStage(RiskLimits(), account=RiskStage(RiskLimits())).on(decision(0.1), view())

    def test_sums_take_the_latest_price_of_each_symbol(self):
        ours = AccountView(
            now_us=7,
            equity=100.0,
            positions={"BTC": -1.0, "SOL": 4.0},
            prices={"BTC": MarketPrice(90.0, 6), "SOL": MarketPrice(20.0, 7)},
        )
        theirs = AccountView(
            now_us=5, equity=50.0, positions={"BTC": 3.0}, prices={"BTC": MarketPrice(91.0, 5)}
        )
        assert AccountView.total([ours, theirs]) == AccountView(
            now_us=7,
            equity=150.0,
            positions={"BTC": 2.0, "SOL": 4.0},
            prices={"BTC": MarketPrice(90.0, 6), "SOL": MarketPrice(20.0, 7)},
        )


def flatten(stage):
    stage.breaker.command(
        Command(at_us=1, symbol="", command=CommandKind.FLATTEN, who="ann", reason="going home")
    )


def test_flattening_names_what_is_held_until_nothing_is():
    stage = RiskStage(RiskLimits())
    assert stage.closings(view(btc=3.0)) == ()
    flatten(stage)
    held = AccountView(
        now_us=NOW_US,
        equity=1.0,
        positions={"ETH": -2.0, "SOL": 0.0, "BTC": 3.0},
        prices={"BTC": MarketPrice(99.0, NOW_US)},
    )
    closings = stage.closings(held)
    assert [(each.symbol, each.side, each.size, each.price, each.reason) for each in closings] == [
        ("BTC", 0, 0.0, 99.0, "flatten"),
        ("ETH", 0, 0.0, 0.0, "flatten"),
    ]
    assert [stage.on(each, held).target for each in closings] == [0.0, 0.0]
    assert [stage.on(each, held).outcome for each in closings] == [ALLOW, ALLOW]
    assert stage.closings(view()) == ()


def test_an_account_that_is_flattened_closes_what_each_portfolio_holds():
    account = RiskStage(RiskLimits())
    stage = RiskStage(RiskLimits(), account=account)
    flatten(account)
    assert [each.symbol for each in stage.closings(view(btc=3.0))] == ["BTC"]


@pytest.mark.parametrize("limits", LOSSES)
def test_a_loss_flattens_where_that_was_asked_for(limits):
    for asked in (False, True):
        stage = RiskStage(RiskLimits(**limits, flatten=asked))
        stage.breaker.mark(10_000.0, 0)
        stage.breaker.mark(9_800.0, 1)
        assert len(stage.closings(view(btc=1.0))) == asked


@pytest.mark.parametrize(
    ("wrong", "held", "field"),
    [
        ({"size": 1.5}, {}, "size"),
        ({"size": math.nan}, {}, "size"),
        ({"price": 0.0}, {}, "price"),
        ({"price": math.inf}, {}, "price"),
        ({"price": math.nan}, {}, "price"),
        ({"price": 1e-320}, {}, "price"),
        ({}, {"btc": math.nan}, "positions.BTC"),
        ({}, {"eth": math.inf}, "positions"),
        ({}, {"btc_price": 0.0}, "prices.BTC"),
    ],
)
def test_figures_that_cannot_be_used_are_refused_by_their_name(wrong, held, field):
    stage = RiskStage(RiskLimits(gross_notional=1_000))
    with pytest.raises(InvalidField) as refused:
        stage.on(decision(**({"size": 0.3} | wrong)), view(**held))
    assert refused.value.fields["field"] == field


def test_what_is_held_needs_a_price_where_a_limit_rests_on_it():
    unpriced = AccountView(
        now_us=NOW_US, equity=10_000.0, positions={"SOL": 4.0}, prices={"BTC": MarketPrice(100.0, NOW_US)}
    )
    with pytest.raises(InvalidField, match=r"prices\.SOL is None; expected a number above 0"):
        RiskStage(RiskLimits(leverage=1)).on(decision(0.3), unpriced)
    assert RiskStage(RiskLimits(position_quantity=5)).on(decision(0.3), unpriced).target == 5.0
