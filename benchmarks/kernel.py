"""How many signals a second one core takes through the kernel, and the same work done by vectorbt.

    python -m benchmarks.kernel

One million signals of one symbol, every figure of `engine.portfolio.performance` included. Two streams: one that trades
as often as a real signal file does (36 fills in 276 signals), and the hardest one for a processor, where
nothing tells which of BUY, HOLD and SELL comes next. The peer gets the first stream, fills it at the same
prices, and is asked for the same figures; both must agree on them to 1e-9 before anything is timed. Each time
is the best of several. The same again with a stop and a target on every position, on entries and exits alone: there
the peer has its own `sl_stop` and `tp_stop`.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.figures import Figure
from raysignal.engine.core.arrays import Float64Array, Int8Array, Int32Array, Int64Array
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio.ledger import Ledger, sweep
from raysignal.engine.portfolio.ledger import warm as warm_ledger
from raysignal.engine.portfolio.performance import Performance
from raysignal.engine.portfolio.performance import warm as warm_performance

SIGNALS = 1_000_000
SPACING_US = 600_000_000
START_US = 1_700_000_000_000_000
FILL_SHARE = 36 / 276
POLICY = Policy(fee_bps=1.0)
GUARDED = Policy(fee_bps=1.0, stop_bps=100.0, take_bps=150.0)
CONFIGURATIONS = [Policy(fee_bps=1.0, weight=(1 + step) / 20) for step in range(20)]

Stream = tuple[Int64Array, Int32Array, Int8Array, Float64Array]


def measure() -> list[Figure]:
    """The figures: name, value, unit, and the target where there is one."""
    warm_ledger()
    warm_performance()
    typical, hardest = stream(persistent=True), stream(persistent=False)
    rows = LedgerRows.empty(SIGNALS)
    for column in rows.columns().values():
        column.fill(1)  # the pages are there before the clock starts

    seconds = best(lambda: run(typical))
    full_seconds = best(lambda: run(typical, rows))
    results = [
        figure("signals/s, all figures", SIGNALS / seconds, "1/s", target=100e6),
        figure("signals/s, all figures, every row written out", SIGNALS / full_seconds, "1/s"),
        figure("signals/s, all figures, unpredictable signals", SIGNALS / best(lambda: run(hardest)), "1/s"),
        figure(
            f"signals/s, a sweep of {len(CONFIGURATIONS)} configurations",
            SIGNALS * len(CONFIGURATIONS) / best(lambda: sweep(CONFIGURATIONS, *typical), repeats=3),
            "1/s",
        ),
        Figure("kernel", "one signal, with its row and account, in a call", one_call(typical) * 1e6, "µs"),
    ]
    try:
        import vectorbt  # noqa: PLC0415 - a peer, there only when the benchmarks are installed
    except ImportError:
        print("vectorbt is not installed, so there is no ratio: `make bench` installs it", file=sys.stderr)
        return results
    peer = VectorbtPeer(vectorbt, typical)
    agree(run(typical, rows), rows, peer)
    peer_seconds = best(peer.run, repeats=5)
    edges = turns(typical)
    guarded_peer = VectorbtPeer(
        vectorbt, edges, sl_stop=GUARDED.stop_bps / 1e4, tp_stop=GUARDED.take_bps / 1e4
    )
    agree(run(edges, rows, GUARDED), rows, guarded_peer)
    guarded_seconds = best(lambda: run(edges, rows, GUARDED))
    guarded_peer_seconds = best(guarded_peer.run, repeats=5)
    return [
        *results,
        figure("signals/s with brackets, every row written out", SIGNALS / guarded_seconds, "1/s"),
        figure("vectorbt: signals/s, the same brackets", SIGNALS / guarded_peer_seconds, "1/s"),
        figure(
            "ratio to vectorbt with brackets, every row written out",
            guarded_peer_seconds / guarded_seconds,
            "x",
            target=10.0,
        ),
        figure("vectorbt: signals/s, the same fills and figures", SIGNALS / peer_seconds, "1/s"),
        figure("ratio to vectorbt, every row written out", peer_seconds / full_seconds, "x", target=20.0),
    ]


def figure(what: str, value: float, unit: str, target: float | None = None) -> Figure:
    """One line of the result."""
    return Figure("kernel", what, value, unit, target)


def stream(*, persistent: bool) -> Stream:
    """A random walk with signals that last (and trade as a real file does), or with ones drawn at random."""
    random = np.random.default_rng(20_250_224)
    price = 95_000.0 * np.exp(np.cumsum(random.normal(0.0, 1e-3, SIGNALS)))
    action = random.integers(-1, 2, SIGNALS)
    if persistent:
        action = np.where(np.cumsum(random.random(SIGNALS) < FILL_SHARE) % 2 == 0, 1, -1)
    stamps = START_US + SPACING_US * np.arange(SIGNALS, dtype=np.int64)
    return stamps, np.zeros(SIGNALS, dtype=np.int32), action.astype(np.int8), price


def turns(signals: Stream) -> Stream:
    """The same with nothing but the rows at which the side changes; the rest is HOLD."""
    stamps, symbols, actions, prices = signals
    return stamps, symbols, np.where(np.diff(actions, prepend=np.int8(0)) != 0, actions, np.int8(0)), prices


def run(signals: Stream, rows: LedgerRows | None = None, policy: Policy = POLICY) -> Performance:
    """The kernel over the whole stream, and the figures at its end."""
    ledger = Ledger(policy)
    ledger.ensure_symbols(1)
    ledger.run(*signals, rows=rows)
    return Performance.of(ledger.account)


def one_call(signals: Stream, calls: int = 20_000) -> float:
    """Seconds a call as a live actor makes it: one signal, its row, its account."""
    ledger, rows = Ledger(POLICY), LedgerRows.empty(1)
    ledger.ensure_symbols(1)
    account = np.empty((1, len(ledger.account)))
    stamps, symbols, actions, prices = signals
    begin = time.perf_counter()
    for row in range(calls):
        one = slice(row, row + 1)
        ledger.run(stamps[one], symbols[one], actions[one], prices[one], rows=rows, accounts=account)
    return (time.perf_counter() - begin) / calls


def best(work: Callable[[], object], repeats: int = 15) -> float:
    """The shortest of several runs, in seconds: what the code needs when nobody else disturbs it."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


