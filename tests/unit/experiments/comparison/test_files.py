import io
from dataclasses import replace

import duckdb
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from raysignal.agents.verdicts import Verdict
from raysignal.engine.core.errors import NotFound, StoreError
from raysignal.engine.journal.blobs import DiskBlobs
from raysignal.experiments.comparison.arm_trades import TRADE_COLUMNS, trades_of_arms
from raysignal.experiments.comparison.files import (
    DECISION_COLUMNS,
    DECISIONS,
    EQUITY,
    EQUITY_COLUMNS,
    TRADES,
    decisions_table,
    equity_table,
    read_table,
    write_results,
)
from raysignal.experiments.result_files import (
    MANIFEST,
    METRICS,
    json_bytes,
    parquet_bytes,
    read_bytes,
    read_json,
)
from tests.support.experiment_streams import CASH, a_stream, some_arms


@pytest.fixture
def blobs(tmp_path):
    return DiskBlobs(tmp_path)


def write(blobs, stream, arms, **changes):
    results = {
        "metrics": {"blind": False},
        "manifest": {"run_id": "r1"},
        "report": "<p>hello</p>",
        "picture": b"png",
    }
    return write_results(
        blobs, "r1", stream=stream, arms=arms, trades=trades_of_arms(stream, arms), **{**results, **changes}
    )


def test_a_run_is_written_whole_and_read_again(blobs):
    stream = a_stream(100)
    arms = some_arms(stream)
    names = write(blobs, stream, arms)
    assert names[-1] == "experiments/r1/manifest.json"
    assert read_json(blobs, "r1", MANIFEST) == {"run_id": "r1"}
    assert read_json(blobs, "r1", METRICS) == {"blind": False}
    assert read_bytes(blobs, "r1", "report.html") == b"<p>hello</p>"
    assert read_table(blobs, "r1", DECISIONS).equals(decisions_table(stream, arms))
    assert read_table(blobs, "r1", EQUITY).equals(equity_table(stream, arms))
    trades = read_table(blobs, "r1", TRADES)
    assert trades.schema.equals(TRADE_COLUMNS)
    assert set(trades["arm"].to_pylist()) == {arm.name for arm in arms}
    ended = trades.filter(pc.is_null(trades["exit_ordinal"]))
    assert set(ended["exit_reason"].to_pylist()) == {"end_of_file"}
    assert write(blobs, stream, arms) == names


def test_a_run_that_is_there_is_never_changed(blobs):
    stream = a_stream(50)
    arms = some_arms(stream)
    write(blobs, stream, arms)
    with pytest.raises(StoreError, match="already written with other content"):
        write(blobs, stream, arms, metrics={"blind": True})
    with pytest.raises(NotFound, match=r"run 'r2' has no manifest\.json"):
        read_json(blobs, "r2", MANIFEST)


def test_a_decision_says_what_was_decided_and_what_it_was_worth():
    stream = a_stream(100)
    arms = some_arms(stream)
    table = decisions_table(stream, arms)
    assert table.schema.equals(DECISION_COLUMNS)
    assert table.num_rows == 500
    arm = arms[4]
    row = int(np.flatnonzero(stream.judged & (arm.verdict == Verdict.FLIP))[0])
    found = table.slice(400 + row, 1).to_pylist()[0]
    assert found["arm"] == "canary"
    assert found["signal_id"] == f"id-{row}"
    assert (found["verdict"], found["decided_by"], found["reason"]) == ("flip", "gate", "evidence_against")
    assert found["decision"] == -found["signal"]
    assert found["net_bps"] == stream.net_bps[row, Verdict.FLIP]
    assert found["uplift_bps"] == pytest.approx(found["net_bps"] - found["approve_bps"])
    assert found["gross_bps"] == stream.gross_bps[row, Verdict.FLIP]
    assert found["known_at"] > found["timestamp"]


def test_what_is_not_known_is_null_and_not_nan():
    stream = a_stream(60)
    frame = decisions_table(stream, some_arms(stream)).to_pylist()
    unknown = [row for row in frame if not row["judged"]]
    assert unknown
    empty = ("gross_bps", "net_bps", "approve_bps", "uplift_bps", "right", "known_at")
    assert all(row[name] is None for row in unknown for name in empty)
    assert all(row["p_right"] is None for row in frame if row["arm"] == "baseline")


def test_equity_has_a_row_for_every_arm_fill_and_signal():
    stream = a_stream(50)
    arms = some_arms(stream)
    table = equity_table(stream, arms)
    assert table.schema.equals(EQUITY_COLUMNS)
    assert table.num_rows == 5 * 2 * 50
    first = table.slice(0, 1).to_pylist()[0]
    assert first["equity"] == arms[0].equity["signal"][0]
    assert first["drawdown"] == max(0.0, 1.0 - first["equity"] / CASH)
    assert equity_table(stream, [replace(arm, equity={}) for arm in arms]).num_rows == 0


def test_the_same_results_make_the_same_bytes():
    stream, again = a_stream(80), a_stream(80)
    first = parquet_bytes(decisions_table(stream, some_arms(stream)))
    assert parquet_bytes(decisions_table(again, some_arms(again))) == first
    read = pq.read_table(io.BytesIO(first))
    assert parquet_bytes(read.replace_schema_metadata(None)) == first
    assert json_bytes({"b": 1.0, "a": float("nan")}) == json_bytes({"a": None, "b": 1.0})


def test_decisions_can_be_queried_with_sql():
    stream = a_stream(200)
    decisions = decisions_table(stream, some_arms(stream))
    assert decisions.num_rows == 1_000
    found = duckdb.sql(
        "select arm, avg(uplift_bps) as uplift from decisions where judged group by arm order by uplift desc"
    ).fetchall()
    assert found[0][0] == "canary"
    assert ("baseline", 0.0) in found
