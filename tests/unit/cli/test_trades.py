"""`raysignal trades` over a signal file, and over a store that the core itself wrote."""

import csv
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raysignal.cli.main import app
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio.shard import ShardLimits
from tests.unit.engine.portfolio.test_shard import Place, a_signal

FILE = """timestamp,symbol,signal,price
2025-01-01T00:00:00Z,BTC,BUY,100
2025-01-01T01:00:00Z,BTC,HOLD,130
2025-01-01T02:00:00Z,BTC,SELL,110
2025-01-01T03:00:00Z,ETH,BUY,10
2025-01-01T04:00:00Z,ETH,HOLD,9
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "signals.csv"
    path.write_text(FILE)
    return str(path)


def trades(*arguments: str):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["trades", *arguments])


def test_trades_of_a_file_end_with_it(file):
    shown = trades(file, "--fee-bps", "0", "--json")
    assert shown.exit_code == 0, shown.stderr
    told = json.loads(shown.stdout)
    closed, ended = told["trades"]
    assert (closed["symbol"], closed["bars"], closed["exit_reason"]) == ("BTC", 2, "signal")
    assert (closed["return"], closed["mfe"]) == (pytest.approx(0.1), pytest.approx(0.3))
    assert (ended["symbol"], ended["status"], ended["exit_reason"]) == ("ETH", "open", "end_of_file")
    assert (ended["exit_price"], ended["return"]) == (9.0, pytest.approx(-0.1))
    assert (told["summary"]["trades"], told["summary"]["open"]) == (1, 1)
    assert told["summary"]["pnl"] == pytest.approx(1_000.0)


def test_trades_of_a_file_as_csv_and_as_a_table(file):
    shown = trades(file, "--csv", "--symbol", "ETH")
    (row,) = csv.DictReader(io.StringIO(shown.stdout))
    assert (row["symbol"], row["entry_time"], row["exit_ordinal"]) == ("ETH", "2025-01-01T03:00:00Z", "")
    table = trades(file).stdout
    assert "1 closed trade, 1 open: win rate 100.00%, profit factor none lost" in table
    assert "end of file" in table
    assert "the last 1 of 2" in trades(file, "--limit", "1").stdout


def test_a_file_without_a_trade_says_so(tmp_path):
    path = tmp_path / "none.csv"
    path.write_text("".join(FILE.splitlines(keepends=True)[::2][:1]) + "2025-01-01T01:00:00Z,BTC,HOLD,130\n")
    shown = trades(str(path))
    assert shown.exit_code == 0, shown.stderr
    assert "0 closed trades, 0 open" in shown.stdout
    assert trades(str(path), "--csv").stdout.startswith("status,")


def test_trades_of_a_store_are_those_of_its_portfolio(tmp_path):
    place = Place(tmp_path, ShardLimits(), {"baseline": Policy(fee_bps=0.0)})
    place.send(
        [a_signal(0, 100.0), a_signal(1, 120.0, -1, name="out"), a_signal(2, 120.0), a_signal(3, 60.0, 0)]
    )
    store = place.root.as_uri()
    early = trades("--store", store)
    assert early.exit_code == 1
    assert "no trades of 'baseline' are written" in early.stderr
    place.checkpoint()
    shown = trades("--store", store, "--json")
    closed, held = json.loads(shown.stdout)["trades"]
    assert (closed["exit_signal_id"], closed["return"]) == ("out", pytest.approx(0.2))
    assert (held["status"], held["exit_reason"], held["return"]) == ("open", None, pytest.approx(-0.5))
    assert "still open" in trades("--store", store).stdout
    assert trades("--store", store, "--portfolio", "other").exit_code == 1


@pytest.mark.parametrize(
    "wrong",
    [
        ["--csv", "--json"],
        ["--fee-bps", "1"],
        ["--bar", "1h"],
        ["x.csv", "--store", "file:///x"],
        ["x.csv", "--portfolio", "p"],
    ],
)
def test_what_does_not_go_together_is_wrong_usage(wrong):
    assert trades(*wrong).exit_code == 2


def test_a_file_that_is_not_there_is_named():
    shown = trades("nowhere.csv")
    assert shown.exit_code == 1
    assert "nowhere.csv is no file" in shown.stderr
