"""Who earned what: the profit of each closed trade, shared out to the strategies whose votes led to it.

    attributor = Attributor()
    attribution = attributor.on_fill(fill, decision)    # a TradeAttribution when the fill closed a trade
    attributor.records()                                # each strategy so far

A trade is a position from flat to flat, however many fills it takes; a fill that turns a position closes one trade and
opens another. Its profit is what came in less what was paid, fees and funding included.

Half of it goes by its opening and half by its closing. Of each decision, those votes share that agree with what was
done (opening: the trade's side; closing: any other side, or flat), in proportion to their weights; decisions of one
trade count by the quantities that they opened or closed. Where one half has no such vote, the other counts whole.
Where neither has, all of it goes to a name that is no strategy's: `stop` where no decision closed it (a bracket),
`overruled` where one did against all votes (a model's verdict), else the `reason` of the decision that closed it, which
came without votes (`flatten`).

docs/weighing.md has the formulas.
"""

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import msgspec

from raysignal.engine.core.amounts import ZERO, less, minus, product, ratio, total
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.events import FundingPayment, OrderFill, PositionDecision, TradeAttribution

BRACKET, OVERRULED = "stop", "overruled"
_DUST = Decimal("1e-12")  # of what was opened: less is what floats were rounded by, and no position


@dataclass(frozen=True, slots=True)
class StrategyRecord:
    """What a strategy was worth, over trades that it had a share in; money in the quote currency, after fees.

    Attributes:
        trades: how many.
        hit_rate: share of them in which it earned something.
        payoff: its mean profit in those it earned in / its mean loss in those it lost in; None without one of either.
        contribution: the sum of its shares; over all strategies, the profit of all trades.
        expectancy: the same, a trade.
        turnover: what was bought and sold on its account.
    """

    strategy: str
    trades: int
    hit_rate: float
    payoff: float | None
    contribution: float
    expectancy: float
    turnover: float


class _Earnings(msgspec.Struct):
    """Of one strategy: counts and sums."""

    trades: int = 0
    wins: int = 0
    losses: int = 0
    won: float = 0.0
    lost: float = 0.0
    turnover: float = 0.0

    def record(self, strategy: str) -> StrategyRecord:
        payoff = self.won / self.wins / (self.lost / self.losses) if self.wins and self.losses else None
        earned = self.won - self.lost
        return StrategyRecord(
            strategy,
            self.trades,
            self.wins / self.trades,
            payoff,
            earned,
            earned / self.trades,
            self.turnover,
        )


class _OpenTrade(msgspec.Struct):
    """A position and how it came about.

    `paid`: what went out less what came in; `opening`, `closing`: quantities by whose votes agreed.
    """

    side: int
    opened_us: int
    held: Decimal = ZERO
    opened: Decimal = ZERO
    paid: Decimal = ZERO
    traded: Decimal = ZERO
    opening: dict[str, float] = {}
    closing: dict[str, float] = {}

    def take(self, side: int, quantity: Decimal, price: Decimal, fee: Decimal) -> None:
        """A fill of it, or the part of one that is."""
        value = product(quantity, price)
        self.traded = total((self.traded, value))
        self.paid = total((self.paid, value if side > 0 else minus(value), fee))
        if side == self.side:
            self.held = total((self.held, quantity))
            self.opened = total((self.opened, quantity))
        else:
            self.held = less(self.held, quantity)


