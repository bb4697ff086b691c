import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raysignal.data.generator import (
    COLUMNS,
    LACKING,
    SAMPLE,
    SAMPLE_SPEC,
    GeneratorSpec,
    generate,
    generate_with_truth,
    write_csv,
)
from raysignal.data.texts import FREE_TEXT
from raysignal.engine.core.errors import InvalidField

LARGE = GeneratorSpec(rows=30_000, seed=11, texts="none")


def written(spec: GeneratorSpec, folder: Path) -> bytes:
    path = folder / "signals.csv"
    write_csv(spec, path)
    return path.read_bytes()


def accuracy_by_regime(spec: GeneratorSpec) -> list[tuple[float, int]]:
    """Measured from the file's own columns: did the price go where the signal said?"""
    frame, truth = generate_with_truth(spec)
    end = np.searchsorted(truth.opened_us, truth.opened_us + spec.horizon_bars * spec.bar_us)
    told = (end < len(frame)) & (frame["Signal"] != 0).to_numpy()
    close = frame["close"].to_numpy()
    change = close[np.minimum(end, len(frame) - 1)] - close
    right = np.sign(change) == frame["Signal"].to_numpy()
    of = [told & (truth.regime == regime) for regime in (0, 1)]
    return [(float(right[rows].mean()), int(rows.sum())) for rows in of]


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    ranks = pd.Series(score).rank().to_numpy()
    count = positive.sum()
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (~positive).sum()))


def within_binomial_bounds(measured: float, expected: float, n: int) -> bool:
    return abs(measured - expected) < 4 * (expected * (1 - expected) / n) ** 0.5


def test_the_committed_sample_is_what_the_generator_writes(tmp_path):
    assert written(SAMPLE_SPEC, tmp_path) == SAMPLE.read_bytes()


def test_the_sample_stays_small_and_shows_all_three_signals():
    assert SAMPLE.stat().st_size < 400_000
    assert set(pd.read_csv(SAMPLE)["Signal"]) == {-1, 0, 1}


def test_the_signals_of_the_sample_are_right_as_often_as_it_is_told():
    for (measured, n), edge in zip(accuracy_by_regime(SAMPLE_SPEC), SAMPLE_SPEC.edges, strict=True):
        assert n > 500
        assert within_binomial_bounds(measured, edge, n)


def test_spells_last_as_long_as_asked_for():
    spec = replace(LARGE, spells=(60, 20))
    _, truth = generate_with_truth(spec)
    changes = np.flatnonzero(np.diff(truth.regime)) + 1
    lengths = np.diff(changes)
    for regime, spell in enumerate(spec.spells):
        own = lengths[truth.regime[changes[:-1]] == regime]
        assert own.mean() == pytest.approx(spell, rel=0.2)


def test_a_file_has_the_fifteen_columns_and_ends_its_lines_with_crlf(tmp_path):
    data = written(GeneratorSpec(rows=50, seed=1), tmp_path)
    assert data.count(b"\r\n") == data.count(b"\n") == 51
    header = next(csv.reader(io.StringIO(data.decode())))
    assert header == ["", *COLUMNS]
    assert len(header) == 15


def test_a_file_reads_back_as_the_frame_that_made_it(tmp_path):
    spec = GeneratorSpec(rows=5_100, seed=2, texts="short")
    frame = generate(spec)
    back = pd.read_csv(io.BytesIO(written(spec, tmp_path)), index_col=0, dtype={"index": "Int64"})
    pd.testing.assert_frame_equal(frame, back, check_exact=True)


def test_rows_are_about_as_long_as_in_the_wild(tmp_path):
    size = len(written(GeneratorSpec(rows=300, seed=3), tmp_path)) / 300
    assert 2_400 < size < 3_200


def test_the_oddities_of_real_files_are_there():
    frame = generate(GeneratorSpec(rows=300, seed=4))
    lacking = frame[frame["index"].isna()]
    assert len(lacking) == 1
    assert lacking[list(LACKING)].isna().all(axis=None)
    assert frame[list(LACKING)].isna().sum().tolist() == [1, 1, 1, 1]
    assert (frame["spot_volume_daily_sum"] > 2**32).all()
    labels = frame["dominant_sentiment"]
    assert 0 < (labels != labels.str.upper()).sum() < 30
    assert (frame["dominant_emotions"].dropna().str.split(", ").str.len() == 3).all()
    prediction = frame["next_news_prediction"]
    assert {"=", "+", "-", "@"} <= set(prediction.str[0])
    assert 0.9 < prediction.str.startswith(" ").mean() < 1
    assert frame["summary"].str.contains('"').any()
    assert frame["summary"].str.contains(",").any()
    assert frame["summary"].str.contains(r"[\u0430-\u044f]").any()
    assert frame["summary"].str.contains(r"[\u3041-\u3093]").any()
    assert frame["index"].dropna().between(0, 100).all()


