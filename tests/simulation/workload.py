"""What clients send: a few dozen signals for a few portfolios, with the mistakes that clients make."""

import random
from dataclasses import dataclass, replace

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Action, Signal

POLICIES = (
    Policy(),
    Policy(side="long-short", fee_bps=4.0, slippage_bps=2.0, weight=0.5),
    Policy(fill="next", fee_bps=0.0, initial_cash=1000.0),
)
SYMBOLS = ("BTC", "ETH", "SOL-PERP")
_START_US = 1_700_000_000_000_000
_MINUTE_US = 60_000_000


@dataclass(eq=False, slots=True)
class Message:
    """One call of a client, and what it knows of its fate.

    Attributes:
        number: counts messages, for the trace.
        portfolio: whose signals; or the portfolio to create.
        policy: of a portfolio to create; None for signals.
        batch: the signals, in time order.
        encoded: the same as bytes.
        all_or_nothing, accept_price_jump: as `Shard.submit` has them.
        settled: it was acknowledged or refused.
    """

    number: int
    portfolio: str
    policy: Policy | None = None
    batch: SignalBatch | None = None
    encoded: bytes = b""
    all_or_nothing: bool = False
    accept_price_jump: bool = False
    settled: bool = False


class Workload:
    """Makes messages from a seed."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._made = 0
        self._next_us: dict[tuple[str, str], int] = {}
        self._price: dict[tuple[str, str], float] = {}
        self._sent: dict[str, list[Signal]] = {}
        self.policies = {
            name: rng.choice(POLICIES)
            for name in ("baseline", "enhanced", "third")[: rng.choice((1, 1, 2, 3))]
        }
        self._symbols = SYMBOLS[: rng.choice((1, 2, 3))]

    def message(self) -> Message:
        """The next one."""
        rng = self._rng
        self._made += 1
        if rng.random() < 0.04:
            name = rng.choice([*self.policies, "late-comer"])
            return Message(self._made, name, policy=rng.choice(POLICIES))
        portfolio = rng.choice(list(self.policies))
        signals = [self._signal(portfolio) for _ in range(rng.choice((1, 1, 1, 1, 2, 3, 5)))]
        sent = self._sent.setdefault(portfolio, [])
        kept = list(signals)
        if rng.random() < 0.15:
            signals.append(rng.choice(signals))  # a twin
        if rng.random() < 0.1:
            signals.append(replace(rng.choice(signals), price=round(rng.uniform(90, 110), 2)))
        if sent and rng.random() < 0.25:
            signals += [rng.choice(sent) for _ in range(rng.choice((1, 2)))]  # seen before
        if sent and rng.random() < 0.1:
            signals.append(replace(rng.choice(sent), price=round(rng.uniform(90, 110), 2)))  # a conflict
        if rng.random() < 0.08:
            signals.append(self._late(portfolio))
        if rng.random() < 0.06:
            at = rng.randrange(len(signals))
            signals[at] = replace(signals[at], price=signals[at].price * 1000)
        sent += kept
        batch = SignalBatch.of_signals(signals).in_time()
        # The id that was derived is known from here on.
        return Message(
            self._made, portfolio, batch=batch, encoded=batch.encode(),
            all_or_nothing=rng.random() < 0.5, accept_price_jump=rng.random() < 0.1,
        )  # fmt: skip

    def _signal(self, portfolio: str) -> Signal:
        rng = self._rng
        symbol = rng.choice(self._symbols)
        place = (portfolio, symbol)
        at = self._next_us.get(place, _START_US) + rng.choice((0, 1, 15, 60, 60, 400)) * _MINUTE_US
        self._next_us[place] = at
        price = self._price[place] = round(self._price.get(place, 100.0) * rng.uniform(0.9, 1.12), 4)
        features: dict[str, float | str] = {}
        if rng.random() < 0.3:
            features["rsi"] = round(rng.uniform(0, 100), 1)
        if rng.random() < 0.2:
            features["mood"] = rng.choice(("bullish", "bearish", "日本"))
        return Signal(
            symbol=symbol, timestamp_us=at, action=rng.choice(list(Action)), price=price,
            source=rng.choice(("", "model-7")),
            signal_id=f"{portfolio[0]}{rng.randrange(10**6)}" if rng.random() < 0.5 else "",
            features=features,
        )  # fmt: skip

    def _late(self, portfolio: str) -> Signal:
        signal = self._signal(portfolio)
        return replace(signal, timestamp_us=_START_US - self._rng.randrange(10**9), signal_id="")
