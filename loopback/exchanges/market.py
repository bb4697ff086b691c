"""A made-up market of one instrument: order book, trades and klines that fit each other, the same for the same seed.

A hidden price wanders through regimes (up, down, calm), long enough that averages cross. At every step the best bid
and ask follow it: what they pass is traded away, what they leave behind is filled up, some orders near the best price
come, go and change, and now and then somebody takes a part of the best. Every change of a level counts the update id
up by one, so that a step's ids are a range without holes.

The book as it was after each of the last steps can be looked up by its update id: `at` is the truth that whoever
rebuilds the book from the messages is compared with.
"""

import math
from collections import deque
from dataclasses import dataclass
from random import Random

from raysignal.engine.core.market_events import Instrument

SECOND_US, MINUTE_US = 1_000_000, 60_000_000
FUNDING_EVERY_US = 8 * 60 * MINUTE_US
_YEAR_S = 365 * 86_400
_PRESENT = 0.85  # of the prices near the best ones have an order
_FIRST_UPDATE, _FIRST_TRADE = 1_000_000, 500_000
_DRIFTS = (0.0, 1.6, -1.6)  # of a regime's move, in standard deviations over its mean length
_SPREADS = (1, 1, 1, 2, 3)  # ticks between bid and ask
_LIQUIDATED = 0.05  # of seconds somebody is
_SECONDS_KEPT, _MINUTES_KEPT = 7_200, 100_000


@dataclass(frozen=True, slots=True)
class Print:
    """A trade: its id, price and size in ticks and lots, and 1 if the buyer took, -1 if the seller did."""

    number: int
    price: int
    size: int
    side: int


@dataclass(frozen=True, slots=True)
class GeneratedContract:
    """What an exchange says of a contract: prices in ticks, the rate as a text, open interest in lots."""

    mark: int
    index: int
    rate: str
    next_funding_us: int
    open_interest: int


@dataclass(frozen=True, slots=True)
class GeneratedBook:
    """A whole book: size by price, and the last update that is in it."""

    update_id: int
    exchange_us: int
    number: int
    bids: dict[int, int]
    asks: dict[int, int]


@dataclass(frozen=True, slots=True)
class Step:
    """What happened at one instant.

    Attributes:
        number: counts the steps that changed the book.
        first, last, previous: the update ids of the changes, and the last id before them; `first > last`: none.
        bids, asks: the changed levels, size by price; 0 is a level gone.
        touched: whether the best prices or their sizes changed.
        best: best bid, its size, best ask, its size.
    """

    exchange_us: int
    number: int
    first: int
    last: int
    previous: int
    bids: dict[int, int]
    asks: dict[int, int]
    trades: tuple[Print, ...]
    touched: bool
    best: tuple[int, int, int, int]


@dataclass(slots=True)
class GeneratedCandle:
    """A bar of trades; without trades all prices are the last one before."""

    open_us: int
    open: int
    high: int
    low: int
    close: int
    volume: int = 0
    trades: int = 0

    def take(self, price: int, size: int) -> None:
        """One more trade."""
        self.high, self.low, self.close = max(self.high, price), min(self.low, price), price
        self.volume += size
        self.trades += 1


@dataclass(frozen=True, slots=True)
class MarketMoves:
    """How a market moves.

    Attributes:
        price: the first one.
        step_us: virtual time from one step to the next.
        levels: prices a side that may hold orders.
        volatility: a year's standard deviation of the logarithm of the price.
        regime_s: mean length of a regime.
        trading: probability that somebody takes a part of the best at a step.
        keep: steps whose books can be looked up.
    """

    price: float = 60_000.0
    step_us: int = 100_000
    levels: int = 40
    volatility: float = 0.6
    regime_s: float = 1_800.0
    trading: float = 0.35
    keep: int = 512


