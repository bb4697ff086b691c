"""What can be read of a service: portfolios, performance, history, decisions, its own state."""

import json
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

pytestmark = [pytest.mark.cluster]


def rows_of(n: int, start: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "timestamp": f"2025-{2 + m // 40320:02d}-{1 + m // 1440 % 28:02d}T{m // 60 % 24:02d}:{m % 60:02d}:00Z",
            "signal": (-1, 0, 1)[m % 3],
            "price": 100.0 + m % 11,
            "symbol": ("BTC", "ETH")[m % 2],
            "mood": f"mood {m}",
            "lots": m,
        }
        for m in range(start, start + n)
    ]


def send(http: httpx.Client, portfolio: str, rows: list[dict[str, Any]]) -> None:
    http.post(
        "/signals", content="\n".join(json.dumps(row) for row in rows), params={"portfolio": portfolio},
        headers={"Content-Type": "application/x-ndjson"},
    ).raise_for_status()  # fmt: skip


def pages(http: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        answer = http.get("/history", params=query | ({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["rows"]) <= query["limit"]
        found += page["rows"]
        cursor = page["cursor"]
        if cursor is None:
            return found


def test_a_portfolio_is_created_once_and_only_with_its_policy(http: httpx.Client, portfolio: str) -> None:
    path = f"/portfolios/{portfolio}-new"
    created = http.put(path, json={"fee_bps": 4, "side": "long-short"})
    assert created.status_code == 201
    assert created.json()["policy"]["fee_bps"] == 4.0
    assert http.put(path, json={"side": "long-short", "fee_bps": 4.0}).status_code == 200
    other = http.put(path, json={"fee_bps": 5})
    assert other.status_code == 409
    assert other.json()["expected"]["fee_bps"] == 4.0
    names = [each["portfolio"] for each in http.get("/portfolios").json()["portfolios"]]
    assert f"{portfolio}-new" in names
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("UPPER", {}, 422),
        ("x" * 64, {}, 422),
        ("ok", {"fee": 1}, 422),
        ("ok", {"fee_bps": "4"}, 422),
        ("ok", {"weight": 0}, 422),
        ("ok", {"side": "sideways"}, 422),
        ("ok", [1], 400),
    ],
)
def test_a_portfolio_that_cannot_be_is_refused(http: httpx.Client, name: str, body: Any, status: int) -> None:
    assert http.put(f"/portfolios/{name}", json=body).status_code == status


def test_the_primary_portfolio_is_what_performance_shows(http: httpx.Client) -> None:
    shown, named = http.get("/performance").json(), http.get("/performance/baseline").json()
    for answer in (shown, named):
        answer.pop("sequence")
    assert shown == named


def test_history_gives_every_row_once_and_in_order_while_rows_move_to_parquet(
    http: httpx.Client, portfolio: str
) -> None:
    # Every 500 rows the actor writes a checkpoint, so rows move while this reads, and rows stay in memory.
    sent = []
    for part in range(6):
        rows = rows_of(211, part * 211)
        send(http, portfolio, rows)
        sent += rows
        found = pages(http, portfolio=portfolio, limit=97)
        assert [row["ordinal"] for row in found] == list(range(len(sent)))
    assert [row["timestamp"] for row in found] == [row["timestamp"] for row in sent]
    assert [row["features"] for row in found] == [{"mood": row["mood"], "lots": row["lots"]} for row in sent]
    assert [row["price"] for row in found] == [row["price"] for row in sent]


def test_history_can_be_filtered(http: httpx.Client, portfolio: str) -> None:
    rows = rows_of(700)
    send(http, portfolio, rows)
    start, end = rows[100]["timestamp"], rows[600]["timestamp"]
    found = pages(
        http, portfolio=portfolio, limit=50, symbol="ETH", action="BUY", **{"from": start, "to": end}
    )
    wanted = [
        index
        for index, row in enumerate(rows)
        if 100 <= index < 600 and row["symbol"] == "ETH" and row["signal"] == 1
    ]
    assert [row["ordinal"] for row in found] == wanted
    assert {row["signal"] for row in found} == {"BUY"}


def test_a_cursor_is_of_no_use_with_other_filters(http: httpx.Client, portfolio: str) -> None:
    send(http, portfolio, rows_of(20))
    cursor = http.get("/history", params={"portfolio": portfolio, "limit": 5}).json()["cursor"]
    answer = http.get(
        "/history", params={"portfolio": portfolio, "limit": 5, "cursor": cursor, "symbol": "ETH"}
    )
    assert answer.status_code == 422
    assert answer.json()["field"] == "cursor"


def test_a_decision_is_explained_from_memory_and_from_parquet_alike(
    http: httpx.Client, portfolio: str
) -> None:
    query = {"portfolio": portfolio}
    row = rows_of(1)[0] | {"signal_id": "why/this one?"}
    receipt = http.post("/signal", json=row, params=query).json()
    path = "/decisions/why%2Fthis%20one%3F"
    fresh = http.get(path, params=query)
    assert fresh.status_code == 200, fresh.text
    send(http, portfolio, rows_of(1200, 1))
    later = http.get(path, params=query).json()
    assert later == fresh.json()
    assert later["receipt"] == receipt
    assert later["features"] == {"mood": "mood 0", "lots": 0.0}
    assert later["policy"]["fee_bps"] == 10.0


def test_metrics_are_exact(http: httpx.Client, portfolio: str) -> None:
    def counted() -> dict[str, float]:
        page = http.get("/metrics")
        assert page.headers["content-type"].startswith("text/plain; version=")
        samples = [
            sample for family in text_string_to_metric_families(page.text) for sample in family.samples
        ]
        return {
            sample.name + "".join(f".{value}" for value in sample.labels.values()): sample.value
            for sample in samples
        }

    before = counted()
    query = {"portfolio": portfolio}
    row = rows_of(1, 2)[0]
    http.post("/signal", json=row, params=query)
    http.post("/signal", json=row, params=query)
    http.post("/signal", json=rows_of(1)[0], params=query)
    http.post("/signal", json=row | {"timestamp": "2025-02-01T00:01:00Z", "signal_id": "late"}, params=query)
    after = counted()
    gained = {name: value - before.get(name, 0.0) for name, value in after.items()}
    assert gained["raysignal_signals_received_total"] == 4
    assert gained["raysignal_signals_accepted_total"] == 1 + (gained["raysignal_signals_accepted_total"] == 2)
    assert gained["raysignal_signals_replayed_total"] == 1
    assert gained["raysignal_signals_refused_total.LateSignal"] >= 1
    assert gained["raysignal_commit_seconds_count"] >= 1
    assert after["raysignal_commit_seconds_bucket.+Inf"] == after["raysignal_commit_seconds_count"]
    assert after["raysignal_queue_depth.0"] == 0


def test_alive_and_ready(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"status": "ok"}
    ready = http.get("/readyz")
    assert ready.status_code == 200
    assert len(ready.json()["sequence"]) == 1
    assert ready.json()["agent_behind"] >= 0


def test_the_docs_need_nothing_from_elsewhere(http: httpx.Client) -> None:
    page = http.get("/", headers={"accept": "text/html,*/*;q=0.8"}, follow_redirects=True)  # as browsers ask
    assert page.url.path == "/docs"
    assert page.headers["content-type"].startswith("text/html")
    assert "http://" not in page.text.replace(str(page.url), "")
    assert "https://" not in page.text
    for path in http.get("/openapi.json").json()["paths"]:
        assert path in page.text
