"""How fast many configurations, and a single one, go through prices; and the same work done by peers.

    python -m benchmarks.sweep

*Many.* 100 000 bars and 1 000 pairs of moving averages, long or flat, filled at the close with a fee: this project's
`Sweep` with all figures of `engine.portfolio.performance`, and vectorbt's `Portfolio.from_signals` with total return,
Sharpe ratio and drawdown of every column. The peer is given its signals' arrays, a hundred columns at a time; what
both say of fills and figures must agree before anything is timed.

*Stops.* One pair of averages, 100 stops below its entries: this project's axis `stop_bps`, and vectorbt's `sl_stop`, a
hundred columns of it.

*Over Ray.* 1 000 000 bars and 1 000 configurations by `raysignal sweep`'s own workers, from ready workers to the last
chunk, beside the bare loop on as many cores. *One.* A single run with an order at every tenth bar,
beside backtesting.py, and NautilusTrader in an environment of its own (it cannot live beside pandas 3):
`requirements/nautilus.lock`.

Each time is the best of several.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Figure
from benchmarks.kernel import best
from benchmarks.nautilus import nautilus
from raysignal.engine.core.arrays import Float64Array, Int8Array
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.performance import Performance, performance_table
from raysignal.engine.portfolio.sweep import Sweep, warm
from raysignal.engine.strategies.sma import SmaCrossover
from raysignal.engine.strategies.strategy import Bars

BARS, CONFIGURATIONS = 100_000, 1_000
LONG_BARS = 1_000_000
SPACING_US = 60_000_000
START_US = 1_600_000_000_000_000
COST = Policy(fee_bps=1.0)
ONE_BARS, PEER_BARS = 1_000_000, 20_000
EVERY = 10
_COLUMNS = 100  # of the peer at once: all of them would need more memory than there is


def measure() -> list[Figure]:
    """The figures."""
    warm()
    return [*_many(), *_stops(), *_growth(), *_over_ray(), *_one()]


def prices(n: int) -> Bars:
    """A random walk of minutes, on a grid of cents."""
    close = np.round(1_000.0 * np.exp(np.cumsum(np.random.default_rng(5).normal(0.0, 1e-3, n))), 2)
    return Bars.of_closes(START_US + SPACING_US * np.arange(n, dtype=np.int64), close)


def grid(count: int) -> list[SmaCrossover]:
    """So many pairs of windows."""
    pairs = [SmaCrossover(fast, slow) for fast in range(5, 55) for slow in range(60, 260)]
    return [pairs[place * len(pairs) // count] for place in range(count)]


def swept(bars: Bars, strategies: list[SmaCrossover]) -> Float64Array:
    """Accounts at the end."""
    sweep = Sweep(strategies, [COST] * len(strategies))
    sweep.advance(bars)
    return sweep.accounts()


def _figure(what: str, value: float, unit: str, target: float | None = None, **more: Any) -> Figure:
    return Figure("sweep", what, value, unit, target, **more)


# Many


def _many() -> list[Figure]:
    bars, strategies = prices(BARS), grid(CONFIGURATIONS)
    work = BARS * CONFIGURATIONS

    def own() -> dict[str, Float64Array]:
        return performance_table(swept(bars, strategies))

    def on_cores() -> None:
        half = CONFIGURATIONS // 2
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda part: swept(bars, part), (strategies[:half], strategies[half:])))

    seconds = best(own, repeats=7)
    figures = [
        _figure("bars x configurations/s, 100 000 x 1 000 averages, one core", work / seconds, "1/s"),
        _figure("the same in two threads", work / best(on_cores, repeats=5), "1/s"),
    ]
    try:
        import vectorbt  # noqa: PLC0415 - a peer, there only when the benchmarks are installed
    except ImportError:
        print("vectorbt is not installed, so there is no ratio: `make bench` installs it", file=sys.stderr)
        return figures
    actions = np.stack([one.actions(bars) for one in strategies]).T
    peer = _vectorbt(vectorbt, bars, actions)
    found, theirs = own(), peer()
    for mine, name in (
        ("total_return", "total_return"),
        ("sharpe", "sharpe"),
        ("max_drawdown", "max_drawdown"),
    ):
        assert np.allclose(found[mine], theirs[name], rtol=1e-7, atol=1e-9), name
    assert np.array_equal(found["trades"], theirs["trades"])
    peer_seconds = best(peer, repeats=3)
    return [
        *figures,
        _figure("vectorbt: bars x configurations/s, signals given", work / peer_seconds, "1/s"),
        _figure(
            "ratio to vectorbt, signals made here and given there", peer_seconds / seconds, "x", target=100.0
        ),
    ]


def _stops() -> list[Figure]:
    bars, strategy = prices(BARS), SmaCrossover(20, 100)
    policies = [Policy(fee_bps=COST.fee_bps, stop_bps=10.0 * (1 + number)) for number in range(_COLUMNS)]
    work = BARS * len(policies)

    def own() -> dict[str, Float64Array]:
        sweep = Sweep([strategy] * len(policies), policies)
        sweep.advance(bars)
        return performance_table(sweep.accounts())

    seconds = best(own, repeats=7)
    figures = [_figure("bars x configurations/s, 100 000 x 100 stops, one core", work / seconds, "1/s")]
    try:
        import vectorbt  # noqa: PLC0415 - as above
    except ImportError:
        return figures
    actions = np.repeat(strategy.actions(bars)[:, None], len(policies), axis=1)
    peer = _vectorbt(vectorbt, bars, actions, np.array([policy.stop_bps / 1e4 for policy in policies]))
    found, theirs = own(), peer()
    for name in ("total_return", "sharpe", "max_drawdown"):
        assert np.allclose(found[name], theirs[name], rtol=1e-7, atol=1e-9), name
    assert np.array_equal(found["trades"], theirs["trades"])
    peer_seconds = best(peer, repeats=3)
    return [
        *figures,
        _figure("vectorbt: bars x configurations/s, its own stops", work / peer_seconds, "1/s"),
        _figure("ratio to vectorbt over stop_bps", peer_seconds / seconds, "x", target=50.0),
    ]


def _vectorbt(vectorbt: Any, bars: Bars, actions: Int8Array, stops: Float64Array | None = None) -> Any:
    import pandas as pd  # noqa: PLC0415 - comes with the peer's code path alone

    vectorbt.settings.returns["year_freq"] = "365 days"
    close = pd.Series(bars.close, index=pd.to_datetime(bars.known_at_us, unit="us"))
    entries, exits = actions > 0, actions < 0

    def part(begin: int) -> dict[str, Any]:
        portfolio = vectorbt.Portfolio.from_signals(
            close, entries[:, begin : begin + _COLUMNS], exits[:, begin : begin + _COLUMNS],
            init_cash=COST.initial_cash, fees=COST.fee_bps / 10_000, freq="1min",
            **({} if stops is None else {"sl_stop": stops[None, begin : begin + _COLUMNS]}),
        )  # fmt: skip
        return {
            "total_return": portfolio.total_return().to_numpy(),
            "sharpe": portfolio.sharpe_ratio().to_numpy(),
            "max_drawdown": -portfolio.max_drawdown().to_numpy(),
            "trades": portfolio.orders.count().to_numpy(),
        }

    def run() -> dict[str, Any]:
        parts = [part(begin) for begin in range(0, actions.shape[1], _COLUMNS)]
        return {name: np.concatenate([one[name] for one in parts]) for name in parts[0]}

    return run


# As it grows


def _growth() -> list[Figure]:
    """Nanoseconds a bar and configuration for more of either; memory of a long run of many."""
    figures = []
    for n in (10_000, 100_000, 1_000_000, 10_000_000):
        bars, strategies = prices(n), grid(64)
        seconds = best(lambda bars=bars, some=strategies: swept(bars, some), repeats=3 if n < 10**7 else 1)  # type: ignore[misc]
        figures.append(_figure(f"ns a bar and configuration, {n:,d} bars x 64", seconds / n / 64 * 1e9, "ns"))
    bars = prices(10_000)
    for count in (10, 100, 1_000, 10_000, 100_000):
        strategies = grid(min(count, 10_000)) * max(1, count // 10_000)
        seconds = best(lambda some=strategies: swept(bars, some), repeats=2)  # type: ignore[misc]
        figures.append(
            _figure(
                f"ns a bar and configuration, 10 000 bars x {count:,d}", seconds / 10_000 / count * 1e9, "ns"
            )
        )
    return [*figures, _memory()]


# Its own high-water mark: getrusage would have that of the process that began it.
_MEMORY = """
from pathlib import Path
from benchmarks.sweep import COST, grid, prices
from raysignal.engine.portfolio.sweep import Sweep
bars = prices(10_000_000)
sweep = Sweep(grid(10_000), [COST] * 10_000)
sweep.advance(bars.slice(0, 100_000))
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""


