"""Realistic signal files by seed: `python -m raysignal.data.generator` writes the committed sample again.

    GeneratorSpec(rows=5_000, seed=7)                        right 60 % of the time in calm, 40 % in a storm
    GeneratorSpec(rows=5_000, seed=7, regime_effect=False)   null data: 50 % everywhere
    GeneratorSpec(rows=5_000, seed=7, edge=0.55)             an edge that does not depend on the regime

The three files differ in the column `Signal` and in nothing else. `data/README.md` describes the columns.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd

from raysignal.data.checks import check_between, check_share, check_symbols, check_whole, check_wholes
from raysignal.data.draws import DEGREES, Draws
from raysignal.data.market import REGIMES, SPELLS, make_market
from raysignal.data.signals import make_calls
from raysignal.data.texts import FREE_TEXT, NewsDesk, TextLength, make_labels
from raysignal.engine.core.arrays import BoolArray, Float64Array, Int8Array, Int64Array
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.instants import DAY_US, LATEST_US, MICROSECONDS, parse_bar, parse_instant

COLUMNS = (
    "datetime", "close", "mvrv_btc_momentum", "spot_volume_daily_sum", "Signal", "summary",
    "next_news_prediction", "sentiment", "index", "key_factors", "dominant_emotions", "dominant_sentiment",
    "intensity", "psychology_explanation",
)  # fmt: skip
LACKING = ("sentiment", "index", "key_factors", "dominant_emotions")  # one row of a symbol has none of these
MOST_ROWS = 1_000_000

_MINUTE_US = 60 * MICROSECONDS
_LACKING_FROM = 10  # rows
_BLOCK = 5_000  # rows whose free text is held at once


@dataclass(frozen=True, slots=True)
class GeneratorSpec:
    """What to generate.

    Attributes:
        rows: in all, shared out among the symbols; 1 to 1 000 000 (`data.plain` writes larger files).
        seed: 0 or more; decides everything that the other attributes leave open.
        start: when the first bar opens, ISO 8601, UTC unless it says otherwise; whole minutes.
        bar: the bars' spacing, whole minutes up to a day.
        gaps: the probability that bars are missing before a row; 0 to 0.5.
        edge: the probability that a signal is right, one number for both regimes or one for each of
            `data.market.REGIMES`; 0 to 1.
        regime_effect: False makes null data: a signal is right with probability 0.5, whatever `edge` says.
        horizon_bars: how many bars ahead a signal is about; 1 to 10 000.
        hold_share: the probability that a row says HOLD; 0 to 1.
        buy_share: the share of BUY among the signals that are no HOLD; 0 to 1, and as far from 0 and 1 as `edge` is
            from 0.5 at least. How often signals are right stays `edge`.
        drift: the logarithmic growth of prices a year, such as 0.2, which is +22 %; -1 (-63 %) to 1 (+172 %).
        tails: degrees of freedom of the moves' Student t, 4 or 2.5; fewer are fatter.
        spells: how many bars each regime lasts on average, one number for each of `data.market.REGIMES`; 2 to 10 000.
        volatility: how many times as large as usual the moves are; 0.1 to 10.
        texts: free text as long as in the wild (2.8 KB a row), short, or none; labels always stay.
        symbols: distinct names. With more than one, a last column `symbol` says which a row is about.

    Raises:
        InvalidField: a value outside of these.
    """

    rows: int = 500
    seed: int = 0
    start: str = "2025-01-06T00:00:00Z"
    bar: str = "10m"
    gaps: float = 0.04
    edge: float | tuple[float, ...] = (0.6, 0.4)
    regime_effect: bool = True
    horizon_bars: int = 6
    hold_share: float = 0.0
    buy_share: float = 0.5
    drift: float = 0.0
    tails: float = 4.0
    spells: tuple[int, ...] = SPELLS
    volatility: float = 1.0
    texts: TextLength = "long"
    symbols: tuple[str, ...] = ("BTC",)

    def __post_init__(self) -> None:
        check_symbols(self.symbols)
        check_whole("rows", self.rows, len(self.symbols), MOST_ROWS)
        check_whole("seed", self.seed, 0, 2**63 - 1)
        check_whole("horizon_bars", self.horizon_bars, 1, 10_000)
        check_share("gaps", self.gaps, 0.5)
        check_share("hold_share", self.hold_share, 1.0)
        check_share("buy_share", self.buy_share, 1.0)
        check_between("drift", self.drift, -1.0, 1.0)
        check_between("volatility", self.volatility, 0.1, 10.0)
        check_wholes("spells", self.spells, 2, 10_000, of=REGIMES)
        if self.tails not in DEGREES:
            raise InvalidField("tails", self.tails, " or ".join(f"{degrees:g}" for degrees in DEGREES))
        if self.texts not in get_args(TextLength):
            raise InvalidField("texts", self.texts, "long, short or none")
        for edge in self.edge if isinstance(self.edge, tuple) else (self.edge,):
            check_share("edge", edge, 1.0)
        if isinstance(self.edge, tuple) and len(self.edge) != len(REGIMES):
            raise InvalidField("edge", self.edge, f"one number, or one for each of {', '.join(REGIMES)}")
        reach = max(abs(edge - 0.5) for edge in self.edges)
        if not reach <= self.buy_share <= 1.0 - reach:
            raise InvalidField(
                "buy_share",
                self.buy_share,
                f"from {reach:g} to {1.0 - reach:g}, for signals that are this often right",
            )
        if self.bar_us % _MINUTE_US or self.bar_us > DAY_US:
            raise InvalidField("bar", self.bar, "whole minutes, at most a day")
        if self.start_us % _MINUTE_US:
            raise InvalidField("start", self.start, "a whole minute")
        # A gap lacks six bars at most.
        if self.start_us + self.rows * self.bar_us * 7 > LATEST_US:
            raise InvalidField("rows", self.rows, f"bars of {self.bar} that end before the year 2200")

    @property
    def start_us(self) -> int:
        return parse_instant(self.start, field="start")

    @property
    def bar_us(self) -> int:
        return parse_bar(self.bar)

    @property
    def edges(self) -> tuple[float, ...]:
        """The probability that a signal is right, for each regime, as it is used."""
        if not self.regime_effect:
            return (0.5,) * len(REGIMES)
        return self.edge if isinstance(self.edge, tuple) else (self.edge,) * len(REGIMES)


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What only the generator knows, row by row of the file.

    Attributes:
        opened_us: int64[n], the instant that the row's stamp names.
        regime: int8[n], position in `data.market.REGIMES`.
        probability: float64[n], with which a BUY or SELL of the row is right.
        judged: bool[n], it is a BUY or SELL whose horizon ends within the file.
        right: bool[n], judged, and the first row `horizon_bars` bars later or more stood where it said.
    """

    opened_us: Int64Array
    regime: Int8Array
    probability: Float64Array
    judged: BoolArray
    right: BoolArray


