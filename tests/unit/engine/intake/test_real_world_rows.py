# ruff: noqa: E501 - what stands on one line of a file stands on one line here
"""Files as other programs write them: each is taken with the right instants and values, or refused with a sentence.

What is expected was written by hand, from the files.
"""

import io
import json
from datetime import date, datetime, time
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import InputError, InvalidField, WrongDateOrder
from raysignal.engine.core.instants import format_instant, parse_instant
from raysignal.engine.intake import Reading, read_batch, read_file, read_file_chunks, read_signal
from raysignal.engine.intake.fields import signal_of
from raysignal.engine.intake.files import undecided_date
from raysignal.engine.intake.line_numbers import line_numbers

PRICES: dict[str, Any] = {"prices_only": True}
GERMAN: dict[str, Any] = {"decimal": ",", "thousands": "."}
BERLIN = ZoneInfo("Europe/Berlin")
EASTERN = ZoneInfo("America/New_York")


def parquet(columns: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def frame_parquet(frame: pd.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.to_parquet(out)
    return out.getvalue()


def read(folder: Path, name: str, content: str | bytes, how: dict[str, Any]) -> list[tuple[Any, ...]]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    intake = read_file(path, Reading(**how))
    if intake.errors:
        raise intake.errors[0]
    return rows_of(intake.batch)


def rows_of(batch: SignalBatch) -> list[tuple[Any, ...]]:
    signals = [batch.signal(at) for at in range(len(batch))]
    return [
        (f"{datetime.fromtimestamp(one.timestamp_us / 1e6, ZoneInfo('UTC')):%Y-%m-%d %H:%M:%S.%f}"[:23],
         one.price, int(one.action), one.symbol)
        for one in signals
    ]  # fmt: skip


MIDNIGHT = "2025-02-24 00:00:00.000"
ONE = [(MIDNIGHT, 95439.81, 1, "BTC")]
HELD = [(MIDNIGHT, 95439.81, 0, "BTC")]
OHLC = "open,high,low,close"

TAKEN: dict[str, tuple[str, str | bytes, dict[str, Any], list[tuple[Any, ...]]]] = {
    # TradingView
    "TradingView chart export, seconds": (
        "a.csv", f"time,{OHLC},Volume,Signal\n1740355200,95000,96000,94000,95439.81,12.5,1\n", {}, ONE,
    ),
    "TradingView chart export, ISO with an offset": (
        "a.csv", f"time,{OHLC},signal\n2025-02-23T19:00:00-05:00,1,1,1,95439.81,buy\n", {}, ONE,
    ),
    "TradingView chart export, daily dates": ("a.csv", f"time,{OHLC}\n2025-02-24,1,1,1,95439.81\n", PRICES, HELD),
    "TradingView list of trades, price named": (
        "a.csv", "Trade #,Side,Date/Time,Price USD\n1,buy,2025-02-24 00:00,95439.81\n",
        {"names": {"price": "Price USD"}}, ONE,
    ),
    "TradingView list of trades of 2025": (
        "a.csv", "Trade number,Side,Date and time,Price\n1,BUY,2025-02-24 00:00,95439.81\n", {}, ONE,
    ),
    # MetaTrader
    "MetaTrader 4, no header": (
        "a.csv", "2011.12.08,14:00,1.5,1.6,1.2,1.33456,9\n2011.12.08,14:01,1.33,1.4,1.3,1.4,9\n", PRICES,
        [("2011-12-08 14:00:00.000", 1.33456, 0, "BTC"), ("2011-12-08 14:01:00.000", 1.4, 0, "BTC")],
    ),
    "MetaTrader 4, no header, semicolons": (
        "a.txt", "2011.12.08;14:00;1.5;1.6;1.2;1.33456;9\n", PRICES, [("2011-12-08 14:00:00.000", 1.33456, 0, "BTC")],
    ),
    "Binance's klines, no header, microseconds": (
        "a.csv",
        "1740355200000000,95000,96000,94000,95439.81,12.5,1740355259999999,1192997.6,42,6.25,596498.8,0\n", PRICES, HELD,
    ),
    "Binance's klines, no header, milliseconds": (
        "a.csv", "1740355200000,95000,96000,94000,95439.81,12.5,1740355259999,1192997.6,42,6.25,596498.8,0\n", PRICES,
        HELD,
    ),
    "MetaTrader 5 bars, tabs, date and time in two columns": (
        "a.csv",
        "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\n2011.12.08\t14:00:00\t1\t1\t1\t1.33456\t9\n",
        PRICES, [("2011-12-08 14:00:00.000", 1.33456, 0, "BTC")],
    ),
    "MetaTrader 5 daily bars": (
        "a.csv", "<DATE>\t<OPEN>\t<CLOSE>\n2011.12.08\t1\t1.33456\n", PRICES,
        [("2011-12-08 00:00:00.000", 1.33456, 0, "BTC")],
    ),
    "MetaTrader, stamp in one column": (
        "a.csv", "Time,Close,Signal\n2011.12.08 14:00,1.33456,-1\n", {},
        [("2011-12-08 14:00:00.000", 1.33456, -1, "BTC")],
    ),
    "MetaTrader deals, the side in Type": (
        "a.txt", "Time\tSymbol\tType\tPrice\n2011.12.08 14:00:05\tEURUSD\tsell\t1.33456\n", {"names": {"signal": "Type"}},
        [("2011-12-08 14:00:05.000", 1.33456, -1, "EURUSD")],
    ),
    "MetaTrader, two columns in New York's time": (
        "a.csv", "Date,Time,Close\n2011.12.08,9:30,1.5\n", PRICES | {"zone": EASTERN},
        [("2011-12-08 14:30:00.000", 1.5, 0, "BTC")],
    ),
    # yfinance
    "yfinance daily, Adj Close is not Close": (
        "a.csv", "Date,Open,High,Low,Close,Adj Close,Volume\n2025-02-24,1,1,1,247.1,246.9,5\n", PRICES,
        [(MIDNIGHT, 247.1, 0, "BTC")],
    ),
    "yfinance intraday": (
        "a.csv", "Datetime,Close\n2025-02-24 14:30:00+00:00,247.1\n", PRICES,
        [("2025-02-24 14:30:00.000", 247.1, 0, "BTC")],
    ),
    "yfinance, the exchange's midnight": (
        "a.csv", "Date,Close\n2025-02-24 00:00:00-05:00,247.1\n", PRICES, [("2025-02-24 05:00:00.000", 247.1, 0, "BTC")],
    ),
    "yfinance, header of three lines": (
        "a.csv",
        "Price,Close,High,Low,Open,Volume\nTicker,AAPL,AAPL,AAPL,AAPL,AAPL\nDate,,,,,\n2025-02-24,247.1,1,1,1,5\n",
        PRICES, [(MIDNIGHT, 247.1, 0, "AAPL")],
    ),
    "yfinance, header of three lines, intraday": (
        "a.csv", "Price,Adj Close,Close\nTicker,SPY,SPY\nDatetime,,\n2025-02-24 14:30:00+00:00,1,2\n", PRICES,
        [("2025-02-24 14:30:00.000", 2.0, 0, "SPY")],
    ),
    "yfinance, header of three lines, and a column of one's own": (
        "a.csv", "Price,Close,Volume,Signal\nTicker,SPY,SPY,\nDate,,,\n2025-02-24,247.1,5,-1\n", {},
        [(MIDNIGHT, 247.1, -1, "SPY")],
    ),
    "yfinance, Parquet of two levels": (
        "a.parquet",
        parquet({"('Close', 'AAPL')": [247.1], "('Volume', 'AAPL')": [5], "Date": pa.array([1740355200], pa.timestamp("s"))}),
        PRICES, [(MIDNIGHT, 247.1, 0, "AAPL")],
    ),
    # Binance, ccxt and other feeds
    "ccxt trades, two stamps of one instant": (
        "a.ndjson", '{"timestamp":1740355200123,"datetime":"2025-02-24T00:00:00.123Z","side":"sell","price":1}\n', {},
        [("2025-02-24 00:00:00.123", 1.0, -1, "BTC")],
    ),
    "two words for one side": (
        "a.csv", "Date,Close,action,signal\n2025-02-24,1,buy,1\n", {}, [(MIDNIGHT, 1.0, 1, "BTC")],
    ),
    "Binance klines, milliseconds": (
        "a.csv", f"open_time,{OHLC},volume,close_time\n1740355200000,1,1,1,95439.81,2,1740355259999\n", PRICES, HELD,
    ),
    "Binance klines, microseconds": (
        "a.csv", f"open_time,{OHLC},volume,close_time\n1740355200000000,1,1,1,95439.81,2,1740355259999999\n", PRICES,
        HELD,
    ),
    "Binance klines with the names of its documentation": (
        "a.csv", "Open time,Open,High,Low,Close,Volume,Close time\n1740355200000,1,1,1,95439.81,2,1740355259999\n",
        PRICES, HELD,
    ),
    "Binance klines, known at the end of their minute": (
        "a.csv", "open_time,close\n1740355200000,95439.81\n", PRICES | {"bar_us": 60_000_000, "label": "open"},
        [("2025-02-24 00:01:00.000", 95439.81, 0, "BTC")],
    ),
    "ccxt candles": (
        "a.csv", f"timestamp,{OHLC},volume\n1740355200000,1,1,1,95439.81,2\n", PRICES, HELD,
    ),
    "ccxt trades, the stamp named": (
        "a.ndjson",
        '{"timestamp":1740355200123,"datetime":"2025-02-24T00:00:00.123Z","symbol":"BTC/USDT","side":"sell","price":95439.8}\n',
        {"names": {"timestamp": "datetime"}}, [("2025-02-24 00:00:00.123", 95439.8, -1, "BTC/USDT")],
    ),
    "nanoseconds as JSON numbers": (
        "a.ndjson", '{"time":1740355200123456789,"close":95439.8,"Side":"buy"}\n', {},
        [("2025-02-24 00:00:00.123", 95439.8, 1, "BTC")],
    ),
    "Python's time.time()": (
        "a.json", '[{"time":1740355200.25,"price":95439.81,"signal":1}]', {},
        [("2025-02-24 00:00:00.250", 95439.81, 1, "BTC")],
    ),
    "Polygon aggregates, mapped": (
        "a.json", '[{"t":1740355200000,"c":95439.81,"v":3}]',
        PRICES | {"names": {"timestamp": "t", "price": "c"}}, HELD,
    ),
    "CoinGecko, mapped": (
        "a.csv", "snapped_at,price,market_cap\n2025-02-24 00:00:00 UTC,95439.81,1\n",
        PRICES | {"names": {"timestamp": "snapped_at"}}, HELD,
    ),
    "Dukascopy": (
        "a.csv", "Local time,Open,Close\n24.02.2025 01:00:00.000 GMT+0100,1,95439.81\n",
        PRICES | {"names": {"timestamp": "Local time"}}, HELD,
    ),
    "Investing.com, newest first": (
        "a.csv", '"Date","Price","Change %"\n"02/25/2025","95,500.00","1%"\n"02/24/2025","95,439.81","2%"\n',
        PRICES | {"thousands": ","}, [*HELD, ("2025-02-25 00:00:00.000", 95500.0, 0, "BTC")],
    ),
    "Nasdaq, dollars": (
        "a.csv", "Date,Close/Last,Volume\n02/24/2025,$247.10,1\n",
        PRICES | {"names": {"price": "Close/Last"}, "thousands": ","}, [(MIDNIGHT, 247.1, 0, "BTC")],
    ),
    "Stooq": ("a.csv", f"Date,{OHLC.title()},Volume\n2025-02-24,1,1,1,95439.81,2\n", PRICES, HELD),
    "Alpha Vantage": ("a.csv", f"timestamp,{OHLC},volume\n2025-02-24,1,1,1,95439.81,2\n", PRICES, HELD),
    # Excel
    "Excel, United States": ("a.csv", "Date,Close,Signal\r\n2/24/2025 0:00,95439.81,1\r\n", {}, ONE),
    "Excel, United States, twelve hours": (
        "a.csv", "Date,Close,Signal\r\n2/24/2025 9:30:00 PM,95439.81,1\r\n", {},
        [("2025-02-24 21:30:00.000", 95439.81, 1, "BTC")],
    ),
    "Excel, United States, noon and midnight": (
        "a.csv", "Date,Close,Signal\r\n2/24/2025 12:00 AM,95439.81,1\r\n2/24/2025 12:00 PM,1,0\r\n", {},
        [*ONE, ("2025-02-24 12:00:00.000", 1.0, 0, "BTC")],
    ),
    "Excel, United States, thousands in quotes": (
        "a.csv", 'Date,Close,Signal\r\n2/24/2025,"95,439.81",1\r\n', {"thousands": ","}, ONE,
    ),
    "Excel, United States, dollars": (
        "a.csv", 'Date,Close,Signal\r\n2/24/2025,"$42,100.5 ",1\r\n', {"thousands": ","}, [(MIDNIGHT, 42100.5, 1, "BTC")],
    ),
    "Excel, Germany": (
        "a.csv", "\ufeffDatum;Kurs;Signal\r\n24.02.2025 00:00;95439,81;1\r\n",
        {"decimal": ",", "names": {"timestamp": "Datum", "price": "Kurs"}}, ONE,
    ),
    "Excel, Germany, thousands": (
        "a.csv", "Date;Close;Signal\r\n24.02.2025;42.100,50;-1\r\n", GERMAN, [(MIDNIGHT, 42100.5, -1, "BTC")],
    ),
    "Excel, Germany, euros": (
        "a.csv", "Date;Close;Signal\r\n24.02.2025;42.100,50 €;-1\r\n", GERMAN, [(MIDNIGHT, 42100.5, -1, "BTC")],
    ),
    "Excel, France, day first and narrow blanks": (
        "a.csv", "Date;Close;Signal\r\n24/02/2025 00:00;95\u202f439,81;1\r\n",
        {"decimal": ",", "thousands": " ", "day_first": True}, ONE,
    ),
    "Excel, Great Britain, day first": ("a.csv", "Date,Close,Signal\r\n24/02/2025,95439.81,1\r\n", {"day_first": True}, ONE),
    "Excel, Switzerland": (
        "a.csv", "Date;Close;Signal\r\n24.02.2025;95'439.81;1\r\n", {"thousands": "'"}, ONE,
    ),
    "Excel says its separator": ("a.csv", "sep=;\r\nDate;Close;Signal\r\n2025-02-24;95439.81;1\r\n", {}, ONE),
    "Excel text with tabs": ("a.txt", "Date\tClose\tSignal\r\n2025-02-24\t95439.81\t1\r\n", {}, ONE),
    "lines that end with CR alone": ("a.csv", "Date,Close,Signal\r2025-02-24,95439.81,1\r", {}, ONE),
    "cells apart by bars": ("a.csv", "date|close|signal\n2025-02-24|95439.81|1\n", {}, ONE),
    "R's write.csv2": ("a.csv", '"Date";"Close";"Signal"\n"2025-02-24";95439,81;1\n', {"decimal": ","}, ONE),
    "R's write.table": ("a.txt", '"Date"\t"Close"\t"Signal"\n"2025-02-24"\t95439.81\t1\n', {}, ONE),
    "quoted cells apart by semicolons": ("a.csv", 'Date;Close;Signal;Note\n2025-02-24;"95439.81";1;"a;b"\n', {}, ONE),
    # pandas
    "pandas CSV, index without a name": ("a.csv", ",Close\n2025-02-24 00:00:00,95439.81\n", PRICES, HELD),
    "pandas CSV, row numbers": ("a.csv", ",datetime,close,Signal\n0,2025-02-24,95439.81,1\n", {}, ONE),
    "pandas CSV, a zone": ("a.csv", "Date,close\n2025-02-24 01:00:00+01:00,95439.81\n", PRICES, HELD),
    "pandas NDJSON, milliseconds": ("a.jsonl", '{"Date":1740355200000,"Close":95439.81,"Signal":1}\n', {}, ONE),
    "this pandas, index with a name": (
        "a.parquet",
        frame_parquet(pd.DataFrame({"Close": [95439.81]}, index=pd.DatetimeIndex(["2025-02-24"], name="Date"))),
        PRICES, HELD,
    ),
    "this pandas, index without a name": (
        "a.parquet", frame_parquet(pd.DataFrame({"Close": [95439.81]}, index=pd.DatetimeIndex(["2025-02-24"]))), PRICES,
        HELD,
    ),
    "this pandas, index in New York": (
        "a.parquet",
        frame_parquet(
            pd.DataFrame({"Close": [95439.81]}, index=pd.DatetimeIndex(["2025-02-23 19:00"], tz="America/New_York"))
        ),
        PRICES, HELD,
    ),
    "pandas 2, nanoseconds": (
        "a.parquet",
        parquet({"Date": pa.array([1740355200123456789], pa.timestamp("ns")), "Close": [1.5], "Signal": [1]}), {},
        [("2025-02-24 00:00:00.123", 1.5, 1, "BTC")],
    ),
    "pandas 2, index without a name": (
        "a.parquet",
        parquet({"Close": [95439.81], "__index_level_0__": pa.array([1740355200000000000], pa.timestamp("ns", "UTC"))}),
        PRICES, HELD,
    ),
    "pandas 3, microseconds and large strings": (
        "a.parquet",
        parquet({
            "Date": pa.array([1740355200000000], pa.timestamp("us")), "Close": [95439.81],
            "Side": pa.array(["buy"], pa.large_string()), "Ticker": pa.array(["ETH"], pa.large_string()),
        }),
        {}, [(MIDNIGHT, 95439.81, 1, "ETH")],
    ),
    "pandas 3, seconds in a zone": (
        "a.parquet",
        parquet({"time": pa.array([1740355200], pa.timestamp("s", "Europe/Berlin")), "close": [95439.81]}), PRICES, HELD,
    ),
    "Parquet, epoch as int64 of ms": ("a.parquet", parquet({"time": [1740355200000], "close": [95439.81]}), PRICES, HELD),
    "Parquet, epoch as int64 of ns": (
        "a.parquet", parquet({"time": [1740355200123456789], "close": [1.5]}), PRICES,
        [("2025-02-24 00:00:00.123", 1.5, 0, "BTC")],
    ),
    "Parquet, epoch as float of s": ("a.parquet", parquet({"time": [1740355200.0], "close": [95439.81]}), PRICES, HELD),
    "Parquet, date and time of day": (
        "a.parquet", parquet({"Date": [date(2011, 12, 8)], "Time": [time(14, 0)], "Close": [1.5]}), PRICES,
        [("2011-12-08 14:00:00.000", 1.5, 0, "BTC")],
    ),
    "Parquet, categories and decimals": (
        "a.parquet",
        parquet({
            "Date": pa.array(["2025-02-24"]).dictionary_encode(), "Close": [Decimal("95439.81")],
            "Side": pa.array(["buy"]).dictionary_encode(),
        }),
        {}, ONE,
    ),
    "Parquet, texts of Germany": (
        "a.parquet", parquet({"Date": ["24.02.2025"], "Close": ["95.439,81"], "Signal": [1]}), GERMAN, ONE,
    ),
    # Order and zones
    "days before months, all of them": (
        "a.csv", "Date,Close\n11/03/2011,1\n03/05/2011,2\n20/10/2011,3\n04/08/2011,4\n05/10/2011,5\n17/11/2011,6\n",
        PRICES | {"day_first": True},
        [("2011-03-11 00:00:00.000", 1.0, 0, "BTC"), ("2011-05-03 00:00:00.000", 2.0, 0, "BTC"),
         ("2011-08-04 00:00:00.000", 4.0, 0, "BTC"), ("2011-10-05 00:00:00.000", 5.0, 0, "BTC"),
         ("2011-10-20 00:00:00.000", 3.0, 0, "BTC"), ("2011-11-17 00:00:00.000", 6.0, 0, "BTC")],
    ),
    "an hour that Berlin's clocks showed twice": (
        "a.csv",
        "time,close\n" + "".join(
            f"2018-10-28 {clock},{price}\n"
            for price, clock in enumerate(["01:30", "02:00", "02:30", "02:00", "02:30", "03:00", "03:30"], 1)
        ),
        PRICES | {"zone": BERLIN},
        [("2018-10-27 23:30:00.000", 1.0, 0, "BTC"), ("2018-10-28 00:00:00.000", 2.0, 0, "BTC"),
         ("2018-10-28 00:30:00.000", 3.0, 0, "BTC"), ("2018-10-28 01:00:00.000", 4.0, 0, "BTC"),
         ("2018-10-28 01:30:00.000", 5.0, 0, "BTC"), ("2018-10-28 02:00:00.000", 6.0, 0, "BTC"),
         ("2018-10-28 02:30:00.000", 7.0, 0, "BTC")],
    ),
    "the same hour, newest first, as MetaTrader and Germany write it": (
        "a.csv",
        "Date;Time;Close\n" + "".join(
            f"28.10.2018;{clock};{price}\n" for price, clock in enumerate(["3:00", "2:30", "2:00", "2:30", "2:00"], 1)
        ),
        PRICES | {"zone": BERLIN},
        [("2018-10-28 00:00:00.000", 5.0, 0, "BTC"), ("2018-10-28 00:30:00.000", 4.0, 0, "BTC"),
         ("2018-10-28 01:00:00.000", 3.0, 0, "BTC"), ("2018-10-28 01:30:00.000", 2.0, 0, "BTC"),
         ("2018-10-28 02:00:00.000", 1.0, 0, "BTC")],
    ),
    "a position closed and the other opened at one time of that hour": (
        "a.csv",
        "time,close,signal\n2018-10-27 12:00,1,BUY\n2018-10-28 02:00,2,CLOSE\n2018-10-28 02:00,3,SELL\n2018-10-28 09:00,4,CLOSE\n",
        {"zone": BERLIN},
        [("2018-10-27 10:00:00.000", 1.0, 1, "BTC"), ("2018-10-28 00:00:00.000", 2.0, 2, "BTC"),
         ("2018-10-28 00:00:00.000", 3.0, -1, "BTC"), ("2018-10-28 08:00:00.000", 4.0, 2, "BTC")],
    ),
    "an hour that came twice, by TradingView's names": (
        "a.ndjson",
        "".join(
            f'{{"timenow":"2018-10-28 {clock}","close":1,"strategy":{{"order":{{"action":"buy"}}}}}}\n'
            for clock in ("02:30", "02:00", "02:30")
        ),
        {"zone": BERLIN},
        [("2018-10-28 00:30:00.000", 1.0, 1, "BTC"), ("2018-10-28 01:00:00.000", 1.0, 1, "BTC"),
         ("2018-10-28 01:30:00.000", 1.0, 1, "BTC")],
    ),
    "decimals of Parquet, which are numbers however texts are written": (
        "a.parquet",
        parquet({"timestamp": ["2025-02-24"], "price": [Decimal("95439.81")], "signal": [Decimal(1)]}), GERMAN, ONE,
    ),
    "TradingView's names in CSV, Germany": (
        "a.csv", "time;close;strategy.order.action;ticker\n2025-02-24;95.439,81;buy;BTC\n", GERMAN, ONE,
    ),
    "TradingView's names in NDJSON, Germany": (
        "a.ndjson", '{"time":"2025-02-24","close":"95.439,81","strategy.order.action":"buy"}\n', GERMAN, ONE,
    ),
    "thousands alone, by TradingView's names": (
        "a.ndjson", '{"time":"2025-02-24","close":"42.100","strategy.order.action":"buy"}\n', GERMAN,
        [(MIDNIGHT, 42100.0, 1, "BTC")],
    ),
    "the same hour of two symbols in turn": (
        "a.csv",
        "time,ticker,close\n2018-10-28 02:00,A,1\n2018-10-28 02:00,B,2\n2018-10-28 02:00,A,3\n2018-10-28 02:00,B,4\n",
        PRICES | {"zone": BERLIN},
        [("2018-10-28 00:00:00.000", 1.0, 0, "A"), ("2018-10-28 00:00:00.000", 2.0, 0, "B"),
         ("2018-10-28 01:00:00.000", 3.0, 0, "A"), ("2018-10-28 01:00:00.000", 4.0, 0, "B")],
    ),
    "the same hour with offsets, as they say": (
        "a.csv", "time,close\n2018-10-28T02:00+01:00,1\n2018-10-28T02:00+02:00,2\n", PRICES | {"zone": BERLIN},
        [("2018-10-28 00:00:00.000", 2.0, 0, "BTC"), ("2018-10-28 01:00:00.000", 1.0, 0, "BTC")],
    ),
    "Excel's blank rows and columns": (
        "a.csv", "timestamp;price;signal;;\n;;;;\n2025-02-24;95439,81;1;;\n;;;;\n", GERMAN, ONE,
    ),
    "a frame's index, and a blank column": (
        "a.csv", ",timestamp,price,signal,\n0,2025-02-24,95439.81,1,\n", {}, ONE,
    ),
    "a name in any case, with blanks": (
        "a.csv", " TIMESTAMP , Close_Price ,SIGNAL\n2025-02-24 0:00,95439.81,HOLD\n", {}, HELD,
    ),
    "a price beside Close keeps it as a feature": (
        "a.csv", "timestamp,price,Close,signal\n2025-02-24,95439.81,7,1\n", {}, ONE,
    ),
    "two prices, one of them named": (
        "a.csv", "timestamp,price,close,signal\n2025-02-24,7,95439.81,1\n", {"names": {"price": "close"}}, ONE,
    ),
}  # fmt: skip

REFUSED: dict[str, tuple[str, str | bytes, dict[str, Any], str]] = {
    "day first, and not said": (
        "a.csv", "Date,Close\n11/03/2011,1\n03/05/2011,2\n20/10/2011,3\n04/08/2011,4\n05/10/2011,5\n17/11/2011,6\n", PRICES,
        "row 2: Date is '20/10/2011'; expected a month before a day.*--day-first.*no date of the column is used",
    ),
    "month first, and the other said": (
        "a.csv", "Date,Close\n03/11/2011,1\n10/20/2011,3\n", PRICES | {"day_first": True}, "'10/20/2011'.*without it",
    ),
    "an hour that Berlin's clocks skipped": (
        "a.csv", "time,close\n2018-03-25 02:30,1\n", PRICES | {"zone": BERLIN}, "a local time that exists in Europe/Berlin",
    ),
    "a headerless file whose columns are not in MetaTrader's order": (
        "a.csv", "2011.12.08,14:00,1,1,1,1.5,9\n2011.12.08,14:01,1,1,1,1.5,9\n", PRICES, "first line is no header but data",
    ),
    "a part of Binance's columns, no header": (
        "a.csv", "1740355200000000,1,2,3,4,2,1740355259999999\n", PRICES, "first line is no header but data",
    ),
    "MetaTrader 4's decimals with a comma": (
        "a.csv", "2025.02.24;09:30;1,1;1,2;1,0;1,15;100\n", PRICES | {"decimal": ","}, "first line is no header but data",
    ),
    "no header, and what may be a secret": (
        "a.csv", "2025-02-24T00:00:00Z,1,BUY,hunter2\n", {}, "column named timestamp or datetime or time; the first line is no header",
    ),
    "a value in two blank columns": (
        "a.csv", "timestamp,price,signal,,\n2025-02-24,1,BUY,2,3\n", {}, "unnamed is '3'; expected each name once",
    ),
    "Excel's German names": (
        "a.csv", "Datum;Kurs;Signal\n24.02.2025;1;BUY\n", {}, "say so: --map timestamp=NAME --map price=NAME$",
    ),
    "prices alone, where signals are wanted": (
        "a.csv", "Date,Close\n2025-02-24,1\n", {}, "--map signal=NAME; prices alone are for raysignal sweep",
    ),
    "NinjaTrader, no header": ("a.txt", "20250224 093000;1;1;1;1;2\n", PRICES, "first line is no header"),
    "Binance's answer, arrays in an array": ("a.json", '[[1740355200000,"1","2"]]', PRICES, "expected an object"),
    "ccxt trades, two stamps that differ": (
        "a.ndjson", '{"timestamp":1740355200123,"datetime":"2025-02-24T00:00:00.124Z","side":"sell","price":1}\n', {},
        "only one of timestamp and datetime.*--map timestamp=NAME",
    ),
    "two signals that differ": (
        "a.csv", "Date,Close,action,signal\n2025-02-24,1,sell,1\n", {}, "only one of action and signal",
    ),
    "a price of nothing in digits": ("a.csv", "Date,Close,Signal\n2025-02-24,0,1\n", {}, "without thousands separators$"),
    "CryptoDataDownload's first line": (
        "a.csv", "https://www.CryptoDataDownload.com\nunix,date,close\n1740355200,2025-02-24,1\n", PRICES,
        "remove what is above the header",
    ),
    "a response that holds its rows": (
        "a.json", '{"data": [{"timestamp": "2025-02-24", "price": 1}], "token": "x"}', PRICES, "among 'data'$",
    ),
    "UTF-32": ("a.csv", "Date,Close\n2025-02-24,1\n".encode("utf-32"), PRICES, "UTF-32 text; expected .* saved as UTF-8"),
    "Stooq's text files": (
        "a.txt", "<TICKER>,<DATE>,<TIME>,<CLOSE>\nAAPL.US,20250224,000000,1\n", PRICES, "<TIME> is '000000'; expected a time of day",
    ),
    "TradingView list of trades": (
        "a.csv", "Trade #,Type,Signal,Date/Time,Price USD\n1,Entry long,Long,2025-02-24 00:00,1\n", {},
        "a column named price or close among .*Price USD.*--map price=NAME",
    ),
    "yfinance, two tickers": (
        "a.csv", "Price,Close,Close\nTicker,AAPL,MSFT\nDate,,\n2025-02-24,1,2\n", PRICES, "AAPL, MSFT.*one ticker",
    ),
    "yfinance, two tickers in Parquet": (
        "a.parquet", parquet({"('Close', 'AAPL')": [1.0], "('Close', 'MSFT')": [2.0], "Date": ["2025-02-24"]}), PRICES,
        "AAPL, MSFT.*one ticker",
    ),
    "Excel's serial numbers": ("a.csv", "Date,Close\n45712.5,1\n", PRICES, "Date is '45712.5'; expected a time such as"),
    "Excel's shortened numbers": ("a.csv", "time,close\n1.74036E+12,1\n", PRICES, "expected a time such as"),
    "Excel's column that is too narrow": ("a.csv", "Date,Close\n########,1\n", PRICES, "expected a time such as"),
    "Excel's #N/A": ("a.csv", "Date,Close\n2025-02-24,#N/A\n", PRICES, "Close is '#N/A'; expected a number above 0"),
    "Excel, Germany, and not said": (
        "a.csv", "Date;Close;Signal\r\n24.02.2025;95439,81;1\r\n", {}, "'95439,81'; expected a number above 0 without.*--decimal ,$",
    ),
    "Excel, Germany with thousands, and not said": (
        "a.csv", "Date;Close;Signal\r\n24.02.2025;95.439,81;1\r\n", {}, "--decimal , --thousands [.]",
    ),
    "thousands, and not said": ("a.csv", 'Date,Close,Signal\n2025-02-24,"$42,100.5",1\n', {}, "--thousands ,"),
    "a point where commas were said": (
        "a.csv", "Date;Close;Signal\n2025-02-24;95439.81;1\n", {"decimal": ","}, "expected a number with ',' before its decimals",
    ),
    "thousands of two digits": (
        "a.csv", 'Date,Close,Signal\n2025-02-24,"42,10,000.5",1\n', {"thousands": ","}, "expected a number above 0",
    ),
    "UTF-16, as Excel's Unicode text": (
        "a.txt", "Date\tClose\n2025-02-24\t1\n".encode("utf-16"), PRICES, "UTF-16 text; expected CSV.*UTF-8",
    ),
    "UTF-16 without a mark": ("a.csv", "Date,Close\n2025-02-24,1\n".encode("utf-16-le"), PRICES, "binary, or text in UTF-16"),
    "another encoding": ("a.csv", "Date,Close,März\n2025-02-24,1,2\n".encode("cp1252"), PRICES, "not UTF-8: byte 12 .*save it as UTF-8"),
    "a spreadsheet": ("a.csv", b"PK\x03\x04" + bytes(40), PRICES, "a ZIP archive, such as a spreadsheet"),
    "NUL further on": ("a.csv", "Date,Close\n" + "2025-02-24,1\n" * 400 + "2025-02-24,\0\n", PRICES, "byte 5222.* is NUL"),
    "a row with too few cells": ("a.csv", "Date,Close,Note\n2025-02-24,1\n", PRICES, "row 0: cells is 2; expected 3 cells"),
    "a row with too many cells": ("a.csv", "Date,Close\n2025-02-24,1,2\n", PRICES, "row 0: cells is 3; expected 2 cells"),
    "a decimal comma among commas": ("a.csv", "Date,Close\n2025-02-24,95439,81\n", PRICES, "expected 2 cells"),
    "a column twice": ("a.csv", "Date,Close,Close\n2025-02-24,1,2\n", PRICES, "each column name once"),
    "two columns that mean one field": ("a.csv", "Date,CLOSE,Close\n2025-02-24,1,2\n", PRICES, "only one of CLOSE and Close"),
    "a map to what is not there": (
        "a.csv", "Date,Close\n2025-02-24,1\n", PRICES | {"names": {"price": "Last"}}, "a column named Last, as the map says",
    ),
    "a line above the header": (
        "a.csv", "https://www.CryptoDataDownload.com\nDate,Close\n2025-02-24,1\n", PRICES, "a column named timestamp",
    ),
    "a date as a number beside its time, in NDJSON": (
        "a.ndjson", '{"Date":1704067200,"Time":"14:00","Close":1}\n', PRICES, "Date is 1704067200; expected a date.*Time",
    ),
    "the same in Parquet": (
        "a.parquet", parquet({"Date": [1704067200000], "Time": ["14:00"], "Close": [1.0]}), PRICES,
        "Date is 1704067200000; expected a date.*Time",
    ),
    "the same in CSV": ("a.csv", "Date,Time,Close\n1704067200,14:00,1\n", PRICES, "Date and Time is '1704067200 14:00'"),
    "a date with a zone beside its time": (
        "a.parquet",
        frame_parquet(pd.DataFrame({"Date": pd.to_datetime(["2025-02-24"], utc=True), "Time": ["14:00"], "Close": [1.0]})),
        PRICES | {"zone": EASTERN}, "Date and Time is '2025-02-24 00:00:00.*Z 14:00'",
    ),
    "TradingView's names without a price": (
        "a.csv", "time,strategy.order.action\n2025-02-24,buy\n", {}, "price is None; expected a number above 0.*add",
    ),
    "a time without its date": ("a.csv", "Time,Close\n14:00,1\n", PRICES, "Time is '14:00'; expected a time such as"),
    "two digits for a year": ("a.csv", "Date,Close\n2/24/25,1\n", PRICES, "expected a time such as"),
    "epoch numbers of before 2001": ("a.csv", "time,close\n946684800,1\n", PRICES, "since 1970, from 2001 to 2200"),
    "a date as a number": ("a.parquet", parquet({"Date": [20250224], "Close": [1.0]}), PRICES, "20250224.*expected a time"),
    "a page instead of a file": ("a.csv", "<!DOCTYPE html>\n<html><body>Not found</body></html>\n", PRICES, "a column named timestamp"),
}  # fmt: skip


@pytest.mark.parametrize("case", TAKEN)
def test_a_file_is_taken_with_its_instants_and_values(case: str, tmp_path: Path) -> None:
    name, content, how, expected = TAKEN[case]
    assert read(tmp_path, name, content, how) == expected


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_is_refused_with_a_sentence(case: str, tmp_path: Path) -> None:
    name, content, how, said = REFUSED[case]
    with pytest.raises(InputError, match=said):
        read(tmp_path, name, content, how)


def test_one_signal_has_one_identity_whichever_door_it_came_by(tmp_path: Path) -> None:
    stamps = [
        1740355200, 1740355200.0, 1740355200000, 1740355200000000, 1740355200000000000, "1740355200",
        "1740355200000000000", "2025-02-24", "2025-02-24 0:00", "2025.02.24 00:00", "24.02.2025", "2/24/2025",
        "2025-02-24T01:00:00+01:00",
    ]  # fmt: skip
    posted = [
        read_signal(
            json.dumps({"time": stamp, "close": 42100.5, "Signal": 1}).encode(), Reading(), content_type=None
        )
        for stamp in stamps
    ]
    batches = [SignalBatch.of_signals([signal]) for signal in posted]
    for stamp in stamps:
        row = json.dumps({"Date": stamp, "Close": 42100.5, "side": "BUY"})
        batches.append(read_batch(row.encode(), "application/x-ndjson", Reading()).batch)
        batches.append(read_batch(f"[{row}]".encode(), "application/json", Reading()).batch)
        batches.append(
            read_batch(f"Date;Close;Side\n{stamp};42100.5;buy\n".encode(), "text/csv", Reading()).batch
        )
        table = parquet({"Date": [stamp], "Close": [42100.5], "Side": ["buy"]})
        batches.append(read_batch(table, "application/vnd.apache.parquet", Reading()).batch)
    files = {
        "a.csv": "Date,Time,Close,Signal\n2025.02.24,00:00,42100.5,1\n",
        "b.csv": "sep=;\nDate;Close;Signal\n24.02.2025;42.100,50;1\n",
        "c.tsv": "Datum\tKurs\tSignal\n24.02.2025\t42.100,50 €\t1\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        mapped = {"names": {"timestamp": "Datum", "price": "Kurs"}} if "Kurs" in text else {}
        reading = Reading(**(GERMAN | mapped if "42.100,50" in text else {}))
        batches.append(read_file(tmp_path / name, reading).batch)
    assert {(len(batch), batch.key.tobytes(), batch.content.tobytes()) for batch in batches} == {
        (1, batches[0].key.tobytes(), batches[0].content.tobytes())
    }


def test_a_local_time_shown_twice_is_the_first_in_a_single_request() -> None:
    body = b'{"time": "2018-10-28 02:30", "close": 1, "signal": 1}'
    signal = read_signal(body, Reading(zone=BERLIN), content_type=None)
    assert signal.timestamp_us == 1_540_686_600_000_000  # 00:30Z


@pytest.mark.parametrize(
    ("clock", "utc"),
    [
        # An hourly file: as one instant, the two would leave an hour without a row.
        (["01:00", "02:00", "02:00", "03:00"], ["23:00", "00:00", "01:00", "02:00"]),
        (["04:00", "03:00", "02:00", "02:00", "01:00"], ["03:00", "02:00", "01:00", "00:00", "23:00"]),
        (["01:00", "01:00", "02:00", "02:00", "03:00"], ["23:00", "23:00", "00:00", "00:00", "02:00"]),
        # Rows that are hours apart: closed and opened in one instant.
        (["00:00", "02:00", "02:00", "05:00", "07:00"], ["22:00", "00:00", "00:00", "04:00", "06:00"]),
        (["02:00", "02:00"], ["00:00", "01:00"]),
    ],
)
@pytest.mark.parametrize("actions", ["BBBBB", "BSBSB", "HBSHH", "BHSBH", "SBHCB"])
def test_which_time_of_an_hour_two_equal_rows_mean_does_not_depend_on_their_actions(
    clock: list[str], utc: list[str], actions: str
) -> None:
    words = {"B": "BUY", "S": "SELL", "H": "HOLD", "C": "CLOSE"}
    rows = [f"2018-10-28 {at},1,{words[word]}" for at, word in zip(clock, actions, strict=False)]
    read = read_batch(
        "\n".join(["time,close,signal", *rows]).encode(), "text/csv", Reading(zone=BERLIN)
    ).batch
    in_order = read.timestamp_us[np.argsort(read.row)].tolist()
    assert [format_instant(instant)[11:16] for instant in in_order] == utc


def test_pieces_of_a_file_do_not_end_within_an_hour_that_came_twice(tmp_path: Path) -> None:
    clock = [f"2018-10-28 {hour}:{minute:02d}" for hour in ("01", "02", "02", "03") for minute in range(60)]
    path = tmp_path / "a.csv"
    path.write_text("time,close\n" + "".join(f"{text},1\n" for text in clock))
    reading = Reading(zone=BERLIN, prices_only=True)
    pieces = [piece.batch.timestamp_us.tolist() for piece in read_file_chunks(path, reading, 100)]
    first = 1_540_681_200_000_000  # 01:00 in Berlin is 23:00Z of the day before
    assert [instant for piece in pieces for instant in piece] == [
        first + minute * 60_000_000 for minute in range(240)
    ]


def test_a_column_of_another_order_is_refused_wherever_its_row_stands(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("Date,Close\n" + "1/2/2025,1\n" * 20_000 + "13/2/2025,1\n")
    with pytest.raises(InputError, match="row 20000: Date is '13/2/2025'"):
        list(read_file_chunks(path, Reading(prices_only=True), 1_000))


FIRST = '{"timestamp":"11/03/2011","price":1,"signal":1}'
CONTRADICTING: dict[str, tuple[str, str]] = {
    "a cell too many": ("text/csv", "timestamp,price,signal\n11/03/2011,1,BUY\n20/10/2011,1,BUY,x\n04/08/2011,1,SELL\n"),
    "a cell too few": ("text/csv", "timestamp,price,signal\n11/03/2011,1,BUY\n20/10/2011,1\n"),
    "two prices": ("text/csv", "timestamp,price,close,signal\n11/03/2011,1,1,BUY\n20/10/2011,1,2,BUY\n"),
    "what a sender did not replace": ("text/csv", "timestamp,price,signal,x\n11/03/2011,1,BUY,\n20/10/2011,1,BUY,{{close}}\n"),
    "a date beside its time": ("text/csv", "Date,time,close,signal\n11/03/2011,14:00,1,BUY\n20/10/2011,14:00,1,BUY,x\n"),
    "a key twice": ("application/x-ndjson", FIRST + '\n{"x":1,"x":2,"timestamp":"20/10/2011","price":1,"signal":1}\n'),
    "a key twice in an array": (
        "application/json", f'[{FIRST},{{"x":1,"x":2,"timestamp":"20/10/2011","price":1,"signal":NaN}}]',
    ),
    "a line that breaks off": ("application/x-ndjson", FIRST + '\n{"timestamp":"20/10/2011","price":1\n'),
    "no price, by TradingView's names": (
        "application/x-ndjson", FIRST + '\n{"timenow":"20/10/2011","strategy":{"order":{"action":"buy"}}}\n',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CONTRADICTING)
def test_a_row_that_is_refused_anyway_still_tells_the_order_of_dates(case: str) -> None:
    content_type, body = CONTRADICTING[case]
    with pytest.raises(WrongDateOrder, match=r"row 1: .* is '20/10/2011.*--day-first"):
        read_batch(body.encode(), content_type, Reading())


@pytest.mark.parametrize("first", ["", '{"n":NaN},'])
def test_an_array_does_not_tell_the_order_of_its_dates_either(tmp_path: Path, first: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(f'[{first}{{"Date":"1/2/2025","Close":1}},{{"Date":"3/4/2025","Close":1}}]')
    assert undecided_date(path, Reading(prices_only=True)) == "1/2/2025"
    path.write_text(f'[{first}{{"Date":"1/2/2025","Close":1}},{{"Date":"3/14/2025","Close":1}}]')
    assert undecided_date(path, Reading(prices_only=True)) is None


@pytest.mark.parametrize(
    ("rows", "undecided"),
    [
        ("1/2/2025,1\n3/4/2025,1\n", "1/2/2025"),
        ("2/2/2025,1\n3/3/2025,1\n", None),
        ("1/2/2025,1\n1/13/2025,1\n", None),
        ("2025-01-02,1\n", None),
        ("01.02.2025,1\n", None),
    ],
)
def test_a_file_whose_days_are_at_most_12_does_not_tell_the_order(
    tmp_path: Path, rows: str, undecided: str | None
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("Date,Close\n" + rows)
    assert undecided_date(path, Reading(prices_only=True)) == undecided


def test_a_line_is_that_of_the_editor_whatever_the_header_takes(tmp_path: Path) -> None:
    files = {
        "a.csv": ("Price,Close\nTicker,AAPL\nDate,\n2025-02-24,1\n2025-02-25,1\n", 5),
        "b.csv": ('sep=;\nDate;Close;Note\n2025-02-24;1;"a\nb"\n2025-02-25;1;\n', 5),
        "c.txt": ("Date\tClose\n2025-02-24\t1\n2025-02-25\t1\n", 3),
    }
    for name, (text, line) in files.items():
        (tmp_path / name).write_text(text)
        assert line_numbers(tmp_path / name, [1]) == {1: line}


def test_what_signals_say_stays_with_them_where_an_hour_of_autumn_is_told_apart():
    rows = [
        "timestamp,signal,price,stop_loss", "2018-10-28 01:30,BUY,100,95", "2018-10-28 02:00,HOLD,99,",
        "2018-10-28 02:30,HOLD,98,", "2018-10-28 02:00,HOLD,97,", "2018-10-28 02:30,HOLD,94,",
    ]  # fmt: skip
    read = read_batch("\n".join(rows).encode(), "text/csv", Reading(zone=ZoneInfo("Europe/Berlin"))).batch
    assert read.terms is not None
    assert read.terms[0].tolist()[1] == 95.0
    stamps = read.timestamp_us.tolist()
    assert [later - before for before, later in pairwise(stamps)] == [1_800_000_000] * 4


def test_what_expires_within_the_hour_of_its_signal_does_so_in_the_second_one_as_well():
    rows = [
        "timestamp,signal,price,expires", "2018-10-28 02:00,BUY,100,2018-10-28 02:10", "2018-10-28 02:30,HOLD,98,",
        "2018-10-28 02:00,BUY,97,2018-10-28 02:40", "2018-10-28 02:30,BUY,94,2018-10-28 03:00",
    ]  # fmt: skip
    read = read_batch("\n".join(rows).encode(), "text/csv", Reading(zone=ZoneInfo("Europe/Berlin"))).batch
    expires = [read.signal(row).expires_us for row in (0, 2, 3)]
    assert expires == [
        parse_instant(text)
        for text in ("2018-10-28T00:10:00Z", "2018-10-28T01:40:00Z", "2018-10-28T02:00:00Z")
    ]


@pytest.mark.parametrize(
    ("expires", "found"),
    [
        ("2018-10-28 02:40", "2018-10-28T01:40:00Z"),
        ("2018-10-28T00:40:00Z", None),
        ("2018-10-28 01:59", None),
    ],
)
def test_a_local_expiry_of_the_hour_shown_twice_is_after_its_signal(expires: str, found: str | None) -> None:
    body = {"timestamp": "2018-10-28T02:00:00+01:00", "price": 1, "signal": "BUY", "expires": expires}
    reading = Reading(zone=ZoneInfo("Europe/Berlin"))
    if found is None:
        with pytest.raises(InvalidField, match="a time after the signal's own, 2018-10-28T01:00:00Z"):
            signal_of(body, reading)
    else:
        assert signal_of(body, reading).expires_us == parse_instant(found)


def test_a_secret_under_the_name_of_its_neighbour_is_not_shown():
    table = "timestamp,price,signal,passphrase,{note}\n2025-02-24,{price},BUY,x,y\n"
    shifted = {"price": "hunter2", "signal": "100"}
    for note in ("note", "close note"):
        found = read_batch(table.format(note=note, **shifted).encode(), "text/csv", Reading())
        (error,) = found.errors
        assert str(error).startswith("row 0: price is '(not shown)'; expected a number above 0")
        assert "hunter2" not in str(error) + str(error.fields)
    (error,) = read_batch(b"timestamp,price,signal,token\n2025-02-24,1,BUY\n", "text/csv", Reading()).errors
    assert "cells is 3; expected 4 cells" in str(error)
    plain = table.replace("passphrase", "phrase").format(note="note", **shifted)
    (error,) = read_batch(plain.encode(), "text/csv", Reading()).errors
    assert str(error).startswith("row 0: price is 'hunter2'")
