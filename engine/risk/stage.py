"""Risk's stage of the decision path: a decision in, a verdict out. No clock, no IO; figures are plain floats.

What makes a position smaller is allowed, whatever the limits and the breaker say. Anything else is cut to what they
leave: a limit of size leaves the largest position that keeps within it (or what is held, where that is more already),
every other limit and the breaker leave what is held and less. Sizes count as within a limit up to a billionth of it
(`_ALMOST`), which is what rounding makes of a position that is exactly at it.
"""

import math
from collections import deque
from typing import NamedTuple

import msgspec

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.events import PositionDecision, RiskOutcome, RiskVerdict
from raysignal.engine.core.instants import MICROSECONDS
from raysignal.engine.risk.breaker import RiskBreaker, TradingState
from raysignal.engine.risk.limits import DecisionLimits, RiskLimits

_ALMOST = 1.0 + 1e-9
_MINUTE_US = 60 * MICROSECONDS
_BPS = 10_000.0


class MarketPrice(NamedTuple):
    """The last price of a market, in the quote currency, and when it was known."""

    price: float
    at_us: int


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """A portfolio, or an account, at an instant.

    Attributes:
        now_us: the instant.
        equity: cash and positions at their last prices, in the quote currency.
        positions: quantity by symbol, in the base currency; below 0: short. Orders on their way count as filled: what
            is not seen here can be decided twice.
        prices: by symbol, of every symbol that is held.
    """

    now_us: int
    equity: float
    positions: dict[str, float]
    prices: dict[str, MarketPrice]

    @classmethod
    def total(cls, views: "list[AccountView]") -> "AccountView":
        """Of the portfolios that share an account: sums, and the latest price of each symbol."""
        positions: dict[str, float] = {}
        prices: dict[str, MarketPrice] = {}
        for view in views:
            for symbol, quantity in view.positions.items():
                positions[symbol] = positions.get(symbol, 0.0) + quantity
            for symbol, price in view.prices.items():
                if symbol not in prices or price.at_us > prices[symbol].at_us:
                    prices[symbol] = price
        now_us = max(view.now_us for view in views)
        return cls(
            now_us=now_us, equity=sum(view.equity for view in views), positions=positions, prices=prices
        )


class CountedOrder(NamedTuple):
    """An order of the last 60 s; `strategies` led its decision."""

    at_us: int
    symbol: str
    strategies: tuple[str, ...]


class _Allowed:
    """What is left of a decision: positions from `low` to `high`, 0 and what is held always among them."""

    __slots__ = ("held", "high", "low", "reasons", "wanted")

    def __init__(self, held: float, wanted: float) -> None:
        self.held, self.wanted = held, wanted
        self.low, self.high = -math.inf, math.inf
        self.reasons: list[str] = []

    def only_smaller(self, reason: str) -> None:
        """Nothing but what is held and less."""
        self.low, self.high = max(self.low, min(0.0, self.held)), min(self.high, max(0.0, self.held))
        self.reasons.append(reason)

    def exceeds(self, most: float, rest: float) -> bool:
        """Leave at most so much of the symbol on either side, `rest` (of others) with it; whether more is wanted.

        What is more already may stay, on its side.
        """
        least, most = min(-most, rest + self.held), max(most, rest + self.held)
        if least * _ALMOST <= rest + self.wanted <= most * _ALMOST:
            return False
        self.low = max(self.low, min(least - rest, 0.0, self.held))
        self.high = min(self.high, max(most - rest, 0.0, self.held))
        return True

    def verdict(self, decision: PositionDecision) -> RiskVerdict:
        """What was left."""
        target = min(max(self.wanted, self.low), self.high) + 0.0  # no -0
        outcome = RiskOutcome.REDUCE if self.reasons else RiskOutcome.ALLOW
        if self.reasons and abs(target - self.held) <= (_ALMOST - 1.0) * max(abs(target), abs(self.held)):
            outcome, target = RiskOutcome.REFUSE, self.held
        return RiskVerdict(
            at_us=decision.at_us, symbol=decision.symbol, decision=decision, outcome=outcome, target=target,
            reasons=tuple(self.reasons),
        )  # fmt: skip