def generate(spec: GeneratorSpec) -> pd.DataFrame:
    """The file as a frame: `COLUMNS`, numbered from 0; see `data/README.md` for types and units."""
    return generate_with_truth(spec)[0]


def generate_with_truth(spec: GeneratorSpec) -> tuple[pd.DataFrame, Truth]:
    """The file as a frame, and what only the generator knows about its rows."""
    facts = _facts(spec)
    truth = Truth(**{field.name: facts[field.name].to_numpy() for field in fields(Truth)})
    return pd.concat(list(_frames(spec, facts))), truth


def write_csv(spec: GeneratorSpec, path: str | Path) -> None:
    """The file itself: UTF-8 without a mark, CRLF, quotes where a comma or a quote asks for them.

    Same spec, same bytes. Free text is written as it is made, so memory does not grow with it.
    """
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        for number, frame in enumerate(_frames(spec, _facts(spec))):
            as_written = frame.assign(mvrv_btc_momentum=frame["mvrv_btc_momentum"].map(_spreadsheet_number))
            as_written.to_csv(file, header=number == 0, lineterminator="\r\n")


def _facts(spec: GeneratorSpec) -> pd.DataFrame:
    """Everything but free text, in the file's order: its columns, the truth's, and what texts need."""
    parts = [
        _facts_of(spec, number, len(range(number, spec.rows, len(spec.symbols))))
        for number in range(len(spec.symbols))
    ]
    return pd.concat(parts).sort_values(["opened_us", "desk"], ignore_index=True)