class Attributor:
    """The open trades of a portfolio and the records of its strategies. See the module."""

    def __init__(self) -> None:
        self._open: dict[str, _OpenTrade] = {}
        self._earnings: dict[str, _Earnings] = {}

    def on_fill(self, fill: OrderFill, decision: PositionDecision | None) -> TradeAttribution | None:
        """Take the next fill in; what the trade that it closed was worth to whom, if it closed one.

        Args:
            fill: of a portfolio, in the order in which they are booked.
            decision: what the order was made for; None: nothing decided it, as with a bracket.

        Raises:
            InvalidField: a quantity or a price that is not above 0; nothing changed.
        """
        quantity, price, fee = (_decimal(fill, name) for name in ("quantity", "price", "fee"))
        trade, closed = self._open.get(fill.symbol), None
        if trade is not None and trade.side != fill.side:
            dust, rest = product(trade.opened, _DUST), less(quantity, trade.held)
            opens = rest if rest > dust else ZERO
            closes = less(quantity, opens)
            own_fee = product(fee, ratio(closes, quantity)) if opens else fee
            trade.take(fill.side, closes, price, own_fee)
            _agree(trade.closing, decision, closes, {0, fill.side})
            if trade.held > dust:
                return None
            closed = _attribution(trade, fill, decision)
            _count(self._earnings, closed)
            del self._open[fill.symbol]
            trade, quantity, fee = None, opens, less(fee, own_fee)
        if quantity > ZERO:
            if trade is None:
                trade = self._open[fill.symbol] = _OpenTrade(fill.side, fill.at_us)
            trade.take(fill.side, quantity, price, fee)
            _agree(trade.opening, decision, quantity, {fill.side})
        return closed

    def on_funding(self, payment: FundingPayment) -> None:
        """What the open trade of a symbol paid for being held."""
        trade = self._open.get(payment.symbol)
        if trade is not None:
            trade.paid = total((trade.paid, Decimal(payment.amount)))

    def records(self) -> tuple[StrategyRecord, ...]:
        """Of all closed trades, in the order of the names."""
        return tuple(self._earnings[name].record(name) for name in sorted(self._earnings))


def _count(earnings: dict[str, _Earnings], attribution: TradeAttribution) -> None:
    for name, share in attribution.shares.items():
        of_name = earnings.setdefault(name, _Earnings())
        of_name.trades += 1
        of_name.turnover += attribution.turnover[name]
        if share > 0.0:
            of_name.wins += 1
            of_name.won += share
        elif share < 0.0:
            of_name.losses += 1
            of_name.lost -= share


def _agree(
    half: dict[str, float], decision: PositionDecision | None, quantity: Decimal, sides: Container[int]
) -> None:
    """Share a quantity among the decision's votes for one of these sides, by their weights."""
    votes = () if decision is None else decision.votes
    agreed = [vote for vote in votes if vote.side in sides and vote.weight > 0.0]
    whole = sum(vote.weight for vote in agreed)
    for vote in agreed:
        half[vote.strategy] = half.get(vote.strategy, 0.0) + float(quantity) * (vote.weight / whole)


def _attribution(trade: _OpenTrade, fill: OrderFill, decision: PositionDecision | None) -> TradeAttribution:
    """A trade that its last fill has closed."""
    halves = [half for half in (trade.opening, trade.closing) if sum(half.values()) > 0.0]
    parts: dict[str, float] = {}
    for half in halves:
        whole = sum(half.values()) * len(halves)
        for name, quantity in half.items():
            parts[name] = parts.get(name, 0.0) + quantity / whole
    parts = parts or {_bucket(decision): 1.0}
    pnl = float(minus(trade.paid))
    return TradeAttribution(
        at_us=fill.at_us, symbol=fill.symbol, opened_us=trade.opened_us, pnl=pnl, shares=_shares(pnl, parts),
        turnover=_shares(float(trade.traded), parts),
    )  # fmt: skip


def _shares(amount: float, parts: Mapping[str, float]) -> dict[str, float]:
    """An amount by parts that sum to 1; what rounding leaves goes to the largest."""
    shares = {name: amount * part for name, part in parts.items()}
    largest = max(parts, key=lambda name: parts[name])
    shares[largest] += amount - math.fsum(shares.values())
    return shares


def _bucket(decision: PositionDecision | None) -> str:
    if decision is None:
        return BRACKET
    return OVERRULED if decision.votes else decision.reason


def _decimal(fill: OrderFill, name: str) -> Decimal:
    """An amount of a fill; quantity and price above 0, the fee any."""
    text = getattr(fill, name)
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or (name != "fee" and amount <= ZERO):
        expected = "a decimal number" if name == "fee" else "a decimal number above 0"
        raise InvalidField(name, text, f"{expected}, of fill {fill.identity}")
    return amount