def test_stamps_are_spaced_by_the_bar_with_gaps_and_never_repeat():
    frame, truth = generate_with_truth(GeneratorSpec(rows=2_000, seed=5, gaps=0.04, texts="none"))
    steps = np.diff(truth.opened_us) // 600_000_000
    assert (np.diff(truth.opened_us) % 600_000_000 == 0).all()
    assert (steps >= 1).all()
    assert within_binomial_bounds(float((steps > 1).mean()), 0.04, len(steps))
    assert frame["datetime"].is_unique
    read = pd.to_datetime(frame["datetime"], format="%m/%d/%Y %H:%M").astype("datetime64[us]").astype("int64")
    assert (read.to_numpy() == truth.opened_us).all()


def test_without_gaps_no_bar_is_missing():
    _, truth = generate_with_truth(replace(LARGE, rows=500, gaps=0.0))
    assert (np.diff(truth.opened_us) == 600_000_000).all()


def test_signals_are_right_as_often_as_their_regime_says():
    for (measured, n), expected in zip(accuracy_by_regime(LARGE), (0.6, 0.4), strict=True):
        assert n > 5_000
        assert within_binomial_bounds(measured, expected, n)


def test_null_data_has_no_edge_in_either_regime():
    for measured, n in accuracy_by_regime(replace(LARGE, regime_effect=False)):
        assert within_binomial_bounds(measured, 0.5, n)


def test_a_single_edge_holds_in_both_regimes():
    for measured, n in accuracy_by_regime(replace(LARGE, edge=0.55)):
        assert within_binomial_bounds(measured, 0.55, n)


@pytest.mark.parametrize("change", [{"regime_effect": False}, {"edge": 0.55}, {"hold_share": 0.3}])
def test_the_quality_of_signals_changes_no_other_column(change):
    spec = GeneratorSpec(rows=400, seed=6, texts="short")
    with_effect, without = generate(spec), generate(replace(spec, **change))
    assert (with_effect["Signal"] != without["Signal"]).any()
    others = [column for column in COLUMNS if column != "Signal"]
    pd.testing.assert_frame_equal(with_effect[others], without[others])


def test_the_truth_knows_which_signals_came_right():
    spec = replace(LARGE, rows=2_000, hold_share=0.2)
    frame, truth = generate_with_truth(spec)
    assert not truth.judged[frame["Signal"] == 0].any()
    assert not truth.judged[-spec.horizon_bars :].any()
    assert set(np.unique(truth.probability)) == {0.4, 0.6}
    close, signal = frame["close"].to_numpy(), frame["Signal"].to_numpy()
    for row in range(0, 1_900, 7):
        later = close[truth.opened_us >= truth.opened_us[row] + spec.horizon_bars * spec.bar_us][0]
        if truth.judged[row]:
            assert truth.right[row] == ((later > close[row]) == (signal[row] > 0))


def test_the_regime_is_recognisable_from_what_the_row_shows():
    frame, truth = generate_with_truth(LARGE)
    stormy = truth.regime == 1
    assert 0.25 < stormy.mean() < 0.55
    assert auc(-frame["index"].astype("Float64").fillna(50).to_numpy(float), stormy) > 0.85
    assert auc(frame["spot_volume_daily_sum"].to_numpy(float), stormy) > 0.6


def test_the_market_cannot_be_told_from_its_features():
    frame, truth = generate_with_truth(LARGE)
    close = frame["close"].to_numpy()
    rows = np.arange(1, len(frame) - 6, 6)  # horizons that do not overlap
    rises = close[rows + 6] > close[rows]
    assert within_binomial_bounds(float(rises.mean()), 0.5, len(rises))
    bound = 4 / np.sqrt(12 * len(rows) * 0.25)  # of an AUC whose score says nothing
    scores = {
        "index": frame["index"].astype("Float64").fillna(50).to_numpy(float),
        "regime": truth.regime,
        "momentum": frame["mvrv_btc_momentum"].to_numpy(),
        "last move": np.diff(close, prepend=close[0]),
    }
    for name, score in scores.items():
        assert abs(auc(score[rows], rises) - 0.5) < bound, name


def test_a_move_says_nothing_about_the_next_one():
    frame, _ = generate_with_truth(LARGE)
    rises = np.diff(frame["close"].to_numpy()) > 0
    same_way = rises[1:] == rises[:-1]
    assert within_binomial_bounds(float(same_way.mean()), 0.5, len(same_way))


