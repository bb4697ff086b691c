"""`raysignal feed record` and `raysignal feed replay`: what was recorded is what the feed saw."""

import gzip
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from raysignal.cli.main import app
from raysignal.engine.core.market_events import BookChange, BookLost, ContractState, Trade
from raysignal.engine.market.recordings import RecordingHeader, read_recording
from raysignal.engine.market.replay import MergedReplay, series_of

BARS = ("--bar", "5s", "--fast", "2", "--slow", "5")


def feed(*arguments: object) -> Any:
    blank = {name: "" for name in os.environ if name.startswith("RAYSIGNAL_")}
    return CliRunner().invoke(app, ["feed", *map(str, arguments)], env=blank)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Two venues, one of which needs two connections."""
    folder = tmp_path_factory.mktemp("recorded")
    answer = feed(
        "record", folder, "-i", "binance-usdm:BTCUSDT", "-i", "okx:BTC-USDT", "--loopback", "--speed", 100,
        "--for", "2s", "--json",
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    return folder, json.loads(answer.stdout)["recordings"]


def test_every_message_is_in_a_file_that_says_of_what_it_is(
    recorded: tuple[Path, list[dict[str, Any]]],
) -> None:
    folder, found = recorded
    assert [one["name"] for one in found] == ["binance-usdm:BTCUSDT", "okx:BTC-USDT"]
    assert [len(one["files"]) for one in found] == [2, 1]
    assert {str(path) for path in folder.iterdir()} == {path for one in found for path in one["files"]}
    for one in found:
        assert one["messages"] > 500
        assert one["left_out"] == one["gaps"] == 0
        lines = [line for path in one["files"] for line in read_recording([Path(path)])]
        own = [line.raw for line in lines if line.raw.startswith(b'{"recording":')]
        snapshots = sum(raw.startswith(b'{"recording":"snapshot"') for raw in own)
        assert len(lines) - len(own) - snapshots == one["messages"]
        abouts = [about for about in map(RecordingHeader.read, own) if about is not None]
        assert [about.venue for about in abouts] == [one["name"].partition(":")[0]] * len(one["files"])


def test_a_replay_makes_the_books_bars_and_orders_of_what_was_recorded(
    recorded: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    folder, found = recorded
    answer = feed("replay", folder, *BARS, "--json", "--log", tmp_path / "log")
    assert answer.exit_code == 0, answer.output
    played = json.loads(answer.stdout)
    assert played["messages"] == sum(one["messages"] for one in found)
    assert played["ended"]
    assert played["books"]["gaps"] == played["books"]["malformed"] == played["books"]["crossed"] == 0
    for one in played["feeds"]:
        assert one["best"]["bid"] < one["best"]["ask"]
        assert one["station"]["signals"] > 0
        assert one["station"]["paper"]["orders"]["filled"] > 0
    logged = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert sum(line["event"] == "order" and line["state"] == "filled" for line in logged) > 0
    again = json.loads(feed("replay", *sorted(folder.iterdir()), *BARS, "--json").stdout)
    assert [one["best"] for one in again["feeds"]] == [one["best"] for one in played["feeds"]]
    assert [one["station"]["signals"] for one in again["feeds"]] == [
        one["station"]["signals"] for one in played["feeds"]
    ]


def test_trades_and_books_of_recordings_are_tables(
    recorded: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    events: list[Any] = []
    replay = MergedReplay(series_of([recorded[0]]), lambda _: events.extend)
    for due in replay.lines():
        replay.take(due)
    answer = feed("export", recorded[0], "--out", tmp_path, "--levels", 3, "--json")
    assert answer.exit_code == 0, answer.output
    rows = json.loads(answer.stdout)["rows"]
    for instrument in replay.instruments:
        folder = tmp_path / instrument.venue / instrument.symbol
        trades, books = (pd.read_parquet(folder / f"{kind}.parquet") for kind in ("trades", "books"))
        said = [each for each in events if isinstance(each, Trade) and each.instrument == instrument]
        known = trades[trades["price"].notna()]
        assert known["trade_id"].tolist() == [each.trade_id for each in said]
        assert known["price"].tolist() == [instrument.price(each.price) for each in said]
        assert known["size"].tolist() == [instrument.size(each.size) for each in said]
        changes = [each for each in events if isinstance(each, BookChange) and each.instrument == instrument]
        lost = [each for each in events if isinstance(each, BookLost) and each.instrument == instrument]
        assert books["bid_price_1"].isna().sum() == len(lost)
        whole = books[books["bid_price_1"].notna()]
        assert whole["bid_price_1"].tolist() == [instrument.price(each.bid) for each in changes]
        assert whole["ask_size_1"].tolist() == [instrument.size(each.ask_size) for each in changes]
        assert (whole["bid_price_1"] > whole["bid_price_2"]).all()
        assert (whole["ask_price_2"] < whole["ask_price_3"]).all()
        files = {path.stem: pd.read_parquet(path) for path in folder.iterdir()}
        assert rows[instrument.name] == {name: len(table) for name, table in files.items()}
        assert files.keys() >= {"trades", "books"}
        states = [
            each for each in events if isinstance(each, ContractState) and each.instrument == instrument
        ]
        assert bool(states) == ("contracts" in files) == (instrument.venue == "binance-usdm")
        if states:
            known = files["contracts"][files["contracts"]["mark"].notna()]
            assert known["mark"].tolist() == [float(each.mark) for each in states if each.mark is not None]
            assert known["open_interest"].isna().all()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    again = feed("export", recorded[0], "--out", tmp_path)
    assert again.exit_code == 1
    assert "expected a file that is not there yet" in again.output
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_replay_at_a_speed_takes_its_time_and_a_database_keeps_what_it_made(
    recorded: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    _, found = recorded
    database = f"sqlite:///{tmp_path}/market.db"
    (file,) = found[1]["files"]
    answer = feed("replay", file, *BARS, "--speed", 200, "--database", database, "--json")
    assert answer.exit_code == 0, answer.output
    played = json.loads(answer.stdout)
    assert played["seconds"] >= played["recorded_s"] / 200
    first = played["feeds"][0]["station"]["signals"]
    again = json.loads(feed("replay", file, *BARS, "--database", database, "--json").stdout)
    assert first > 0
    assert again["feeds"][0]["station"]["signals"] == 0  # they are all there
    shown = feed("replay", file, *BARS)
    assert shown.exit_code == 0
    assert "okx:BTC-USDT" in shown.stdout
    assert "0 gaps" in shown.stdout


def test_orders_can_be_limit_orders(recorded: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    _, found = recorded
    database = tmp_path / "market.db"
    answer = feed(
        "replay",
        *found[1]["files"],
        *BARS,
        "--order",
        "limit",
        "--offset-bps=-1",
        "--database",
        f"sqlite:///{database}",
    )
    assert answer.exit_code == 0, answer.output
    with closing(sqlite3.connect(database)) as connection:
        orders = connection.execute("SELECT kind, limit_price IS NULL FROM orders").fetchall()
    assert set(orders) == {("limit", 0)}


def test_ctrl_c_ends_a_recording_with_files_that_are_whole(tmp_path: Path) -> None:
    recording = subprocess.Popen(
        [
            sys.executable, "-m", "raysignal.cli", "feed", "record", str(tmp_path), "-i", "okx:BTC-USDT", "--loopback",
            "--json",
        ],
        env={name: value for name, value in os.environ.items() if not name.startswith("RAYSIGNAL_")},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        watch(tmp_path, recording)
        recording.send_signal(signal.SIGINT)
        (found,) = json.loads(recording.communicate(timeout=30)[0])["recordings"]
        assert recording.returncode == 0
    finally:
        recording.kill()
        recording.wait()
    (file,) = found["files"]
    with gzip.open(file) as whole:
        assert whole.read().endswith(b'{"recording":"disconnected"}\n')


def watch(folder: Path, process: subprocess.Popen[str]) -> None:
    """Until something is written."""
    while not any(path.stat().st_size for path in folder.iterdir()):
        assert process.poll() is None
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue


def gzipped(path: Path, *lines: bytes) -> Path:
    with gzip.open(path, "wb") as file:
        file.write(b"".join(line + b"\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("replay", "nowhere.gz"), "nowhere.gz is not there"),
        (("replay", "empty"), "empty holds no recording; expected files that end in .gz"),
        (("replay", "plain.gz"), "plain.gz: damaged after line 0"),
        (("replay", "none.gz"), "none.gz: a recording without a line"),
        (("replay", "bare.gz"), "bare.gz, which does not say them: --instrument venue:symbol"),
        (("replay", "bare.gz", "-i", "BTCUSDT"), "instrument is 'BTCUSDT'; expected venue:symbol"),
        (("replay", "bare.gz", "-i", "bitmex:XBTUSD"), "bitmex"),
        (("replay", "stampless.gz", "-i", "okx:BTC-USDT"), "line 2 begins with no instant"),
        (("replay", "damaged.gz", "-i", "okx:BTC-USDT"), "damaged.gz: damaged after line"),
        (("replay", "of.gz"), "of.gz: a recording's first line does not say of what it is"),
        (
            ("replay", "bare.gz", "-i", "okx:BTC-USDT", "--speed", "0"),
            "speed is '0'; expected max, or a number above 0",
        ),
        (("replay", "bare.gz", "-i", "okx:BTC-USDT", "--speed", "fast"), "speed is 'fast'"),
        (
            ("replay", "bare.gz", "-i", "okx:BTC-USDT", "--fast", "9", "--slow", "3"),
            "feed.fast is 9; expected less than feed.slow, 3",
        ),
        (("record", "made"), "nothing to record"),
        (
            ("record", "made", "-i", "okx:BTC-USDT", "--loopback", "--channels", "depth,gossip"),
            "channels is 'gossip'",
        ),
        (("record", "plain.gz/inside", "-i", "okx:BTC-USDT", "--loopback"), "cannot be written"),
        (("record", "made", "-i", "okx:NO-SUCH", "--loopback", "--for", "x"), "'x'"),
        (("record", "made", "-i", "okx:BTC-USDT", "--speed", "5"), "--loopback"),
    ],
)
def test_what_cannot_be_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "plain.gz").write_text("1 {}\n")
    gzipped(tmp_path / "none.gz")
    gzipped(tmp_path / "bare.gz", b'1 {"a":1}')
    gzipped(tmp_path / "stampless.gz", b'1 {"a":1}', b'{"a":1}')
    gzipped(tmp_path / "of.gz", b'1 {"recording":"of","venue":"okx"}')
    whole = bytearray(
        gzipped(tmp_path / "damaged.gz", *(b'%d {"n":%d}' % (n, n * n) for n in range(5000))).read_bytes()
    )
    whole[-6] ^= 0xFF  # of the checksum
    (tmp_path / "damaged.gz").write_bytes(whole)
    answer = feed(*arguments)
    assert answer.exit_code in {1, 2}
    assert said in " ".join(answer.output.replace("│", " ").split())
    assert "Traceback" not in answer.output