def _memory() -> Figure:
    """With all 10 million bars there, after 100 000 of them: what is held does not depend on how far it is."""
    done = subprocess.run([sys.executable, "-c", _MEMORY], check=True, capture_output=True, text=True)
    return _figure(
        "peak memory of a worker, 10 000 000 bars x 10 000 (after 100 000 bars)", int(done.stdout) / 1024, "MB",
        target=2_048.0, better="less",
    )  # fmt: skip


# Over Ray


def _over_ray() -> list[Figure]:
    from raysignal.engine.journal.blobs import DiskBlobs  # noqa: PLC0415 - Ray and its orchestration, for this part alone
    from raysignal.experiments.cluster import ray_session  # noqa: PLC0415 - as above
    from raysignal.experiments.sweeps.market import Market  # noqa: PLC0415 - as above
    from raysignal.experiments.sweeps.running import run_sweep  # noqa: PLC0415 - as above
    from raysignal.experiments.sweeps.space import Space  # noqa: PLC0415 - as above
    from raysignal.experiments.sweeps.sweep import SweepSpec  # noqa: PLC0415 - as above

    bars, cores = prices(LONG_BARS), os.cpu_count() or 1
    market = Market("BTC", bars)
    space = Space.of("sma", ["sma_fast=5:44:1", "sma_slow=60:180:5"])
    spec = SweepSpec(space, curves=0)
    longer = SweepSpec(Space.of("sma", ["sma_fast=5:44:1", "sma_slow=60:180:5", "fee_bps=0,1,2,5"]), curves=0)
    strategies = [one for number in range(len(space)) if (one := space[number].strategy) is not None]
    work = LONG_BARS * len(space)

    def bare(threads: int) -> float:
        parts = [strategies[part::threads] for part in range(threads)]
        with ThreadPoolExecutor(threads) as pool:
            return best(lambda: list(pool.map(lambda part: swept(bars, part), parts)), repeats=3)

    def over_ray(own: SweepSpec, workers: int, repeats: int) -> float:
        seconds = []
        for _ in range(repeats):
            began = done = 0.0

            def ready(_count: int) -> None:
                nonlocal began
                began = time.perf_counter()

            def progress(_done: int, _all: int) -> None:
                nonlocal done
                done = time.perf_counter()

            with tempfile.TemporaryDirectory(prefix="raysignal-bench-") as folder:
                run_sweep(
                    (market,), own, DiskBlobs(Path(folder)), run_id="bench", workers=workers, ready=ready,
                    progress=progress,
                )  # fmt: skip
            seconds.append(done - began)
        return min(seconds)

    bare_seconds, alone = bare(cores), bare(1)
    with ray_session(None, cpus=cores):
        ray_seconds = over_ray(spec, cores, 3)
        many_seconds, many_alone = over_ray(longer, cores, 2), over_ray(longer, 1, 2)
    return [
        _figure(f"bare loop, 1 000 000 bars x 1 000, {cores} cores", work / bare_seconds, "1/s"),
        _figure("bare loop, one core", work / alone, "1/s"),
        _figure(f"raysignal sweep over Ray, {cores} workers", work / ray_seconds, "1/s"),
        _figure("share of the bare loop on all cores", bare_seconds / ray_seconds, "x", target=0.7),
        _figure(
            f"efficiency on {cores} workers against 1, 1 000 000 bars x 4 000",
            many_alone / many_seconds / cores,
            "x",
            target=0.9,
        ),
    ]


