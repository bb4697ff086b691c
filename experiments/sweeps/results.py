"""The files of a sweep, the manifest last: a run that has one is finished. The same results make the same bytes.

<store>/experiments/<run_id>/sweep.parquet      one row a symbol and configuration: parameters, figures, rank
                             periods.parquet    returns a period, of up to some thousand configurations
                             folds.parquet      what was chosen in training, and what became of it
                             curves.parquet     the whole account of the best
                             metrics.json report.html report.png manifest.json
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.policy import Policy
from raysignal.engine.journal.blobs import BlobStore
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.performance import Performance, calendar_of
from raysignal.experiments.result_files import (
    MANIFEST,
    METRICS,
    PICTURE,
    REPORT,
    blob_name,
    json_bytes,
    parquet_bytes,
)
from raysignal.experiments.sweeps.chunks import RUINED, Marks, run_chunk
from raysignal.experiments.sweeps.folding import OutOfSample, choices, folds_table, out_of_sample
from raysignal.experiments.sweeps.market import Market
from raysignal.experiments.sweeps.report import MarketView, make_sweep_report
from raysignal.experiments.sweeps.sweep import SweepSpec
from raysignal.experiments.sweeps.tables import (
    curve,
    figures,
    period_returns,
    periods_table,
    ranked_by,
    ranks,
    sweep_table,
    trades_of_configuration,
)

SWEEP = "sweep.parquet"
PERIODS = "periods.parquet"
FOLDS = "folds.parquet"
CURVES = "curves.parquet"


@dataclass(frozen=True, slots=True)
class SweepFindings:
    """What a sweep came to: its metrics, its tables by file name, and what a report shows of each market."""

    metrics: dict[str, Any]
    tables: dict[str, pa.Table]
    views: list[MarketView]


def write_sweep(
    blobs: BlobStore,
    run_id: str,
    markets: tuple[Market, ...],
    spec: SweepSpec,
    tables: list[pa.Table],
    manifest: Mapping[str, Any],
) -> tuple[dict[str, Any], list[str]]:
    """Write all files; the metrics, and the names.

    Raises:
        StoreError: a file of that run holds other bytes.
        StoreUnavailable: the store did not answer.
    """
    found = sweep_findings(markets, spec, tables)
    report = make_sweep_report(found.views, manifest)
    contents = {name: parquet_bytes(table) for name, table in found.tables.items()}
    contents |= {
        METRICS: json_bytes(found.metrics),
        REPORT: report.html.encode(),
        PICTURE: report.png,
        MANIFEST: json_bytes(manifest),
    }
    names = []
    for name, data in contents.items():
        names.append(blob_name(run_id, name))
        blobs.put(names[-1], data)
    return found.metrics, names


def sweep_findings(markets: tuple[Market, ...], spec: SweepSpec, tables: list[pa.Table]) -> SweepFindings:
    """Rank, judge and validate what every market's configurations found, a table of `run_chunk` each."""
    whole, periods, folds, curves = [], [], [], []
    symbols: dict[str, Any] = {}
    views = []
    for market, table in zip(markets, tables, strict=True):
        marks = spec.marks(market)
        rank, ranked = ranks(table, spec.objective), ranked_by(table, spec.objective)
        swept = sweep_table(market, spec.space, table, rank)
        whole.append(swept)
        periods.append(periods_table(market, table, marks.periods))
        best = np.argsort(rank)
        policy = spec.space[0].policy  # the calendar is the same for all
        whole_file = _holding(market, policy)
        held = asdict(whole_file.buy_and_hold)
        verdict = _verdict(market, spec, table, marks, int(best[0]))
        found = spec.folds(market)
        together: OutOfSample | None = None
        if found:
            by_return = spec.objective == "total_return"
            chosen = choices(table, found, by_return=by_return)
            together = out_of_sample(
                market, chosen, periods_per_year=whole_file.periods_per_year or np.nan, by_return=by_return
            )
            folds.append(folds_table(market, found, chosen))
        own = [curve(market, spec.space, int(number), spec.trial) for number in best[: spec.curves]]
        curves += own
        trades = trades_of_configuration(market, spec.space, int(best[0]), spec.trial)
        symbols[market.symbol] = {
            "configurations": len(table),
            "bars": len(market.bars) - market.start,
            "best": [_described(spec, swept, int(number)) for number in best[:10]],
            "ranked_by": ranked,
            "objective": _spread(figures(table, ranked)),
            "ruined": int(pc.sum(table[RUINED]).as_py()),
            "buy_and_hold": held,
            "trades": trades,
            "calendar": calendar_of(policy),
            "periods_per_year": whole_file.periods_per_year,
            "verdict": verdict,
            "validation": None if together is None else asdict(together),
        }
        views.append(
            MarketView(
                symbol=market.symbol, table=swept, objective=ranked,
                names=tuple(axis.name for axis in spec.space.axes), varied=spec.space.varied,
                verdict=verdict, folds=folds[-1] if found else None,
                out_of_sample=None if together is None else together.sentence, curves=own, buy_and_hold=held,
                trades={"the best": trades},
                calendar=calendar_of(policy),
            )
        )  # fmt: skip
    metrics = {
        "kind": "sweep",
        "objective": spec.objective,
        "strategy": spec.space.strategy,
        "senseless": spec.space.senseless,
        "symbols": symbols,
    }
    written = {SWEEP: whole, PERIODS: periods, FOLDS: folds, CURVES: curves}
    return SweepFindings(metrics, {name: _joined(parts) for name, parts in written.items() if parts}, views)


