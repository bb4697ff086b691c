"""Frames become the signals that a file of the same rows becomes, or a sentence says what is wrong with them."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import raysignal
from raysignal.engine.core.errors import InvalidField, NotFound, RowErrors

DAYS = pd.date_range("2024-01-01", periods=4, name="Date")
PRICES = [100.0, 101.0, 99.5, 102.0]


def yahoo() -> pd.DataFrame:
    """What yfinance gives for one ticker, flat."""
    return pd.DataFrame(
        {"Open": PRICES, "High": PRICES, "Low": PRICES, "Close": PRICES, "Volume": [1, 2, 3, 4]}, index=DAYS
    )


def plain() -> pd.DataFrame:
    return pd.DataFrame(
        {"timestamp": DAYS.strftime("%Y-%m-%d"), "signal": ["BUY", 0, "SELL", "HOLD"], "price": PRICES}
    ).astype({"signal": str})


def test_a_frame_an_arrow_table_a_polars_frame_and_a_file_are_the_same_signals(tmp_path):
    frame = plain()
    frame.to_csv(tmp_path / "signals.csv", index=False)
    ways = [frame, pl.from_pandas(frame), pa.Table.from_pandas(frame), tmp_path / "signals.csv"]
    ways += [str(tmp_path / "signals.csv"), raysignal.read(frame).frame]
    batches = [raysignal.read(way).batch for way in ways]
    for batch in batches[1:]:
        assert batch.key.tolist() == batches[0].key.tolist()
        assert batch.content.tolist() == batches[0].content.tolist()


def test_an_index_of_instants_is_the_timestamp_and_names_may_be_in_any_case():
    signals = raysignal.read(yahoo().assign(Action=[1, 0, 0, -1]), symbol="SPY", bar="1d", label="open")
    assert signals.frame["timestamp"].tolist() == (DAYS + pd.Timedelta("1D")).tz_localize("UTC").tolist()
    assert signals.frame["price"].tolist() == PRICES
    assert signals.frame["signal"].tolist() == [1, 0, 0, -1]
    assert set(signals.summary["features"]) == {"Open", "High", "Low", "Volume"}
    zoned = yahoo().tz_localize("America/New_York")
    assert raysignal.read(zoned, prices_only=True).frame["timestamp"][0] == pd.Timestamp("2024-01-01T05:00Z")


def test_columns_of_fields_above_tickers_are_rows_with_a_ticker():
    frame = pd.concat({"SPY": yahoo(), "QQQ": yahoo() * 2}, axis=1, names=["Ticker", "Price"])
    frame.loc[DAYS[1], "QQQ"] = np.nan  # not traded that day
    for given in (frame, frame.swaplevel(axis=1)):
        signals = raysignal.read(given, prices_only=True)
        assert len(signals) == 7
        assert signals.frame.query("symbol == 'QQQ'")["price"].tolist() == [200.0, 199.0, 204.0]
    with pytest.raises(InvalidField, match="named Ticker"):
        raysignal.read(frame.rename_axis(columns=["a", "b"]), prices_only=True)


@pytest.mark.parametrize("tickers", [["SPY"], ["SPY", "QQQ"]])
def test_a_column_that_was_added_beside_those_of_tickers_is_of_all_of_them(tickers):
    frame = pd.concat({ticker: yahoo() for ticker in tickers}, axis=1, names=["Ticker", "Price"])
    frame = frame.swaplevel(axis=1)
    frame[("Signal", "")] = [1, 0, -1, 0]
    frame.loc[DAYS[1], [name for name in frame.columns if name[1] == "QQQ"]] = np.nan  # not traded that day
    signals = raysignal.read(frame).frame
    assert signals.query("symbol == 'SPY'")["signal"].tolist() == [1, 0, -1, 0]
    assert signals.query("symbol == 'QQQ'")["signal"].tolist() == ([1, -1, 0] if "QQQ" in tickers else [])
    assert len(raysignal.read(frame.reset_index())) == len(signals)
    frame[("Signal", "SPY")] = 1
    with pytest.raises(InvalidField, match="columns is 'Signal'; expected each name once: of a ticker"):
        raysignal.read(frame)


@pytest.mark.parametrize("index", [list(DAYS.strftime("%Y-%m-%d")), list(DAYS.date)])
def test_an_index_without_a_name_that_holds_dates_is_the_timestamp_where_no_column_is(index):
    frame = yahoo().set_axis(pd.Index(index))
    assert (
        raysignal.read(frame, prices_only=True).frame["timestamp"].tolist()
        == DAYS.tz_localize("UTC").tolist()
    )
    later = frame.assign(Date=DAYS + pd.Timedelta("1h"))
    assert raysignal.read(later, prices_only=True).frame["timestamp"][0] == pd.Timestamp("2024-01-01T01:00Z")


def test_a_bar_that_is_longer_than_what_lies_between_rows_is_refused_unless_it_is_forced():
    frame = yahoo().set_axis(pd.date_range("2024-01-01", periods=4, freq="10min"))
    with pytest.raises(InvalidField, match=r"bar is '1h'; expected at most 10m.*force=True"):
        raysignal.read(frame, prices_only=True, bar="1h", label="open")
    forced = raysignal.read(frame, prices_only=True, bar="1h", label="open", force=True)
    assert forced.frame["timestamp"][0] == pd.Timestamp("2024-01-01T01:00Z")


def test_columns_to_be_named_are_one_argument():
    frame = yahoo().rename(columns={"Close": "Last"})
    with pytest.raises(InvalidField, match=r'say so: columns=\{"signal": "NAME", "price": "NAME"\}$'):
        raysignal.read(frame)
    with pytest.raises(InvalidField, match=r'say so: columns=\{"signal": "NAME"\}; prices alone'):
        raysignal.read(yahoo())


def test_a_column_can_be_named_and_then_the_known_one_is_a_feature():
    frame = yahoo().assign(**{"Adj Close": np.array(PRICES) / 2})
    signals = raysignal.read(frame, columns={"price": "Adj Close"}, prices_only=True)
    assert signals.frame["price"].tolist() == [price / 2 for price in PRICES]
    assert signals.frame["Close"].tolist() == PRICES


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        (17, {}, "data"),
        (plain(), {"symbol": " "}, "symbol is ' '; expected a text of at most 64"),
        (plain(), {"symbol": 5}, "symbol is 5; expected a text of at most 64"),
        (plain(), {"source": "x" * 65}, "source is 'xxx.*; expected a text of at most 64"),
        (yahoo()[["Close"]].reset_index(drop=True), {"prices_only": True}, "among 'Close'$"),
        (plain(), {"bar": 60}, "bar is 60; expected a text, such as .*'10m'"),
        (yahoo(), {}, "signal"),
        (yahoo(), {"columns": {"prize": "Close"}}, "price"),
        (yahoo(), {"columns": {"price": "Last"}}, "Close"),
        ("nowhere.csv", {}, "nowhere.csv is no file"),
        (yahoo()["Close"], {}, "data is 'Series'; expected .*a pandas frame"),
        (pl.Series([1.0]), {}, "data is 'Series'; expected .*a pandas frame"),
        (yahoo(), {"columns": ["price"]}, "columns is .*; expected a dict"),
        (yahoo(), {"columns": {"price": ""}}, "columns is .*; expected the name of a column"),
        (pd.concat([plain(), plain()[["price"]]], axis=1), {}, "columns is 'price'; expected each name once"),
        (
            yahoo().set_axis(DAYS.to_period("D")),
            {},
            r"data is 'of periods'; expected .*frame.to_timestamp\(\)",
        ),
        (plain().rename(columns={"price": "last"}), {}, 'say so: columns={"price": "NAME"}$'),
        (plain().assign(price="1.234,5"), {}, r"is read with decimal=',', thousands='\.'"),
        (plain().assign(timestamp="20/10/2011"), {}, r"say so with day_first=True \(or RAYSIGNAL_INTAKE"),
        (plain(), {"label": "open"}, "bar='1d'"),
        (plain(), {"on_error": "ignore"}, "refuse or skip"),
        (plain()[:0], {}, "at least one"),
        (plain().assign(price=[1.0, 1.0, 50.0, 1.0]), {}, "on_error='skip'"),
        (plain().assign(a=[1, "x", None, {}]), {}, "one kind of value a column"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_was_expected(data, options, said):
    with pytest.raises((InvalidField, NotFound, RowErrors), match=said) as raised:
        raysignal.read(data, **options)
    assert "--" not in str(raised.value)


def test_a_row_that_cannot_be_used_is_named_or_left_out():
    frame = plain().assign(price=[100.0, -1.0, 99.5, 102.0])
    with pytest.raises(RowErrors) as raised:
        raysignal.read(frame)
    assert raised.value.fields["errors"][0]["row"] == 1
    assert raised.value.fields["errors"][0]["field"] == "price"
    signals = raysignal.read(frame, on_error="skip")
    assert (len(signals), signals.summary["refused"]) == (3, 1)


def test_signals_that_were_read_are_taken_as_they_are_and_prices_are_no_signals():
    signals = raysignal.read(plain())
    assert raysignal.replay(signals).signals is signals
    with pytest.raises(InvalidField, match=r"with read\(\)"):
        raysignal.replay(signals, symbol="ETH")
    with pytest.raises(InvalidField, match="column signal"):
        raysignal.replay(raysignal.read(yahoo(), prices_only=True))


def test_what_a_notebook_shows_escapes_what_the_rows_say():
    signals = raysignal.read(plain().assign(symbol="<b>&"))
    shown = signals._repr_html_()
    assert "<b>&amp;" not in shown
    assert "&lt;b&gt;&amp;" in shown
    json.dumps(signals.summary, allow_nan=False)


def test_symbols_and_dates_are_read_as_the_settings_say(monkeypatch):
    monkeypatch.setenv("RAYSIGNAL_INTAKE__SYMBOLS", json.dumps({"BINANCE:BTCUSDT.P": "BTC"}))
    monkeypatch.setenv("RAYSIGNAL_INTAKE__DAY_FIRST", "true")
    frame = pd.DataFrame(
        {"timestamp": ["03/05/2011"], "signal": [1], "price": [1.0], "symbol": ["BINANCE:BTCUSDT.P"]}
    )
    batch = raysignal.read(frame).batch
    assert list(batch.symbols) == ["BTC"]
    assert batch.timestamp_us.tolist() == [1_304_380_800_000_000]  # 3 May


def test_a_file_has_columns_that_are_named_dates_and_numbers_as_it_is_said(tmp_path, monkeypatch):
    path = tmp_path / "kurse.csv"
    path.write_text("Datum;Kurs;close;signal\n03/02/2024;1.234,5;7;BUY\n")
    options = {"columns": {"timestamp": "datum", "close": "KURS"}, "decimal": ",", "thousands": "."}
    frame = raysignal.read(path, day_first=True, **options).frame
    assert frame["timestamp"].tolist() == [pd.Timestamp("2024-02-03", tz="UTC")]
    assert frame["price"].tolist() == [1234.5]
    monkeypatch.setenv("RAYSIGNAL_INTAKE__DAY_FIRST", "true")
    assert raysignal.read(path, **options).frame.equals(frame)
    month = raysignal.read(path, day_first=False, **options).frame
    assert month["timestamp"].tolist() == [pd.Timestamp("2024-03-02", tz="UTC")]


def test_symbols_have_the_names_of_the_settings(monkeypatch):
    monkeypatch.setenv("RAYSIGNAL_INTAKE__SYMBOLS", '{"BINANCE:BTCUSDT.P": "BTC"}')
    assert raysignal.read(plain().assign(symbol="BINANCE:BTCUSDT.P")).summary["symbols"] == ["BTC"]


def test_a_column_named_for_a_field_counts_beside_one_of_the_fields_own_name():
    frame = plain().rename(columns={"price": "close"}).assign(**{"Adj Close": np.array(PRICES) / 2})
    signals = raysignal.read(frame, columns={"price": "adj close"})
    assert signals.frame["price"].tolist() == [price / 2 for price in PRICES]
    index = yahoo().rename_axis("Day").assign(Time="2020-01-01")
    assert (
        raysignal.read(index, columns={"timestamp": "Day"}, prices_only=True).frame["timestamp"][0].year
        == 2024
    )


def test_a_close_is_neither_a_buy_nor_a_sell():
    summary = raysignal.read(plain().assign(signal=["BUY", "CLOSE", "SELL", "CLOSE"])).summary
    assert (summary["buys"], summary["sells"]) == (1, 1)