class GeneratedMarket:
    """See the module.

    Args:
        instrument: what is traded; its decimals are those of the prices made here.
        options: how it moves; the smallest step of its price is about 1/60 000 of the first one.
    """

    def __init__(
        self, instrument: Instrument, *, seed: int, start_us: int, options: MarketMoves | None = None
    ) -> None:
        options = options or MarketMoves()
        self.instrument, self.seed, self.step_us = instrument, seed, options.step_us
        self.start_us, self.now_us = start_us, start_us
        self._random = Random(f"{instrument.venue} {instrument.symbol} {seed}")  # noqa: S311 - a simulation
        units = options.price * 10.0**instrument.price_decimals
        self.tick: int = 10 ** max(0, round(math.log10(units / 60_000)))
        self._price, self._levels, self._trading = (
            math.log(units / self.tick),
            options.levels,
            options.trading,
        )
        self._first_price = units
        step_s = options.step_us / SECOND_US
        self._volatility = options.volatility / math.sqrt(_YEAR_S)
        self._spread_s = self._volatility * math.sqrt(step_s)
        self._regime_s, self._step_s = options.regime_s, step_s
        self._drift, self._regime_left_s = 0.0, 0.0
        self._lot: int = max(1, 10**instrument.size_decimals // 1000)
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self._bid = self._ask = 0
        self._spread = 1
        self.update_id, self.trade_id, self.number = _FIRST_UPDATE, _FIRST_TRADE, 0
        self._seconds: deque[GeneratedCandle] = deque(maxlen=_SECONDS_KEPT)
        self._minutes: deque[GeneratedCandle] = deque(maxlen=_MINUTES_KEPT)
        self._kept: deque[GeneratedBook] = deque(maxlen=options.keep)
        self._halts: list[tuple[int, int]] = []
        self.last_price = int(units) // self.tick * self.tick
        self._move({}, {}, [])
        self.update_id += 1
        self._keep()

    def step(self) -> Step:
        """One step of time, and what happens then."""
        self.now_us += self.step_us
        self._wander()
        bids: dict[int, int] = {}
        asks: dict[int, int] = {}
        trades: list[Print] = []
        before = self.best
        self._move(bids, asks, trades)
        self._stir(self.bids, bids, self._bid, -self.tick)
        self._stir(self.asks, asks, self._ask, self.tick)
        if self._random.random() < self._trading:
            self._take(bids, asks, trades)
        previous, changes = self.update_id, len(bids) + len(asks)
        if changes:
            self.update_id += changes
            self.number += 1
            self._keep()
        for each in trades:
            self._note(each)
        best = self.best
        return Step(
            self.now_us, self.number, previous + 1, self.update_id, previous, bids, asks, tuple(trades),
            best != before, best,
        )  # fmt: skip

    @property
    def best(self) -> tuple[int, int, int, int]:
        """Best bid, its size, best ask, its size."""
        return self._bid, self.bids.get(self._bid, 0), self._ask, self.asks.get(self._ask, 0)

    def at(self, update_id: int) -> GeneratedBook | None:
        """The book that had this as its last update; None: never, or too long ago."""
        for book in reversed(self._kept):
            if book.update_id <= update_id:
                return book if book.update_id == update_id else None
        return None

    def oldest(self) -> GeneratedBook:
        """The oldest book that is still kept."""
        return self._kept[0]

    def newest(self) -> GeneratedBook:
        """The book as it is."""
        return self._kept[-1]

    # Klines.

    def candle(self, interval_us: int, open_us: int) -> GeneratedCandle:
        """The bar that opens then, as far as it is known now."""
        if open_us < self.start_us - self.start_us % interval_us:
            return self._before(interval_us, open_us)
        end_us = open_us + interval_us
        parts = self._parts(open_us, end_us)
        if not parts:
            price = self._close_before(open_us)
            return GeneratedCandle(open_us, price, price, price, price)
        whole = GeneratedCandle(open_us, parts[0].open, parts[0].high, parts[0].low, parts[-1].close)
        for each in parts:
            whole.high, whole.low = max(whole.high, each.high), min(whole.low, each.low)
            whole.volume += each.volume
            whole.trades += each.trades
        return whole

    def candles(self, interval_us: int, end_us: int, limit: int) -> list[GeneratedCandle]:
        """The last `limit` bars that open before `end_us`, and not after now; oldest first.

        Bars before the market's start are made up, each from its own draw, and lead up to its first price.
        """
        open_us = min(end_us - 1, self.now_us) // interval_us * interval_us
        opens: list[int] = []
        while len(opens) < limit and open_us >= 0:
            halt = next((each for each in self._halts if each[0] <= open_us < each[1]), None)
            if halt is None:
                opens.append(open_us)
                open_us -= interval_us
            else:
                open_us = (halt[0] - 1) // interval_us * interval_us
        return [self.candle(interval_us, each) for each in reversed(opens)]

    def halt(self, from_us: int, to_us: int) -> None:
        """There are no bars that open from then on and before: the exchange was closed, or lists it since `to_us`."""
        self._halts.append((from_us, to_us))

    def funding(self, from_us: int, to_us: int) -> list[tuple[int, str]]:
        """Instant and rate of each funding from then on and before, every eight hours, none after now."""
        last_us = min(to_us - 1, self.now_us)
        stamps = range(-(-from_us // FUNDING_EVERY_US) * FUNDING_EVERY_US, last_us + 1, FUNDING_EVERY_US)
        return [(us, self._rate(us)) for us in stamps]

    def _rate(self, us: int) -> str:
        return f"{Random(f'{self.seed} {us}').randrange(-3, 12) / 1e5:.8f}"  # noqa: S311

    # Contracts; drawn by the instant, so that the market moves the same whether somebody asks or not.

    def contract(self) -> GeneratedContract:
        """Its state now; the rate is the one that will be settled next."""
        second = self.now_us // SECOND_US
        random = Random(f"{self.seed} contract {second}")  # noqa: S311
        index = (self._bid + self._ask) // 2
        next_us = self.now_us - self.now_us % FUNDING_EVERY_US + FUNDING_EVERY_US
        interest = 10_000_000 + round(1_000_000 * math.sin(second / 600)) + random.randrange(10_000)
        return GeneratedContract(
            index + self.tick * random.randrange(-5, 6),
            index,
            self._rate(next_us),
            next_us,
            self._lot * interest,
        )

    def liquidation(self) -> Print | None:
        """What was closed by force in the second that has just begun, `side` as of a trade; None: nothing."""
        random = Random(f"{self.seed} liquidation {self.now_us // SECOND_US}")  # noqa: S311
        if random.random() >= _LIQUIDATED:
            return None
        side = random.choice((-1, 1))
        return Print(0, self._ask if side > 0 else self._bid, self._lot * random.randrange(1, 5_000), side)

    def _parts(self, open_us: int, end_us: int) -> list[GeneratedCandle]:
        kept = self._minutes if end_us - open_us >= MINUTE_US else self._seconds
        found = []
        for each in reversed(kept):
            if each.open_us < open_us:
                break
            if each.open_us < end_us:
                found.append(each)
        return found[::-1]

    def _close_before(self, us: int) -> int:
        for kept in (self._seconds, self._minutes):
            for each in reversed(kept):
                if each.open_us < us:
                    return each.close
        return int(self._first_price) // self.tick * self.tick

    def _before(self, interval_us: int, open_us: int) -> GeneratedCandle:
        """A bar before the market began; its close is the open of the next one."""
        prices = [self._old_price(interval_us, open_us), self._old_price(interval_us, open_us + interval_us)]
        random = Random(f"{self.seed} {interval_us} {open_us}")  # noqa: S311
        high = max(prices) + self.tick * random.randrange(1, 5)
        low = min(prices) - self.tick * random.randrange(1, 5)
        volume = self._lot * random.randrange(1000, 100_000)
        return GeneratedCandle(open_us, prices[0], high, low, prices[1], volume, random.randrange(10, 1000))

    def _old_price(self, interval_us: int, us: int) -> int:
        """Waves of several lengths around the first price, so that any old bar is found without those before it."""
        bars = (self.start_us - self.start_us % interval_us - us) / interval_us
        scale = self._volatility * math.sqrt(interval_us / SECOND_US)
        waves = sum(
            size * math.sin(bars / length) for length, size in ((7.0, 1.0), (31.0, 3.0), (127.0, 9.0))
        )
        return max(1, round(self._first_price * math.exp(scale * waves) / self.tick)) * self.tick

    def _note(self, trade: Print) -> None:
        self.last_price = trade.price
        for kept, interval_us in ((self._seconds, SECOND_US), (self._minutes, MINUTE_US)):
            open_us = self.now_us - self.now_us % interval_us
            if not kept or kept[-1].open_us != open_us:
                kept.append(GeneratedCandle(open_us, trade.price, trade.price, trade.price, trade.price))
            kept[-1].take(trade.price, trade.size)

    # The book.

    def _wander(self) -> None:
        if self._regime_left_s <= 0:
            self._regime_left_s = self._random.expovariate(1 / self._regime_s)
            drift = self._random.choice(_DRIFTS)
            self._drift = drift * self._volatility / math.sqrt(self._regime_s) * self._step_s
        self._regime_left_s -= self._step_s
        self._price += self._drift + self._spread_s * self._random.gauss(0.0, 1.0)

    def _move(self, bids: dict[int, int], asks: dict[int, int], trades: list[Print]) -> None:
        """The best prices follow the hidden one."""
        bid = max(self._levels + 1, int(math.exp(self._price))) * self.tick
        if self._random.random() < 0.1:
            self._spread = self._random.choice(_SPREADS)
        ask = bid + self._spread * self.tick
        if (bid, ask) == (self._bid, self._ask):
            return
        self._eat(self.asks, self._ask, bid, self.tick, trades)
        self._eat(self.bids, self._bid, ask, -self.tick, trades)
        self._shift(self.bids, bids, self._bid, bid, -self.tick)
        self._shift(self.asks, asks, self._ask, ask, self.tick)
        self._bid, self._ask = bid, ask

    def _eat(self, side: dict[int, int], old: int, upto: int, away: int, trades: list[Print]) -> None:
        """What lay between the old best price and the other side's new one is traded, a few levels of it."""
        price = old
        while side and len(trades) < 4 and (upto - price) * away >= 0:
            if price in side:
                self.trade_id += 1
                trades.append(Print(self.trade_id, price, side[price], 1 if away > 0 else -1))
            price += away

    def _shift(self, side: dict[int, int], changes: dict[int, int], old: int, new: int, away: int) -> None:
        """Levels from the new best price outwards: those outside go, those that are new are filled."""
        span = self._levels * abs(away)
        for price in [price for price in side if not 0 <= (price - new) * (1 if away > 0 else -1) < span]:
            del side[price]
            changes[price] = 0
        for k in range(self._levels):
            price = new + k * away
            known = old and 0 <= (price - old) * (1 if away > 0 else -1) < span
            filled = k == 0 or (not known and self._random.random() < _PRESENT)
            if filled and price not in side:
                side[price] = changes[price] = self._size()

    def _stir(self, side: dict[int, int], changes: dict[int, int], best: int, away: int) -> None:
        """Some orders near the best price come, go and change."""
        for _ in range(self._random.randrange(4)):
            k = min(int(self._random.expovariate(0.25)), self._levels - 1)
            price = best + k * away
            if k and price in side and self._random.random() < 0.3:
                del side[price]
                changes[price] = 0
            else:
                side[price] = changes[price] = self._size()

    def _take(self, bids: dict[int, int], asks: dict[int, int], trades: list[Print]) -> None:
        """Somebody takes a part of the best."""
        buys = self._random.random() < 0.5
        side, changes, price = (self.asks, asks, self._ask) if buys else (self.bids, bids, self._bid)
        size = int(side[price] * self._random.random() * 0.5)
        if size:
            side[price] = changes[price] = side[price] - size
            self.trade_id += 1
            trades.append(Print(self.trade_id, price, size, 1 if buys else -1))

    def _size(self) -> int:
        return self._lot * (1 + int(self._random.expovariate(0.001)))

    def _keep(self) -> None:
        self._kept.append(
            GeneratedBook(self.update_id, self.now_us, self.number, dict(self.bids), dict(self.asks))
        )
