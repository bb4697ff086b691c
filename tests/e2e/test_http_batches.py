"""Batches in every format, through the whole service."""

import io
import json
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

pytestmark = [pytest.mark.cluster]

ROWS: list[dict[str, Any]] = [
    {
        "datetime": f"2025-02-24T{n // 6:02d}:{n % 6}0:00Z",
        "close": 100.0 + n % 7,
        "Signal": (-1) ** n,
        "mood": f"m{n}",
    }
    for n in range(60)
]


def encoded(kind: str, rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    match kind:
        case "application/json":
            sink.write(json.dumps(rows).encode())
        case "application/x-ndjson":
            sink.write(b"\n".join(json.dumps(row).encode() for row in rows))
        case "text/csv":
            pyarrow.csv.write_csv(pa.Table.from_pylist(rows), sink)
        case _:
            pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def send(
    http: httpx.Client,
    portfolio: str,
    rows: list[dict[str, Any]],
    kind: str = "application/x-ndjson",
    **query: str,
) -> httpx.Response:
    return http.post(
        "/signals", content=encoded(kind, rows), params={"portfolio": portfolio, **query},
        headers={"Content-Type": kind},
    )  # fmt: skip


@pytest.mark.parametrize(
    "kind", ["application/json", "application/x-ndjson", "text/csv", "application/vnd.apache.parquet"]
)
def test_every_format_ends_where_single_posts_end(http: httpx.Client, portfolio: str, kind: str) -> None:
    answer = send(http, portfolio, ROWS, kind)
    assert answer.status_code == 200, answer.text
    batch = answer.json()
    assert (batch["rows"], batch["accepted"], batch["replayed"], batch["refused"]) == (60, 60, 0, 0)
    single = f"{portfolio}-single"
    http.put(f"/portfolios/{single}", json={}).raise_for_status()
    for row in ROWS:
        receipt = http.post("/signal", json=row, params={"portfolio": single}).json()
    assert batch["performance"] == receipt["performance"]


def test_a_batch_in_any_order_is_processed_in_time(http: httpx.Client, portfolio: str) -> None:
    ordered = f"{portfolio}-ordered"
    http.put(f"/portfolios/{ordered}", json={}).raise_for_status()
    expected = send(http, ordered, ROWS).json()["performance"]
    assert send(http, portfolio, ROWS[::-1]).json()["performance"] == expected


def test_a_batch_sent_again_counts_once(http: httpx.Client, portfolio: str) -> None:
    first = send(http, portfolio, ROWS).json()
    again = send(http, portfolio, ROWS, "text/csv").json()
    assert (again["accepted"], again["replayed"]) == (0, 60)
    assert again["performance"] == first["performance"]


def test_all_or_nothing_is_the_default_and_names_the_rows_as_they_were_sent(
    http: httpx.Client, portfolio: str
) -> None:
    rows = [dict(row) for row in ROWS]
    rows[17]["close"] = -1
    rows[40]["Signal"] = "maybe"
    answer = send(http, portfolio, rows[::-1])
    assert answer.status_code == 422
    assert [error["row"] for error in answer.json()["errors"]] == [19, 42]
    assert http.get(f"/performance/{portfolio}").json()["signals"] == 0


def test_what_the_state_refuses_is_named_by_its_place_in_the_input(
    http: httpx.Client, portfolio: str
) -> None:
    send(http, portfolio, ROWS[:10]).raise_for_status()
    late = ROWS[5] | {"close": 500.0, "signal_id": "late"}
    answer = send(http, portfolio, [*ROWS[20:30], late])
    assert answer.status_code == 409
    assert [error["row"] for error in answer.json()["errors"]] == [10]
    assert http.get(f"/performance/{portfolio}").json()["signals"] == 10


def test_on_request_bad_rows_are_skipped_and_told(http: httpx.Client, portfolio: str) -> None:
    send(http, portfolio, ROWS[:10]).raise_for_status()
    rows: list[dict[str, Any]] = [
        ROWS[3],  # sent before
        ROWS[12],
        ROWS[13] | {"close": "cheap"},
        ROWS[4] | {"signal_id": "late"},
        ROWS[14],
    ]
    batch = send(http, portfolio, rows, on_error="skip").json()
    assert (batch["rows"], batch["accepted"], batch["replayed"], batch["refused"]) == (5, 2, 1, 2)
    assert [(error["row"], error["type"]) for error in batch["errors"]] == [
        (2, "InvalidField"),
        (3, "LateSignal"),
    ]


def test_receipts_come_on_request_in_time_order(http: httpx.Client, portfolio: str) -> None:
    batch = send(http, portfolio, ROWS[:5][::-1], receipts="true").json()
    assert [receipt["ordinal"] for receipt in batch["receipts"]] == [0, 1, 2, 3, 4]
    assert batch["receipts"][-1]["performance"] == batch["performance"]
    assert "receipts" not in send(http, portfolio, ROWS[5:7]).json()


def test_receipts_of_very_many_rows_are_refused_before_anything_is_taken_in(
    http: httpx.Client, portfolio: str
) -> None:
    rows = [
        {"timestamp": f"2025-02-24T{n // 3600:02d}:{n // 60 % 60:02d}:{n % 60:02d}Z", "signal": 0, "price": 1}
        for n in range(10_001)
    ]
    assert send(http, portfolio, rows, receipts="true").status_code == 422
    assert http.get(f"/performance/{portfolio}").json()["signals"] == 0


def test_an_absurd_price_in_a_batch_is_believed_on_request_only(http: httpx.Client, portfolio: str) -> None:
    rows = [ROWS[0], ROWS[1] | {"close": 100_000.0}]
    assert send(http, portfolio, rows).status_code == 422
    assert send(http, portfolio, rows, accept_price_jump="true").json()["accepted"] == 2


@pytest.mark.parametrize(
    ("kind", "body"), [("application/json", b"[]"), ("text/csv", b"datetime,close,Signal\n")]
)
def test_a_batch_of_nothing_changes_nothing(
    http: httpx.Client, portfolio: str, kind: str, body: bytes
) -> None:
    answer = http.post(
        "/signals", content=body, params={"portfolio": portfolio}, headers={"Content-Type": kind}
    )
    assert answer.status_code == 200
    assert (answer.json()["rows"], answer.json()["signals"]) == (0, 0)
