"""One signal at a time, through the whole service."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from raysignal.engine.journal.stores import open_stores
from raysignal.runtime.hooks import Hook, HookStore, hashed, new_token

pytestmark = [pytest.mark.cluster]

Post = Callable[..., httpx.Response]


def a_signal(minute: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "timestamp": f"2025-02-24T{minute // 60:02d}:{minute % 60:02d}:00Z",
        "signal": 1,
        "price": 100.0,
    } | more


def performance(http: httpx.Client, portfolio: str) -> dict[str, Any]:
    answer: dict[str, Any] = http.get(f"/performance/{portfolio}").raise_for_status().json()
    return answer


def same_state(before: dict[str, Any], after: dict[str, Any]) -> bool:
    # The journal is shared by all portfolios, so its position moves with the others.
    return {k: v for k, v in before.items() if k != "sequence"} == {
        k: v for k, v in after.items() if k != "sequence"
    }


def test_a_receipt_says_what_was_decided_filled_and_earned(post: Post) -> None:
    bought = post(a_signal(0, signal_id="a")).json()
    assert bought["decision"] == {"action": "BUY", "by": "signal"}
    assert bought["fill"]["side"] == "BUY"
    assert bought["fill"]["quantity"] == pytest.approx(10_000 / (100.0 * 1.001), rel=1e-12)
    sold = post(a_signal(1, signal="SELL", price=110.0)).json()
    assert sold["fill"]["side"] == "SELL"
    assert sold["performance"]["equity"] == pytest.approx(10_000 / 1.001 * 1.1 * 0.999, rel=1e-12)
    assert sold["performance"]["trades"] == 2
    held = post(a_signal(2, signal="HOLD", price=120.0)).json()
    assert held["fill"] is None
    assert held["reason"]
    assert [receipt["ordinal"] for receipt in (bought, sold, held)] == [0, 1, 2]


@pytest.mark.parametrize(
    "body",
    [
        {"datetime": "2/24/2025 0:00", "close": 95439.8, "Signal": 1},
        {"time": "2025-02-24", "price": "95439.8", "action": " buy "},
        {"timestamp": "2025-02-24T01:00:00+01:00", "close": 95439.8, "signal": "1", "ticker": "BTC"},
        {
            "": 7,
            "datetime": "2025-02-24 00:00",
            "close": 95439.8,
            "Signal": "BUY",
            "mood": None,
            "x": "",
            "n": "NaN",
        },
    ],
)
def test_the_names_and_forms_that_feeds_use_mean_the_same(post: Post, body: dict[str, Any]) -> None:
    receipt = post(body).json()
    assert receipt["timestamp"] == "2025-02-24T00:00:00Z"
    assert receipt["signal"] == "BUY"
    assert receipt["price"] == 95439.8
    assert receipt["symbol"] == "BTC"


def test_json_as_text_is_taken_as_webhooks_send_it(http: httpx.Client, portfolio: str) -> None:
    answer = http.post(
        "/signal", params={"portfolio": portfolio}, headers={"Content-Type": "text/plain; charset=utf-8"},
        content='{"ticker": "SOL", "time": "2025-02-24T00:00:00Z", "action": "sell", "close": 168.25}',
    )  # fmt: skip
    assert answer.status_code == 200
    assert answer.json()["reason"]


def test_64_concurrent_posts_of_one_signal_make_one_record_and_equal_receipts(
    http: httpx.Client, post: Post, portfolio: str
) -> None:
    with ThreadPoolExecutor(64) as threads:
        answers = list(threads.map(lambda _: post(a_signal(signal_id="once")), range(64)))
    assert {answer.status_code for answer in answers} == {200}
    receipts = [answer.json() for answer in answers]
    assert sorted(receipt.pop("replayed") for receipt in receipts) == [False] + [True] * 63
    assert all(receipt == receipts[0] for receipt in receipts)
    assert performance(http, portfolio)["signals"] == 1
    assert len(http.get("/history", params={"portfolio": portfolio}).json()["rows"]) == 1


def test_a_signal_sent_again_later_gets_its_first_receipt(post: Post) -> None:
    first = post(a_signal(0)).json()
    post(a_signal(1, signal=-1, price=150.0))
    again = post(a_signal(0)).json()
    assert again.pop("replayed")
    first.pop("replayed")
    assert again == first


def test_the_idempotency_key_is_the_identity_of_a_body_without_one(
    http: httpx.Client, portfolio: str
) -> None:
    query, headers = {"portfolio": portfolio}, {"Idempotency-Key": "key-7"}
    first = http.post("/signal", json=a_signal(0), params=query, headers=headers).json()
    assert first["signal_id"] == "key-7"
    other = http.post("/signal", json=a_signal(1), params=query, headers=headers)
    assert other.status_code == 409
    named = http.post("/signal", json=a_signal(1, signal_id="own"), params=query, headers=headers).json()
    assert named["signal_id"] == "own"


@pytest.mark.parametrize(
    ("body", "slug"),
    [
        (a_signal(10, signal_id="a", price=101.0), "identity-conflict"),
        (a_signal(9, signal_id="b"), "late-signal"),
        (a_signal(9), "late-signal"),
    ],
)
def test_a_conflict_is_409_and_changes_nothing(
    http: httpx.Client, post: Post, portfolio: str, body: dict[str, Any], slug: str
) -> None:
    post(a_signal(10, signal_id="a")).raise_for_status()
    before = performance(http, portfolio)
    answer = post(body)
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:raysignal:problem:{slug}"
    if slug == "late-signal":
        assert answer.json()["high_water_mark"] == "2025-02-24T00:10:00Z"
    assert same_state(before, performance(http, portfolio))
    assert post(a_signal(11, signal=-1)).status_code == 200


def test_two_signals_of_one_instant_are_taken_in_the_order_of_arrival(
    http: httpx.Client, post: Post, portfolio: str
) -> None:
    opened = post(a_signal(10, signal_id="open", signal=1)).json()
    closed = post(a_signal(10, signal_id="close", signal=-1)).json()
    assert (opened["ordinal"], closed["ordinal"]) == (0, 1)
    assert performance(http, portfolio)["signals"] == 2
    assert post(a_signal(10, signal_id="open", signal=1)).json()["replayed"]


def test_a_hook_that_is_made_while_the_service_runs_takes_alerts_and_its_token_is_in_no_log(
    http: httpx.Client, portfolio: str, store: Path, service_log: Path
) -> None:
    token = new_token()
    HookStore(open_stores(store.as_uri()).blobs).add(
        Hook(name="alerts", token_hash=hashed(token), made_us=0, portfolio=portfolio, template="tradingview",
             max_age_s=None)
    )  # fmt: skip
    body = "Alert: " + json.dumps(
        {"time": "2025-02-24T00:00:00Z", "close": "100", "strategy": {"market_position": "long"}}
    )
    for _ in range(5000):  # until both replicas have looked at the hooks anew
        answers = [http.post(f"/hooks/{token}", content=body) for _ in range(4)]
        if all(answer.status_code == 200 for answer in answers):
            break
    assert http.post(f"/hooks/{token}", content="moon").status_code == 400
    assert performance(http, portfolio)["signals"] == 1
    found = http.get("/refusals", params={"source": "alerts"}).json()
    assert [(entry["reason"], entry["sample"]) for entry in found["refusals"]] == [
        ("UnreadableInput", "moon")
    ]
    assert token not in json.dumps(found) + http.get("/metrics").text + service_log.read_text()


def test_an_absurd_price_is_refused_unless_it_is_said_to_be_true(
    http: httpx.Client, post: Post, portfolio: str
) -> None:
    post(a_signal(0, price=95.4)).raise_for_status()
    before = performance(http, portfolio)
    absurd = a_signal(1, price=95_400.0, signal=0)
    refused = post(absurd)
    assert refused.status_code == 422
    assert refused.json()["type"] == "urn:raysignal:problem:price-jump"
    assert same_state(before, performance(http, portfolio))
    assert post(absurd, accept_price_jump="true").status_code == 200


def test_symbols_of_a_portfolio_have_their_own_time(post: Post) -> None:
    assert post(a_signal(10, symbol="BTC")).status_code == 200
    assert post(a_signal(5, symbol="ETH")).status_code == 200


def test_concurrent_posts_of_different_symbols_are_all_taken(
    http: httpx.Client, post: Post, portfolio: str
) -> None:
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda n: post(a_signal(0, symbol=f"S{n}", signal=0)), range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(answer.json()["ordinal"] for answer in answers) == list(range(100))
    assert performance(http, portfolio)["signals"] == 100


def test_a_portfolio_that_is_not_there_is_404_and_named(http: httpx.Client) -> None:
    answer = http.post("/signal", json=a_signal(), params={"portfolio": "nobody"})
    assert answer.status_code == 404
    assert "nobody" in answer.json()["detail"]


def test_every_line_of_the_log_is_json_and_says_nothing_of_bodies(
    http: httpx.Client, post: Post, service_log: Any
) -> None:
    receipt = post(a_signal(0, signal_id="seen-in-log", secret_feature="do-not-log")).json()
    assert receipt["signal_id"] == "seen-in-log"

    def lines() -> list[dict[str, Any]]:
        whole, _, _ = service_log.read_text().rpartition("\n")  # the last one may be half written
        # Only line feeds end a line: paths may hold what else Python takes for one.
        return [json.loads(line) for line in whole.split("\n") if line.startswith("{")]

    for _ in range(200):
        found = [line for line in lines() if line.get("signal_id") == "seen-in-log"]
        if found:
            break
        http.get("/healthz")
    assert found[0]["path"] == "/signal"
    assert found[0]["status"] == 200
    assert found[0]["latency_ms"] > 0
    assert not re.search("do-not-log", service_log.read_text())