def _verdict(
    market: Market, spec: SweepSpec, table: pa.Table, marks: Marks, best: int
) -> dict[str, Any] | None:
    """Whether the best is more than luck, by its own trials; None where there is too little to say."""
    from raysignal.experiments.selection.verdict import judge  # noqa: PLC0415 - slow to import; no worker needs it

    numbers, returns = period_returns(table)
    if best not in numbers:
        alone = run_chunk(
            market, spec.space, best, best + 1, Marks(marks.periods, marks.folds, 1), spec.trial
        )
        numbers = np.append(numbers, best)
        returns = np.concatenate([returns, period_returns(alone)[1]], axis=1)
    try:
        own = int(np.flatnonzero(numbers == best)[0])
        found = judge(returns, _market_returns(market, marks), best=own, trials=len(table), seed=spec.seed)
    except InvalidField as error:
        return {"significant": False, "sentence": f"Nothing can be said about luck: {error}."}
    return asdict(found)


def _market_returns(market: Market, marks: Marks) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Of holding, over each period: from the close before it to its last."""
    close = market.bars.close[market.start :]
    last = close[marks.periods[1:] - 1]
    returns: np.ndarray[Any, np.dtype[np.float64]] = last / np.concatenate([close[:1], last[:-1]]) - 1.0
    return returns


def _holding(market: Market, policy: Policy) -> Performance:
    """Buy-and-hold's figures, and what annual ones rest on."""
    bars = market.bars.slice(market.start, len(market.bars))
    ledger = Ledger(policy)
    ledger.ensure_symbols(1)
    ledger.run(bars.known_at_us, np.zeros(len(bars), np.int32), np.zeros(len(bars), np.int8), bars.close)
    return Performance.of(ledger.account, policy)


def _described(spec: SweepSpec, swept: pa.Table, number: int) -> dict[str, Any]:
    row = swept.slice(number, 1).to_pylist()[0]
    parameters = spec.space[number].parameters
    left_out = {"symbol", "configuration", "rank", *parameters}
    return {
        "configuration": number,
        "parameters": parameters,
        "figures": {name: value for name, value in row.items() if name not in left_out},
    }


def _spread(values: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float | None]:
    known = values[~np.isnan(values)]
    points = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
    return {
        f"q{round(point * 100)}": float(np.quantile(known, point)) if len(known) else None for point in points
    }


def _joined(tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()