class _Case(NamedTuple):
    """A decision before a portfolio's limits, or an account's.

    Attributes:
        price: that the symbol's position is valued at.
        rest: what others hold of the symbol in the account, as a quantity; of a portfolio: 0.
        others: gross notional of the other symbols.
    """

    decision: PositionDecision
    view: AccountView
    price: float
    rest: float
    others: float


class RiskStage:
    """Limits and breaker of a portfolio, or of an account that several portfolios share.

    Args:
        limits: of it.
        fee_bps, slippage_bps: of a fill, as the portfolio's policy has them; not needed for an account.
        account: the stage of the account that the portfolio shares; its limits count beside the portfolio's.
    """

    def __init__(
        self,
        limits: RiskLimits,
        *,
        fee_bps: float = 0.0,
        slippage_bps: float = 0.0,
        account: "RiskStage | None" = None,
    ) -> None:
        self.limits = limits
        self.breaker = RiskBreaker(limits)
        self._orders: deque[CountedOrder] = deque()
        self._model_us: int | None = None
        self._gross, self._slippage = 1.0 + fee_bps / _BPS, slippage_bps / _BPS
        self._account = account
        self._of_symbol: dict[str, DecisionLimits] = {}
        self._needs_gross = (
            limits.gross_notional is not None
            or limits.leverage is not None
            or any(
                each.concentration is not None
                for each in (limits, *limits.symbols.values(), *limits.strategies.values())
            )
        )

    def on(
        self, decision: PositionDecision, view: AccountView, account: AccountView | None = None
    ) -> RiskVerdict:
        """What of the decision may be carried out; asking changes nothing.

        Args:
            decision: side and size, as a share of the portfolio's equity.
            view: the portfolio.
            account: the account that it shares, with this portfolio in it; needed exactly where there is one.

        Raises:
            InvalidField: a price, size, position or equity that is no usable number; no price of what is held.
        """
        held = view.positions.get(decision.symbol, 0.0)
        wanted = self._wanted(decision, view, held)
        if min(0.0, held) <= wanted <= max(0.0, held):
            return RiskVerdict(
                at_us=decision.at_us, symbol=decision.symbol, decision=decision, outcome=RiskOutcome.ALLOW,
                target=wanted,
            )  # fmt: skip
        allowed = _Allowed(held, wanted)
        self._limit(allowed, decision, view, "")
        if self._account is not None:
            if account is None:
                raise InvalidField("account", account, "the view of the account that the portfolio shares")
            self._account._limit(allowed, decision, account, " of the account")  # noqa: SLF001 - another of its kind
        return allowed.verdict(decision)

    def count_order(self, verdict: RiskVerdict) -> None:
        """An order was planned for it."""
        decision = verdict.decision
        while self._orders and self._orders[0].at_us <= verdict.at_us - _MINUTE_US:
            self._orders.popleft()
        self._orders.append(CountedOrder(verdict.at_us, verdict.symbol, leading_strategies(decision)))
        if self._account is not None:
            self._account.count_order(verdict)

    def count_model(self, at_us: int) -> None:
        """A model spoke: a verdict came, or an output."""
        self._model_us = at_us
        if self._account is not None:
            self._account.count_model(at_us)

    def closings(self, view: AccountView) -> tuple[PositionDecision, ...]:
        """Decisions that close what the portfolio holds, where the breaker, or the account's, says so; by symbol.

        Until nothing is held they are there at every call. Their price is the last one; 0 where there is none.
        """
        if not (self.breaker.flatten or (self._account is not None and self._account.breaker.flatten)):
            return ()
        unknown = MarketPrice(0.0, 0)
        return tuple(
            PositionDecision(
                at_us=view.now_us, symbol=symbol, side=0, size=0.0, price=view.prices.get(symbol, unknown).price,
                reason="flatten",
            )
            for symbol, quantity in sorted(view.positions.items())
            if quantity != 0.0
        )  # fmt: skip

    def _wanted(self, decision: PositionDecision, view: AccountView, held: float) -> float:
        """The quantity that the decision asks for, as in the kernel: `budget / (fill price * (1 + fee))`."""
        if not math.isfinite(held):
            raise InvalidField(f"positions.{decision.symbol}", held, "a finite quantity")
        if decision.side == 0:
            return 0.0
        if not 0.0 <= decision.size <= 1.0:
            raise InvalidField("size", decision.size, "a share of the equity from 0 to 1")
        if not 0.0 < decision.price < math.inf:
            raise InvalidField("price", decision.price, "a number above 0")
        if not 0.0 < view.equity < math.inf:
            return math.copysign(math.inf, decision.side)  # what it would be; `_limit` allows none of it
        price = decision.price * (1.0 + decision.side * self._slippage)
        quantity = decision.side * decision.size * view.equity / (price * self._gross)
        if not math.isfinite(quantity):
            raise InvalidField(
                "price", decision.price, "one at which a share of the equity is a finite quantity"
            )
        return quantity

    def _limit(self, allowed: _Allowed, decision: PositionDecision, view: AccountView, scope: str) -> None:
        """Cut what is allowed to what the breaker and all limits leave."""
        symbol, limits = decision.symbol, self.limits
        if self.breaker.trading is not TradingState.ACTIVE:
            allowed.only_smaller(f"trading{scope} is {self.breaker.trading}: {self.breaker.reason}")
        if not 0.0 < view.equity < math.inf:
            allowed.only_smaller(f"equity{scope} is {view.equity:.10g}; above 0")
            return
        rest = view.positions.get(symbol, 0.0) - allowed.held
        if not math.isfinite(rest):
            raise InvalidField(f"positions.{symbol}", rest, "a finite quantity")
        case = _Case(
            decision,
            view,
            price=_price(view, symbol) if symbol in view.prices else decision.price,
            rest=rest,
            others=_gross_without(symbol, view) if self._needs_gross else 0.0,
        )
        if limits.gross_notional is not None:
            _limit_gross(allowed, case, "gross_notional", scope, limits.gross_notional, 1.0)
        if limits.leverage is not None:
            _limit_gross(allowed, case, "leverage", scope, limits.leverage, view.equity)
        self._limit_in(allowed, case, self._limits_of(symbol), scope)
        own = limits.symbols.get(symbol)
        if own is not None and own.orders_per_minute is not None:
            self._limit_orders(allowed, case, own.orders_per_minute, f" of {symbol}{scope}", symbol=symbol)
        if limits.strategies:
            for strategy in leading_strategies(decision):
                if strategy in limits.strategies:
                    whose = f" of strategy {strategy}{scope}"
                    self._limit_in(allowed, case, limits.strategies[strategy], whose, strategy)

    def _limit_in(
        self, allowed: _Allowed, case: _Case, limits: DecisionLimits, scope: str, strategy: str = ""
    ) -> None:
        """The limits that there are for a portfolio, a symbol and a strategy."""
        _limit_position(allowed, case, limits, scope)
        _limit_price(allowed, case, limits, scope)
        if limits.stale_model_s is not None:
            _limit_age(
                allowed, "stale_model_s", scope, self._model_us, case.view.now_us, limits.stale_model_s
            )
        if limits.orders_per_minute is not None:
            self._limit_orders(allowed, case, limits.orders_per_minute, scope, strategy=strategy)

    def _limit_orders(
        self, allowed: _Allowed, case: _Case, most: int, scope: str, *, symbol: str = "", strategy: str = ""
    ) -> None:
        if len(self._orders) < most:
            return
        since_us = case.view.now_us - _MINUTE_US
        count = sum(
            order.at_us > since_us
            and (not symbol or order.symbol == symbol)
            and (not strategy or strategy in order.strategies)
            for order in self._orders
        )
        if count >= most:
            allowed.only_smaller(f"orders_per_minute{scope} is {count} without this one; at most {most}")

    def _limits_of(self, symbol: str) -> DecisionLimits:
        limits = self._of_symbol.get(symbol)
        if limits is None:
            limits = self._of_symbol[symbol] = self.limits.of_symbol(symbol)
        return limits


