"""How fast the decision path is: a backtest beside NautilusTrader, and trades through all of its stages.

    python -m benchmarks.pipeline

The backtest: minutes of a random walk, one crossover, a fill about every eighth bar. NautilusTrader is told the same
actions at the same bars, so it works out no indicator. Trades: a made-up market through candles of two lengths, four
strategies, weights by hit rate, risk and paper orders, in memory.
"""

import time
from decimal import Decimal

import numpy as np

from benchmarks.figures import Figure
from benchmarks.nautilus import nautilus
from raysignal.data.bars import random_walk
from raysignal.engine.core.events import OrderFill, PlannedOrder
from raysignal.engine.core.market_events import BookChange, Instrument, Trade
from raysignal.engine.core.policy import Policy
from raysignal.engine.pipeline.backtest import CandleSeries, run_backtest
from raysignal.engine.pipeline.driver import PathDriver
from raysignal.engine.pipeline.paper_venue import CandleDepth, file_instrument
from raysignal.engine.strategies.sma import SmaCrossover
from raysignal.runtime.pipeline import Pipeline, build
from raysignal.runtime.pipeline_config import PipelineConfig
from raysignal.runtime.pipeline_session import candle_market

MINUTE_US = 60_000_000
BARS = 200_000
PEER_BARS = 50_000
TRADES = 200_000
FAST, SLOW = 2, 9
START_US = 1_700_000_000_000_000


class Counter:
    """An event log that counts fills, and takes the time of orders."""

    def __init__(self) -> None:
        self.events = self.fills = 0
        self.began_ns = 0
        self.to_order_ns: list[int] = []

    def input(self, _: object) -> None:
        """See `engine.pipeline.driver.EventLog`."""
        self.events += 1

    def output(self, event: object) -> None:
        """See `engine.pipeline.driver.EventLog`."""
        self.events += 1
        if type(event) is OrderFill:
            self.fills += 1
        elif type(event) is PlannedOrder:
            self.to_order_ns.append(time.perf_counter_ns() - self.began_ns)


def measure() -> list[Figure]:
    """The figures: name, value, unit, and the target where there is one."""
    run_bars(2_000)  # what is compiled is compiled
    own, fills = run_bars(BARS)
    figures = [
        Figure("pipeline", f"backtest, one crossover, a fill every {BARS / fills:.1f} bars", own, "bars/s")
    ]
    bars = random_walk(1, PEER_BARS, MINUTE_US)
    peer = nautilus(bars, SmaCrossover(FAST, SLOW).actions(bars), Policy(fee_bps=1.0))
    if peer is not None:
        theirs = PEER_BARS / peer[0]
        figures += [
            Figure("pipeline", "the same actions, NautilusTrader", theirs, "bars/s"),
            Figure("pipeline", "backtest / NautilusTrader", own / theirs, "x", target=3.0),
        ]
    rate, p99_ms, orders = run_trades()
    return [
        *figures,
        Figure(
            "pipeline",
            f"trades through the path, {orders:,d} orders among them",
            rate,
            "events/s",
            target=50_000.0,
        ),
        Figure("pipeline", "from the trade that ends a candle to its order, p99", p99_ms, "ms", 5.0, "less"),
    ]


def run_bars(count: int) -> tuple[float, int]:
    """Bars a CPU second, and fills."""
    config = PipelineConfig(
        name="bench", instruments=[{"symbol": "BTC"}],
        strategies=[{"name": "s", "kind": "sma", "bar": "1m", "parameters": {"fast": FAST, "slow": SLOW}}],
        portfolio={"fee_bps": 1},
    )  # fmt: skip
    pipeline, log = build(config, {"BTC": file_instrument("BTC")}), Counter()
    driver = PathDriver(pipeline.path, pipeline.portfolio, pipeline.venue, log=log)
    series = [CandleSeries("BTC", MINUTE_US, random_walk(1, count, MINUTE_US))]
    began = time.process_time()
    run_backtest(driver, pipeline.strategies, series)
    return count / (time.process_time() - began), log.fills


def run_trades() -> tuple[float, float, int]:
    """Trades a CPU second, the 99th percentile from a trade to its order in ms, and orders."""
    instrument = Instrument("paper", "BTC", 2, 4, Decimal(1))
    pipeline, log = _four_strategies(instrument), Counter()
    driver = PathDriver(
        pipeline.path,
        pipeline.portfolio,
        pipeline.venue,
        log=log,
        market=candle_market(pipeline.config, {"BTC": instrument}),
    )
    draws = np.random.default_rng(1)
    prices = 6_000_000 + np.cumsum(draws.integers(-40, 41, TRADES))
    trades = [
        Trade(instrument, str(number), price, 100, 1, at_us, at_us)
        for number, (price, at_us) in enumerate(
            zip(prices.tolist(), (START_US + np.arange(TRADES) * 20_000).tolist(), strict=True)
        )
    ]
    began = time.process_time()
    for trade in trades:
        log.began_ns = time.perf_counter_ns()
        driver.market(trade, None)
        if not driver.idle:
            depth = CandleDepth(instrument, trade.price / 100, 2.0)
            driver.market(_book(trade), depth)
    seconds = time.process_time() - began
    return TRADES / seconds, float(np.percentile(log.to_order_ns, 99)) / 1e6, len(log.to_order_ns)


def _four_strategies(instrument: Instrument) -> Pipeline:
    config = PipelineConfig(
        name="bench", instruments=[{"symbol": "BTC"}],
        strategies=[
            {"name": "fast", "kind": "sma", "bar": "1s", "parameters": {"fast": 5, "slow": 20}},
            {"name": "slow", "kind": "sma", "bar": "5s", "parameters": {"fast": 5, "slow": 20}},
            {"name": "macd", "kind": "macd", "bar": "5s"},
            {"name": "bands", "kind": "bollinger", "bar": "1s"},
        ],
        aggregation={"method": "hit_rate"}, risk={"drawdown_share": 0.9, "price_collar_bps": 500},
        portfolio={"weight": 0.5}, venue={"kind": "paper", "fee_bps": 0},
    )  # fmt: skip
    return build(config, {"BTC": instrument})


def _book(trade: Trade) -> BookChange:
    return BookChange(
        trade.instrument, 0, trade.price - 1, 100, trade.price + 1, 100, trade.exchange_us, trade.received_us
    )


def main() -> None:
    """Print the figures, one a line."""
    for found in measure():
        print(f"{found.what:<80} {found.shown:>24} {found.asked}")


if __name__ == "__main__":
    main()
