import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from raysignal.data import plain
from raysignal.data.plain import write_plain
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.instants import parse_instant

FEATURES = [
    "mvrv_btc_momentum", "spot_volume_daily_sum", "sentiment", "index", "dominant_sentiment", "intensity",
]  # fmt: skip


def read(path, kind):
    if kind == "csv":
        frame = pd.read_csv(path)
    elif kind == "ndjson":
        frame = pd.DataFrame([json.loads(line) for line in path.read_text().splitlines()])
    else:
        frame = pq.read_table(path).to_pandas()
        frame["timestamp"] = frame["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
        frame["signal"] = frame["signal"].astype("int64")
    return frame


@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize("kind", ["ndjson", "parquet"])
def test_every_format_holds_the_same_rows(tmp_path, monkeypatch, kind, features):
    monkeypatch.setattr(plain, "_CHUNK", 700)
    asked = {"symbols": ("BTC", "ETH", "X/LONG-NAME"), "bar": "7m", "features": features}
    write_plain(tmp_path / "one", 5_000, 3, format="csv", **asked)
    write_plain(tmp_path / "other", 5_000, 3, format=kind, **asked)
    one, other = read(tmp_path / "one", "csv"), read(tmp_path / "other", kind)
    assert list(one.columns) == ["timestamp", "symbol", "price", "signal", *(FEATURES if features else [])]
    pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_a_plain_file_is_the_same_bytes_for_the_same_seed(tmp_path):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        write_plain(tmp_path / name, 2_000, seed, format="ndjson")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_stamps_rise_by_a_bar_for_each_symbol_across_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(plain, "_CHUNK", 100)
    write_plain(tmp_path / "p.csv", 1_001, 1, symbols=("A", "B"), bar="1s")
    frame = pd.read_csv(tmp_path / "p.csv")
    assert len(frame) == 1_001
    for _, rows in frame.groupby("symbol"):
        instants = np.array([parse_instant(stamp) for stamp in rows["timestamp"]])
        assert (np.diff(instants) == 1_000_000).all()


def test_prices_have_two_decimals_and_stay_in_their_bounds(tmp_path):
    write_plain(tmp_path / "p.csv", 20_000, 2, bar="1d", symbols=("A",))
    prices = pd.read_csv(tmp_path / "p.csv", dtype=str)["price"]
    assert prices.str.fullmatch(r"\d{5}\.\d\d").all()
    assert prices.astype(float).between(20_000, 99_999.99).all()
    assert prices.nunique() > 10_000
    assert set(pd.read_csv(tmp_path / "p.csv")["signal"]) == {-1, 0, 1}


def test_bars_below_a_second_carry_milliseconds_in_every_stamp(tmp_path):
    write_plain(tmp_path / "p.csv", 9, 2, bar="250ms")
    stamps = pd.read_csv(tmp_path / "p.csv")["timestamp"]
    assert stamps.str.fullmatch(r"2025-01-06T00:00:0\d\.\d{3}Z").all()
    assert np.diff([parse_instant(stamp) for stamp in stamps]).tolist() == [250_000] * 8


def test_the_file_does_not_depend_on_the_number_of_rows_that_follow(tmp_path):
    write_plain(tmp_path / "short", 500, 4, features=True)
    write_plain(tmp_path / "long", 900, 4, features=True)
    assert (tmp_path / "long").read_bytes().startswith((tmp_path / "short").read_bytes())


@pytest.mark.parametrize(
    ("field", "asked"),
    [
        ("rows", {"rows": 0}), ("seed", {"seed": -1}), ("format", {"format": "xlsx"}),
        ("bar", {"bar": "5us"}),
        ("bar", {"bar": "x"}), ("symbols", {"symbols": ('a"b',)}),
        ("rows", {"rows": 500_000_000, "bar": "1d"}),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_refused_before_the_file_is_touched(tmp_path, field, asked):
    path = tmp_path / "p.csv"
    with pytest.raises(InvalidField) as refused:
        write_plain(path, **{"rows": 10, "seed": 1, **asked})
    assert refused.value.fields["field"] == field
    assert not path.exists()