def _facts_of(spec: GeneratorSpec, symbol: int, rows: int) -> pd.DataFrame:
    seed = spec.seed
    market = make_market(
        rows, start_us=spec.start_us, bar_us=spec.bar_us, gaps=spec.gaps, seed=seed, symbol=symbol,
        drift=spec.drift, degrees=float(spec.tails), spells=spec.spells, volatility=spec.volatility,
    )  # fmt: skip
    calls = make_calls(
        market, edge=spec.edges, horizon_us=spec.horizon_bars * spec.bar_us, hold_share=spec.hold_share,
        buy_share=spec.buy_share, seed=seed, symbol=symbol,
    )  # fmt: skip
    labels = make_labels(market.mood, seed=seed, symbol=symbol)
    facts = pd.DataFrame({
        "datetime": [_stamp(instant) for instant in market.opened_us.tolist()],
        "close": market.price,
        "mvrv_btc_momentum": [float(_spreadsheet_number(value)) for value in market.momentum.tolist()],
        "spot_volume_daily_sum": market.volume,
        "Signal": calls.action.astype(np.int64),
        "sentiment": pd.Series(labels.sentiment, dtype="str"),
        "index": pd.Series(market.mood, dtype="Int64"),
        "dominant_emotions": pd.Series(labels.emotions, dtype="str"),
        "dominant_sentiment": pd.Series(labels.dominant, dtype="str"),
        "intensity": labels.intensity,
        "symbol": spec.symbols[symbol],
        "opened_us": market.opened_us, "regime": market.regime, "probability": calls.probability,
        "judged": calls.judged, "right": calls.right, "mood": market.mood, "desk": symbol,
        "lacks": False,
    })  # fmt: skip
    if rows >= _LACKING_FROM:
        facts.loc[int(Draws(seed, symbol, 9).below(rows, 1)[0]), "lacks"] = True
    return facts


def _frames(spec: GeneratorSpec, facts: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The file's columns, `_BLOCK` rows at a time, with the free text."""
    columns = [*COLUMNS, "symbol"] if len(spec.symbols) > 1 else list(COLUMNS)
    rows = facts["desk"].value_counts()
    desks = [
        NewsDesk(int(rows[symbol]), spec.texts, seed=spec.seed, symbol=symbol)
        for symbol in range(len(spec.symbols))
    ]
    for first in range(0, len(facts), _BLOCK):
        block = facts.iloc[first : first + _BLOCK].copy()
        told = [
            desks[desk].write(mood, price)
            for desk, mood, price in zip(block["desk"], block["mood"], block["close"], strict=True)
        ]
        for column, texts in zip(FREE_TEXT, zip(*told, strict=True), strict=True):
            block[column] = pd.Series([text or None for text in texts], index=block.index, dtype="str")
        block.loc[block["lacks"], list(LACKING)] = None
        yield block[columns]


def _stamp(instant_us: int) -> str:
    moment = datetime.fromtimestamp(instant_us // MICROSECONDS, UTC)
    return f"{moment.month}/{moment.day}/{moment.year} {moment.hour}:{moment.minute:02}"


def _spreadsheet_number(value: float) -> str:
    """Nine decimals, small ones with an exponent, as a spreadsheet saves them."""
    rounded = round(value, 9)
    return f"{rounded:.2E}" if 0.0 < abs(rounded) < 1e-4 else f"{rounded:.9f}".rstrip("0").rstrip(".")


SAMPLE = Path(__file__).with_name("sample.csv")
SAMPLE_SPEC = GeneratorSpec(
    rows=2_500, seed=2025, bar="1h", volatility=3.5, spells=(80, 40), edge=(0.85, 0.15), hold_share=0.1, texts="none",
)  # fmt: skip
"""The sample: its signals are right 85 % of the time in calm and 15 % in a storm; see `data/README.md`."""

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m raysignal.data.generator", description="Write the sample again."
    )
    parser.add_argument("file", type=Path, nargs="?", default=SAMPLE, help="where to; the sample's own place")
    write_csv(SAMPLE_SPEC, parser.parse_args().file)