def leading_strategies(decision: PositionDecision) -> tuple[str, ...]:
    """Those whose votes for the decision's side have the largest weight: several where they are equal, or none."""
    votes = [vote for vote in decision.votes if vote.side == decision.side]
    most = max((vote.weight for vote in votes), default=0.0)
    return tuple(vote.strategy for vote in votes if vote.weight == most)


def _limit_gross(allowed: _Allowed, case: _Case, name: str, scope: str, most: float, unit: float) -> None:
    """A bound on the gross notional, in units of `unit` of the quote currency."""
    if allowed.exceeds(max(most * unit - case.others, 0.0) / case.price, case.rest):
        gross = case.others + abs(case.rest + allowed.wanted) * case.price
        allowed.reasons.append(f"{name}{scope} is {gross / unit:.10g}; at most {most:.10g}")


def _limit_position(allowed: _Allowed, case: _Case, limits: DecisionLimits, scope: str) -> None:
    quantity = abs(case.rest + allowed.wanted)
    most = limits.position_quantity
    if most is not None and allowed.exceeds(most, case.rest):
        allowed.reasons.append(f"position_quantity{scope} is {quantity:.10g}; at most {most:.10g}")
    most = limits.position_notional
    if most is not None and allowed.exceeds(most / case.price, case.rest):
        allowed.reasons.append(
            f"position_notional{scope} is {quantity * case.price:.10g}; at most {most:.10g}"
        )
    most = limits.concentration
    if most is not None and most < 1.0:
        # n / max(equity, others + n) <= most, solved for n.
        notional = max(most * case.view.equity, most / (1.0 - most) * case.others)
        if allowed.exceeds(notional / case.price, case.rest):
            share = quantity * case.price / max(case.view.equity, case.others + quantity * case.price)
            allowed.reasons.append(f"concentration{scope} is {share:.10g}; at most {most:.10g}")


