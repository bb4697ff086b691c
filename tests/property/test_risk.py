"""What holds of risk's verdicts whatever is held, decided and limited."""

from hypothesis import given, settings
from hypothesis import strategies as st

from raysignal.engine.core.events import PositionDecision, RiskOutcome, Vote
from raysignal.engine.risk.breaker import RiskBreaker, TradingState
from raysignal.engine.risk.limits import DecisionLimits, RiskLimits
from raysignal.engine.risk.stage import AccountView, MarketPrice, RiskStage
from tests.support.effort import examples

ALMOST = 1.0 + 1e-8
SYMBOLS = ("BTC", "ETH", "SOL")

money = st.floats(0.01, 1e9)
prices = st.floats(1e-6, 1e6)


def maybe(values):
    return st.none() | values


@st.composite
def scoped(draw):
    return DecisionLimits(
        position_quantity=draw(maybe(st.floats(0, 1e9))),
        position_notional=draw(maybe(money)),
        concentration=draw(maybe(st.floats(0.01, 1.0))),
        price_collar_bps=draw(maybe(st.floats(0, 20_000))),
        stale_market_s=draw(maybe(st.floats(1, 100))),
    )


@st.composite
def limits(draw):
    own = draw(scoped())
    return RiskLimits(
        position_quantity=own.position_quantity,
        position_notional=own.position_notional,
        concentration=own.concentration,
        price_collar_bps=own.price_collar_bps,
        stale_market_s=own.stale_market_s,
        gross_notional=draw(maybe(money)),
        leverage=draw(maybe(st.floats(0, 5))),
        drawdown_share=0.1,
        reduce_from_share=0.5,
        symbols=draw(st.dictionaries(st.sampled_from(SYMBOLS), scoped(), max_size=1)),
        strategies=draw(st.dictionaries(st.sampled_from("ab"), scoped(), max_size=2)),
    )


@st.composite
def views(draw):
    equity = draw(money)
    known = {symbol: MarketPrice(draw(prices), draw(st.integers(0, 60_000_000))) for symbol in SYMBOLS}
    shares = draw(st.lists(st.integers(-2_000, 2_000), min_size=3, max_size=3))
    positions = {
        symbol: share / 1_000 * equity / known[symbol].price
        for symbol, share in zip(SYMBOLS, shares, strict=True)
    }
    return AccountView(now_us=60_000_000, equity=equity, positions=positions, prices=known)


@st.composite
def decisions(draw, view):
    side = draw(st.sampled_from([1, 1, -1, -1, 0]))
    size = draw(st.floats(0.001, 1.0)) if side else 0.0
    price = view.prices["BTC"].price * draw(st.sampled_from([1.0, 1.0, 0.9, 1.003]))
    votes = draw(st.sampled_from([(), (Vote("a", side, 0.6), Vote("b", side, 0.4)), (Vote("b", side, 1.0),)]))
    return PositionDecision(at_us=60_000_000, symbol="BTC", side=side, size=size, price=price, votes=votes)


@st.composite
def cases(draw):
    set_limits, view = draw(limits()), draw(views())
    stage = RiskStage(set_limits, fee_bps=draw(st.sampled_from([0.0, 10.0])))
    stage.breaker.mark(10_000.0, 0)
    stage.breaker.mark(draw(st.sampled_from([10_000.0, 10_000.0, 9_400.0, 8_000.0])), 1)
    return stage, view, draw(decisions(view))


def held(view, quantity):
    """The portfolio once it holds so many BTC, at the same equity."""
    return AccountView(
        now_us=view.now_us,
        equity=view.equity,
        positions=view.positions | {"BTC": quantity},
        prices=view.prices,
    )


def unlimited(stage, decision, view):
    """The target where nothing is limited."""
    return decision.side * decision.size * view.equity / (decision.price * stage._gross)


def sizes(view):
    """The figure of every limit of size."""
    worth = {symbol: abs(quantity) * view.prices[symbol].price for symbol, quantity in view.positions.items()}
    gross = sum(worth.values())
    return {
        "position_quantity": abs(view.positions["BTC"]),
        "position_notional": worth["BTC"],
        "concentration": worth["BTC"] / max(gross, view.equity),
        "gross_notional": gross,
        "leverage": gross / view.equity,
    }


@given(cases())
@settings(max_examples=examples(200), deadline=None)
def test_a_verdict_keeps_to_the_limits_lies_on_the_way_and_stays_when_it_is_carried_out(case):
    stage, view, decision = case
    now, wanted = view.positions["BTC"], unlimited(stage, decision, view)
    verdict = stage.on(decision, view)
    # No limit is exceeded by more than before.
    before, after = sizes(view), sizes(held(view, verdict.target))
    own = stage.limits.of_symbol("BTC")
    for name, figure in after.items():
        most = getattr(own if hasattr(own, name) else stage.limits, name)
        if most is not None:
            assert figure <= max(most, before[name]) * ALMOST, name
    # The target lies between what is held and what was decided.
    slack = 1e-9 * max(abs(now), abs(wanted))
    assert min(now, wanted) - slack <= verdict.target <= max(now, wanted) + slack
    if verdict.outcome is RiskOutcome.REFUSE:
        assert verdict.target == now
    if verdict.outcome is RiskOutcome.ALLOW:
        assert verdict.target == wanted
    assert bool(verdict.reasons) == (verdict.outcome is not RiskOutcome.ALLOW)
    # Once it is held, the same decision leads to the same target.
    again = stage.on(decision, held(view, verdict.target))
    assert again.target == verdict.target
    if verdict.outcome is RiskOutcome.ALLOW:
        assert again.outcome is RiskOutcome.ALLOW


@given(cases(), st.integers(0, 1_000))
@settings(max_examples=examples(100), deadline=None)
def test_what_makes_a_position_smaller_is_never_refused(case, thousandths):
    stage, view, decision = case
    now = view.positions["BTC"]
    price = decision.price
    quantity = now * thousandths / 1_000
    size = abs(quantity) * price * stage._gross / view.equity
    if size > 1:
        return
    side = 0 if size == 0 else (1 if quantity > 0 else -1)
    smaller = PositionDecision(at_us=decision.at_us, symbol="BTC", side=side, size=size, price=price)
    if abs(unlimited(stage, smaller, view)) > abs(now):
        return  # by rounding
    verdict = stage.on(smaller, view)
    assert (verdict.outcome, verdict.reasons) == (RiskOutcome.ALLOW, ())
    assert abs(verdict.target - quantity) <= 1e-9 * abs(now)


@given(st.lists(st.tuples(st.floats(1.0, 1e6), st.integers(0, 40_000_000_000)), max_size=30), st.booleans())
@settings(max_examples=examples(100), deadline=None)
def test_a_breaker_never_goes_back_by_itself(steps, parts):
    set_limits = RiskLimits(
        drawdown_share=0.3,
        daily_loss_share=0.2,
        daily_loss_money=1_000,
        reduce_from_share=0.5 if parts else None,
        flatten=True,
    )
    order = list(TradingState)
    kept = RiskBreaker(set_limits)
    now_us, before = 0, 0
    for equity, later_us in steps:
        now_us += later_us
        kept.mark(equity, now_us)
        assert order.index(kept.trading) >= before
        before = order.index(kept.trading)
        assert kept.flatten == (kept.trading is TradingState.HALTED)