class VectorbtPeer:
    """The same portfolio in vectorbt: BUY enters with all cash, SELL leaves, at the close, with the fee."""

    def __init__(self, vectorbt: Any, signals: Stream, **stops: float) -> None:
        import pandas as pd  # noqa: PLC0415 - comes with the peer's code path alone

        stamps, _, action, price = signals
        self.vectorbt = vectorbt
        vectorbt.settings.returns["year_freq"] = "365 days"
        self.close = pd.Series(price, index=pd.to_datetime(stamps, unit="us"))
        self.entries, self.exits = action > 0, action < 0
        self.stops = stops

    def run(self) -> dict[str, float]:
        """Simulate and ask for every figure that the kernel keeps."""
        portfolio = self.vectorbt.Portfolio.from_signals(
            self.close, self.entries, self.exits,
            init_cash=POLICY.initial_cash, fees=POLICY.fee_bps / 10_000, freq="10min", **self.stops,
        )  # fmt: skip
        value, returns, trades = portfolio.value(), portfolio.returns(), portfolio.trades
        held = portfolio.benchmark_returns().vbt.returns(freq="10min", year_freq="365 days")
        orders = portfolio.orders.records_arr
        return {
            "equity": value.iloc[-1],
            "cash": portfolio.cash().iloc[-1],
            "total_return": portfolio.total_return(),
            "signal_return": returns.iloc[-1],
            "realised_pnl": trades.closed.pnl.sum(),
            "unrealised_pnl": trades.open.pnl.sum(),
            "fees": orders["fees"].sum(),
            "trades": len(orders),
            "closed_trades": trades.closed.count(),
            "win_rate": trades.closed.win_rate(),
            "profit_factor": trades.closed.profit_factor(),
            "sharpe": portfolio.sharpe_ratio(),
            "sortino": portfolio.sortino_ratio(),
            "max_drawdown": -portfolio.max_drawdown(),
            "drawdown": -portfolio.drawdown().iloc[-1],
            "calmar": portfolio.calmar_ratio(),
            "exposure": portfolio.position_coverage(),
            "turnover": (orders["size"] * orders["price"]).sum() / value.mean(),
            "hold_total_return": portfolio.total_benchmark_return(),
            "hold_sharpe": held.sharpe_ratio(),
            "hold_sortino": held.sortino_ratio(),
            "hold_max_drawdown": -held.max_drawdown(),
            "hold_calmar": held.calmar_ratio(),
        }


# The peer counts a period for the first signal too, and exposure by signals and not by time: the same figures
# by another convention, so they are timed and not compared.
OTHER_CONVENTION = {"calmar", "exposure", "hold_calmar"}


def agree(own: Performance, rows: LedgerRows, peer: VectorbtPeer) -> None:
    """Raise AssertionError unless fills and figures of both agree to 1e-9."""
    theirs = peer.run()
    for name, value in theirs.items():
        if name in OTHER_CONVENTION:
            continue
        source = own.buy_and_hold if name.startswith("hold_") else own
        mine = getattr(source, name.removeprefix("hold_"))
        assert np.isclose(mine, value, rtol=1e-9, atol=1e-12), f"{name}: {mine!r} here, {value!r} in vectorbt"
    assert int(np.count_nonzero(rows.fill_quantity)) == theirs["trades"]


def main() -> None:
    """Print the figures, one a line."""
    for found in measure():
        print(f"{found.what:<52} {found.shown:>20} {found.asked}")


if __name__ == "__main__":
    main()