# One


def ordered(n: int) -> tuple[Bars, Int8Array]:
    """Bars with an order at every tenth: in, out, in, out."""
    actions = np.zeros(n, np.int8)
    actions[::EVERY] = np.where(np.arange(len(actions[::EVERY])) % 2 == 0, 1, -1)
    return prices(n), actions


def _one() -> list[Figure]:
    bars, actions = ordered(ONE_BARS)
    symbols = np.zeros(ONE_BARS, np.int32)

    def own(n: int = ONE_BARS) -> Performance:
        ledger = Ledger(COST)
        ledger.ensure_symbols(1)
        ledger.run(bars.known_at_us[:n], symbols[:n], actions[:n], bars.close[:n])
        return Performance.of(ledger.account)

    rate = ONE_BARS / best(own, repeats=9)
    figures = [_figure("bars/s of a single run, an order at every tenth bar", rate, "1/s")]
    for name, target, run in (
        ("backtesting.py", 500.0, _backtesting), ("NautilusTrader", 5_000.0, _nautilus),
    ):  # fmt: skip
        found = run(PEER_BARS)
        if found is None:
            print(f"{name} is not there, so there is no ratio: `make bench` installs it", file=sys.stderr)
            continue
        seconds, equity = found
        assert abs(equity / own(PEER_BARS).equity - 1.0) < 5e-3, (
            f"{name}: {equity}, here {own(PEER_BARS).equity}"
        )
        figures.append(_figure(f"{name}: bars/s", PEER_BARS / seconds, "1/s"))
        figures.append(_figure(f"ratio to {name}", rate / (PEER_BARS / seconds), "x", target=target))
    return figures


