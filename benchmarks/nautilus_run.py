"""NautilusTrader's side of `benchmarks.sweep`: run by its own Python, which has nothing of ours.

    python nautilus_run.py BARS.npz CASH FEE_BPS

Prints seconds and final equity as JSON.
"""

import json
import sys
import time
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig, StrategyConfig
from nautilus_trader.model.currencies import BTC, USDT
from nautilus_trader.model.data import BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import CurrencyPair
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.persistence.wranglers import BarDataWrangler
from nautilus_trader.trading.strategy import Strategy


def instrument(fee: Decimal) -> CurrencyPair:
    """A pair with cents of price and parts of a millionth of size."""
    return CurrencyPair(
        instrument_id=InstrumentId(Symbol("BTCUSDT"), Venue("SIM")), raw_symbol=Symbol("BTCUSDT"), base_currency=BTC,
        quote_currency=USDT, price_precision=2, size_precision=6, price_increment=Price(0.01, 2),
        size_increment=Quantity(1e-6, 6), lot_size=None, max_quantity=None, min_quantity=None, max_notional=None,
        min_notional=None, max_price=None, min_price=None, margin_init=Decimal(0), margin_maint=Decimal(0),
        maker_fee=fee, taker_fee=fee, ts_event=0, ts_init=0,
    )  # fmt: skip


class ToldConfig(StrategyConfig, frozen=True):
    """Nothing."""


class Told(Strategy):
    """Does at each bar what it was told."""

    def __init__(self, pair: Any, bar_type: Any, actions: Any, cash: float, fee: float) -> None:
        super().__init__(ToldConfig())
        self.pair, self.bar_type, self.actions, self.cash, self.fee = pair, bar_type, actions, cash, fee
        self.row, self.held = 0, None

    def on_start(self) -> None:
        self.subscribe_bars(self.bar_type)

    def on_bar(self, bar: Any) -> None:
        action = self.actions[self.row]
        self.row += 1
        if action > 0 and self.held is None:
            free = float(self.cache.account_for_venue(self.pair.id.venue).balance_free(USDT))
            self.held = self.pair.make_qty(free * 0.9999 / (float(bar.close) * (1.0 + self.fee)))
            self._send(OrderSide.BUY)
        elif action < 0 and self.held is not None:
            self._send(OrderSide.SELL)
            self.held = None

    def _send(self, side: Any) -> None:
        self.submit_order(self.order_factory.market(self.pair.id, side, self.held))


def main() -> None:
    """Run, and say how long it took."""
    given = np.load(sys.argv[1])
    cash, fee = float(sys.argv[2]), float(sys.argv[3]) / 10_000.0
    pair = instrument(Decimal(str(fee)))
    bar_type = BarType.from_str(f"{pair.id}-1-MINUTE-LAST-EXTERNAL")
    close = given["close"]
    frame = pd.DataFrame(
        {"open": close, "high": close, "low": close, "close": close, "volume": 1_000.0},
        index=pd.to_datetime(given["stamps"], unit="us", utc=True),
    )
    bars = BarDataWrangler(bar_type, pair).process(frame)
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    engine.add_venue(
        Venue("SIM"), oms_type=OmsType.NETTING, account_type=AccountType.CASH, base_currency=None,
        starting_balances=[Money(cash, USDT), Money(0, BTC)],
    )  # fmt: skip
    engine.add_instrument(pair)
    engine.add_data(bars)
    engine.add_strategy(Told(pair, bar_type, given["actions"], cash, fee))
    began = time.perf_counter()
    engine.run()
    seconds = time.perf_counter() - began
    account = engine.cache.account_for_venue(Venue("SIM"))
    equity = float(account.balance_total(USDT)) + float(account.balance_total(BTC) or 0) * float(close[-1])
    print(json.dumps({"seconds": seconds, "equity": equity}))


if __name__ == "__main__":
    main()