def _limit_price(allowed: _Allowed, case: _Case, limits: DecisionLimits, scope: str) -> None:
    last = case.view.prices.get(case.decision.symbol)
    most = limits.price_collar_bps
    if most is not None:
        if last is None:
            allowed.only_smaller(f"price_collar_bps{scope}: no market price is known; at most {most:.10g}")
        else:
            away = abs(case.decision.price / last.price - 1.0) * _BPS
            if away > most * _ALMOST:
                allowed.only_smaller(
                    f"price_collar_bps{scope} is {away:.10g}, price {case.decision.price:.10g} from the market's "
                    f"{last.price:.10g}; at most {most:.10g}"
                )
    if limits.stale_market_s is not None:
        known_us = None if last is None else last.at_us
        _limit_age(allowed, "stale_market_s", scope, known_us, case.view.now_us, limits.stale_market_s)


def _limit_age(
    allowed: _Allowed, name: str, scope: str, known_us: int | None, now_us: int, most_s: float
) -> None:
    if known_us is None:
        allowed.only_smaller(f"{name}{scope}: nothing is known yet; at most {most_s:.10g}")
    elif (now_us - known_us) > most_s * MICROSECONDS:
        age_s = (now_us - known_us) / MICROSECONDS
        allowed.only_smaller(f"{name}{scope} is {age_s:.10g}; at most {most_s:.10g}")


def _price(view: AccountView, symbol: str) -> float:
    """The last price of what is held, or decided on."""
    last = view.prices.get(symbol)
    if last is None or not 0.0 < last.price < math.inf:
        raise InvalidField(
            f"prices.{symbol}", last and last.price, "a number above 0 for every symbol that is held"
        )
    return last.price


def _gross_without(symbol: str, view: AccountView) -> float:
    """Gross notional of all symbols but this one."""
    gross = 0.0
    for other, quantity in view.positions.items():
        if other != symbol and quantity != 0.0:
            gross += abs(quantity) * _price(view, other)
    if not gross < math.inf:
        raise InvalidField("positions", gross, "finite quantities, worth a finite sum")
    return gross