def _backtesting(n: int) -> tuple[float, float] | None:
    """Seconds and final equity; positions of whole units, of prices small enough for that to change little."""
    try:
        import pandas as pd  # noqa: PLC0415 - comes with the peer's code path alone

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from backtesting import Backtest, Strategy  # noqa: PLC0415 - a peer
    except ImportError:
        return None
    bars, actions = ordered(n)
    scale = 1e-4  # so that whole units are small parts of the position
    close = bars.close * scale
    frame = pd.DataFrame(
        {"Open": close, "High": close, "Low": close, "Close": close, "Volume": 1.0},
        index=pd.to_datetime(bars.known_at_us, unit="us"),
    )

    class Told(Strategy):  # type: ignore[misc]
        def init(self) -> None:
            self.row = 0

        def next(self) -> None:
            action = actions[len(self.data) - 1]
            if action > 0 and not self.position:
                self.buy(size=0.9999)
            elif action < 0 and self.position:
                self.position.close()

    test = Backtest(
        frame,
        Told,
        cash=COST.initial_cash,
        commission=COST.fee_bps / 10_000,
        trade_on_close=True,
        finalize_trades=True,
    )
    backtesting_set_quiet()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stats = test.run()
        seconds = best(test.run, repeats=3)
    return seconds, float(stats["Equity Final [$]"])


def backtesting_set_quiet() -> None:
    """Without its progress bar, which costs time and is in the way."""
    import backtesting  # noqa: PLC0415 - a peer

    backtesting.backtesting._tqdm = lambda rows, **_: rows  # noqa: SLF001 - it has no setting


def _nautilus(n: int) -> tuple[float, float] | None:
    return nautilus(*ordered(n), COST)


def main() -> None:
    """Print the figures, one a line."""
    for found in measure():
        print(f"{found.what:<80} {found.shown:>24} {found.asked}")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "MB")


if __name__ == "__main__":
    main()
