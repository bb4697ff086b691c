"""`raysignal query` over a store that the core itself wrote."""

import csv
import io
import json

import pytest
from typer.testing import CliRunner

from raysignal.cli.main import app
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.portfolio.shard import Shard, ShardLimits

HOUR_US = 3_600_000_000


@pytest.fixture
def store(tmp_path):
    """The address of a store with four processed signals."""
    url = (tmp_path / "store").as_uri()
    stores = open_stores(url)
    shard = Shard.open(
        stores.journal_store("shard-0"), stores.blobs, prefix="state/shard-0",
        cache_dir=tmp_path / "cache", limits=ShardLimits(), policies={"baseline": Policy(fee_bps=0.0)},
    )  # fmt: skip
    signals = [
        Signal("BTC", HOUR_US, Action.BUY, 100.0, features={"mood": "calm"}),
        Signal("BTC", 2 * HOUR_US, Action.HOLD, 101.0, features={"mood": "[red]"}),
        Signal("BTC", 3 * HOUR_US, Action.SELL, 110.0),
        Signal("ETH", 3 * HOUR_US, Action.HOLD, 10.0),
    ]
    encoded = SignalBatch.of_signals(signals).encode()
    shard.submit("baseline", encoded, all_or_nothing=True, accept_price_jump=False, receipts=False)
    commit = shard.next_commit()
    shard.write(commit)
    shard.committed()
    checkpoint = shard.due_checkpoint(now=True)
    shard.write_checkpoint(checkpoint)
    shard.journal.close()
    return url


def ask(store, *arguments):
    return CliRunner().invoke(app, ["query", "--store", store, *arguments])


def test_an_answer_as_json_is_an_array_of_objects(store):
    sql = 'SELECT ordinal, timestamp, signal, price, equity, "feature.mood" AS mood FROM history ORDER BY ordinal'
    shown = ask(store, sql, "--json")
    assert shown.exit_code == 0, shown.stderr
    rows = json.loads(shown.stdout)
    assert rows[0] == {
        "ordinal": 0, "timestamp": "1970-01-01T01:00:00Z", "signal": 1, "price": 100.0, "equity": 10_000.0,
        "mood": "calm",
    }  # fmt: skip
    assert [row["mood"] for row in rows] == ["calm", "[red]", None, None]
    assert rows[2]["equity"] == pytest.approx(11_000.0)


def test_an_answer_as_csv_has_a_header_and_keeps_text_as_it_is(store):
    shown = ask(store, 'SELECT "feature.mood" AS mood, symbol FROM history ORDER BY ordinal', "--csv")
    assert list(csv.reader(io.StringIO(shown.stdout))) == [
        ["mood", "symbol"], ["calm", "BTC"], ["[red]", "BTC"], ["", "BTC"], ["", "ETH"],
    ]  # fmt: skip


def test_a_table_shows_text_that_looks_like_markup_as_it_is(store):
    shown = ask(store, 'SELECT "feature.mood" AS mood FROM history WHERE ordinal = 1')
    assert shown.exit_code == 0
    assert "[red]" in shown.stdout


def test_numbers_that_json_cannot_say_are_null(store):
    shown = ask(
        store, "SELECT 'NaN'::DOUBLE AS a, 'Infinity'::DOUBLE AS b, [1.5, 'NaN'::DOUBLE] AS c", "--json"
    )
    assert json.loads(shown.stdout) == [{"a": None, "b": None, "c": [1.5, None]}]


def test_the_schema_names_columns_and_features(store):
    shown = ask(store, "--schema", "--json")
    columns = {each["column"]: each["type"] for each in json.loads(shown.stdout)}
    assert columns["portfolio"] == "string"
    assert columns["equity"] == "double"
    assert columns["feature.mood"] == "string"


def test_a_wrong_query_is_a_sentence_with_status_1(store):
    shown = ask(store, "SELEKT")
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert "the query cannot be run" in shown.stderr


def test_an_empty_store_has_no_rows_and_says_so(tmp_path):
    shown = ask(tmp_path.as_uri(), "SELECT count(*) AS n FROM history")
    assert shown.exit_code == 0
    assert ask(tmp_path.as_uri(), "SELECT * FROM history", "--json").stdout.split() == ["[]"]
    assert "no results" in ask(tmp_path.as_uri(), "SELECT * FROM history").stdout


def test_a_store_of_no_kind_is_a_sentence_with_status_1():
    shown = ask("ftp://elsewhere", "SELECT 1")
    assert shown.exit_code == 1
    assert "neither file:///full/path nor s3://bucket/prefix" in shown.stderr


def test_columns_of_one_name_are_all_there(store):
    sql = (
        "SELECT a.symbol, b.symbol, a.ordinal AS symbol_1 FROM history a JOIN history b ON b.ordinal = a.ordinal + 1 "
        "ORDER BY a.ordinal"
    )
    rows = json.loads(ask(store, sql, "--json").stdout)
    assert rows[2] == {"symbol": "BTC", "symbol_2": "ETH", "symbol_1": 2}
    shown = ask(store, "SELECT min(price), max(price), min(price) FROM history")
    assert shown.exit_code == 0, shown.stderr
    assert shown.stdout.count("min(price)") == 2