def test_moves_are_larger_in_a_storm_and_have_fat_tails():
    frame, truth = generate_with_truth(replace(LARGE, gaps=0.0))
    move = pd.Series(np.diff(np.log(frame["close"].to_numpy())))
    calm, stormy = move[truth.regime[:-1] == 0], move[truth.regime[:-1] == 1]
    assert stormy.std() > 2 * calm.std()
    assert calm.kurt() > 1


def test_several_symbols_share_the_rows_in_time_order():
    spec = GeneratorSpec(rows=301, seed=8, symbols=("BTC", "ETH"), texts="short")
    frame, truth = generate_with_truth(spec)
    assert list(frame.columns) == [*COLUMNS, "symbol"]
    assert frame["symbol"].value_counts().to_dict() == {"BTC": 151, "ETH": 150}
    assert (np.diff(truth.opened_us) >= 0).all()
    for symbol in spec.symbols:
        assert (np.diff(truth.opened_us[(frame["symbol"] == symbol).to_numpy()]) > 0).all()
    alone = generate(replace(spec, rows=151, symbols=("BTC",)))
    together = frame[frame["symbol"] == "BTC"][list(COLUMNS)].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, together)


def test_without_texts_the_text_columns_are_empty_and_labels_stay():
    frame = generate(GeneratorSpec(rows=30, seed=9, texts="none"))
    assert frame[list(FREE_TEXT)].isna().all(axis=None)
    assert frame["dominant_sentiment"].notna().all()


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_the_share_of_buys_is_what_was_asked_for_and_changes_nothing_about_how_often_signals_are_right(share):
    frame, truth = generate_with_truth(replace(LARGE, buy_share=share))
    assert (frame["Signal"] == 1).mean() == pytest.approx(share, abs=0.015)
    for regime, edge in enumerate(LARGE.edges):
        rows = truth.judged & (truth.regime == regime)
        assert truth.right[rows].mean() == pytest.approx(edge, abs=0.015)


def test_null_signals_with_unequal_shares_are_right_as_often_as_the_price_goes_their_way():
    frame, truth = generate_with_truth(replace(LARGE, buy_share=0.7, regime_effect=False))
    for side in (1, -1):
        rows = truth.judged & (frame["Signal"] == side).to_numpy()
        assert truth.right[rows].mean() == pytest.approx(0.5, abs=0.015)


@pytest.mark.parametrize(("drift", "year"), [(0.2, 1.2214), (-1.0, 0.3679)])
def test_a_drift_is_the_logarithmic_growth_of_prices_a_year(drift, year):
    spec = GeneratorSpec(rows=365 * 24 + 1, seed=3, bar="1h", gaps=0.0, texts="none")
    still, moved = (generate(replace(spec, drift=one))["close"].to_numpy() for one in (0.0, drift))
    assert (moved[-1] / moved[0]) / (still[-1] / still[0]) == pytest.approx(year, rel=0.01)


def test_fatter_tails_change_the_moves_and_not_the_signals_quality():
    _, truth = generate_with_truth(replace(LARGE, tails=2.5))
    for regime, edge in enumerate(LARGE.edges):
        rows = truth.judged & (truth.regime == regime)
        assert truth.right[rows].mean() == pytest.approx(edge, abs=0.015)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("buy_share", 0.95), ("buy_share", 1.2), ("drift", 1.5), ("drift", float("nan")), ("tails", 3.0),
        ("volatility", 0.0), ("spells", (100,)), ("spells", (100, 1)), ("spells", (100, 50.5)),
        ("rows", 0), ("rows", 1_000_001), ("rows", True), ("seed", -1), ("gaps", 0.6), ("gaps", float("nan")),
        ("edge", 1.2), ("edge", (0.6,)), ("edge", (0.6, "x")), ("hold_share", -0.1), ("horizon_bars", 0),
        ("texts", "loud"), ("symbols", ()), ("symbols", ("A", "A")), ("symbols", ("a,b",)), ("bar", "1s"),
        ("bar", "2d"), ("bar", "soon"), ("start", "yesterday"), ("start", "2025-01-01T00:00:30Z"),
    ],
)  # fmt: skip
def test_a_spec_that_cannot_be_met_names_its_field(field, value):
    with pytest.raises(InvalidField) as refused:
        GeneratorSpec(**{field: value})
    assert refused.value.fields["field"] == field


def test_a_file_that_would_leave_the_calendar_is_refused():
    with pytest.raises(InvalidField, match="2200"):
        GeneratorSpec(rows=200_000, bar="1d")
