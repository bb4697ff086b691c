"""The application in one process over a real shard on disk: access, lines, and what only goes wrong inside."""

import asyncio
import hashlib
import hmac
import io
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from jsonschema import Draft202012Validator

from raysignal.engine.core.errors import StoreUnavailable
from raysignal.serve.access import MOST_SIGNED_BYTES, signed_text
from raysignal.serve.logs import json_logger
from tests.support.one_replica import Desk, replica, speaking_to

SIGNAL = {"timestamp": "2025-02-24T00:00:00Z", "signal": 1, "price": 100.0}
KEY, SECRET = "key-1", "secret-1"


@asynccontextmanager
async def running(
    folder: Path, lines: list[dict[str, Any]] | None = None, **settings: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Desk]]:
    async with replica(folder, **settings) as found, speaking_to(found) as client:
        yield client, found.desk
    if lines is not None:
        lines += found.lines


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    return {
        "X-Signature": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
        "Content-Type": "application/json",
    }


@pytest.mark.parametrize(
    "path",
    [
        "/performance",
        "/history",
        "/v1/trades",
        "/portfolios",
        "/metrics",
        "/readyz",
        "/nothing",
        "/docs/",
        "/agent",
        "/memory/outcomes",
        "/refusals",
    ],
)
async def test_with_a_key_nothing_is_shown_to_who_has_none(tmp_path: Path, path: str) -> None:
    async with running(tmp_path, api_key=KEY) as (http, _):
        answer = await http.get(path)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert (await http.get(path, headers={"Authorization": "Bearer key-2"})).status_code == 401


async def test_the_documentation_is_open_and_asks_for_the_key(tmp_path: Path) -> None:
    async with running(tmp_path, api_key=KEY) as (http, _):
        page, document = await http.get("/docs"), await http.get("/openapi.json")
        assert (page.status_code, document.status_code) == (200, 200)
        assert 'id="key"' in page.text
        assert document.json()["components"]["securitySchemes"] == {
            "key": {"type": "http", "scheme": "bearer"}
        }
        assert KEY not in page.text + document.text
        assert (await http.get("/", headers={"Accept": "text/html"})).headers["location"] == "/docs"
        assert KEY not in (await http.get("/")).text


async def test_without_a_key_only_this_machine_is_answered_and_no_page_of_others_acts(tmp_path: Path) -> None:
    async with running(tmp_path) as (http, desk):
        for path in ("/performance", "/history", "/metrics", "/openapi.json", "/healthz", "/nothing"):
            answer = await http.get(path, headers={"Host": "evil.example"})
            assert (answer.status_code, answer.json()["field"]) == (403, "Host")
            assert answer.headers["content-type"] == "application/problem+json"
        from_page = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
        for method, path in (
            ("POST", "/signal"),
            ("POST", "/signals"),
            ("PUT", "/portfolios/x"),
            ("POST", "/agent/reset"),
            ("POST", "/memory/rebuild"),
        ):
            answer = await http.request(method, path, content=orjson.dumps(SIGNAL), headers=from_page)
            assert (answer.status_code, answer.json()["field"]) == (403, "Origin")
        assert (await desk.standing("baseline")).count == 0
        own = {"Origin": "http://localhost", "Content-Type": "text/plain"}
        assert (await http.post("/signal", content=orjson.dumps(SIGNAL), headers=own)).status_code == 200
        assert (await http.get("/performance", headers=from_page)).status_code == 200


async def test_an_open_position_is_renamed_once_by_a_post(tmp_path: Path) -> None:
    async with running(tmp_path) as (http, _):
        await http.post("/signal", json={**SIGNAL, "symbol": "BTCUSDT"})
        asked = {"formerly": "BTCUSDT", "symbol": "binance:BTCUSDT"}
        blanks = {"formerly": " BTCUSDT", "symbol": "binance:BTCUSDT "}
        answers = [await http.post("/portfolios/baseline/symbols", json=body) for body in (blanks, asked)]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert [answer.json() for answer in answers] == [
            {"portfolio": "baseline", **asked, "renamed": renamed} for renamed in (True, False)
        ]
        assert (await http.get("/performance")).json()["symbols"] == ["binance:BTCUSDT"]
        assert (await http.post("/portfolios/nobody/symbols", json=asked)).status_code == 404
        assert (await http.post("/portfolios/enhanced/symbols", json=asked)).status_code == 409
        for wrong in (
            {"formerly": "BTC"},
            {**asked, "symbol": ""},
            {**asked, "more": 1},
            {**asked, "symbol": 7},
        ):
            answer = await http.post("/portfolios/baseline/symbols", json=wrong)
            assert answer.status_code == 422, answer.text
            assert answer.json()["field"] in {"symbol", "more"}


async def test_the_key_opens_and_the_health_check_is_open(tmp_path: Path) -> None:
    async with running(tmp_path, api_key=KEY) as (http, _):
        headers = {"Authorization": f"Bearer {KEY}"}
        assert (await http.post("/signal", json=SIGNAL)).status_code == 401
        assert (await http.post("/signal", json=SIGNAL, headers=headers)).status_code == 200
        assert (await http.get("/performance", headers=headers)).json()["signals"] == 1
        assert (await http.get("/healthz")).status_code == 200


async def test_a_webhook_signs_its_body(tmp_path: Path) -> None:
    body = orjson.dumps(SIGNAL)
    async with running(tmp_path, api_key=KEY, webhook_secret=SECRET) as (http, desk):
        for headers in (signed(body, "other"), signed(body + b" "), {"X-Signature": "sha256="}):
            assert (await http.post("/signal", content=body, headers=headers)).status_code == 401
        assert (await desk.standing("baseline")).count == 0
        assert (await http.post("/signal", content=body, headers=signed(body))).status_code == 200
        rows = b"[" + body + b"]"
        batch = await http.post("/signals", content=rows, headers=signed(rows))
        assert batch.json()["replayed"] == 1
        assert (await http.put("/portfolios/x", content=b"{}", headers=signed(b"{}"))).status_code == 401
        assert (await http.get("/performance", headers=signed(b""))).status_code == 401


async def test_a_body_that_is_signed_has_a_limit_of_its_own(tmp_path: Path) -> None:
    async with running(tmp_path, api_key=KEY, webhook_secret=SECRET) as (http, _):
        long = b" " * MOST_SIGNED_BYTES + b"[]"
        for headers in (signed(long), signed(long, "other")):
            refused = await http.post("/signals", content=long, headers=headers)
            assert (refused.status_code, refused.json()["limit"]) == (413, MOST_SIGNED_BYTES)
        keyed = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        assert (await http.post("/signals", content=long, headers=keyed)).status_code != 413


async def test_a_signature_of_the_second_kind_signs_query_and_key_too(tmp_path: Path) -> None:
    body, now_s = orjson.dumps(SIGNAL), int(time.time())
    signed = signed_text(now_s, "POST", "/signal", b"portfolio=baseline", b"key-7") + body
    digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    headers = {"X-Signature-V2": f"t={now_s},sha256={digest}", "Idempotency-Key": "key-7"}
    headers["Content-Type"] = "application/json"
    async with running(tmp_path, api_key=KEY, webhook_secret=SECRET) as (http, desk):
        for path in ("/signal?portfolio=other", "/signal"):
            assert (await http.post(path, content=body, headers=headers)).status_code == 401
        for key in ("other", ""):
            other = headers | {"Idempotency-Key": key}
            assert (
                await http.post("/signal?portfolio=baseline", content=body, headers=other)
            ).status_code == 401
        assert (await desk.standing("baseline")).count == 0
        answer = await http.post("/signal?portfolio=baseline", content=body, headers=headers)
        assert answer.json()["signal_id"] == "key-7"


async def test_the_document_says_how_to_prove_who_one_is_only_where_one_must(tmp_path: Path) -> None:
    async with running(tmp_path / "a") as (http, _):
        plain = (await http.get("/openapi.json")).json()
    async with running(tmp_path / "b", api_key=KEY, webhook_secret=SECRET) as (http, _):
        secured = (await http.get("/openapi.json")).json()
    assert "securitySchemes" not in plain["components"]
    assert "401" not in plain["paths"]["/signal"]["post"]["responses"]
    assert secured["paths"]["/signal"]["post"]["security"] == [
        {"key": []},
        {"signature_v2": []},
        {"signature": []},
    ]
    assert secured["paths"]["/performance"]["get"]["security"] == [{"key": []}]
    assert "security" not in secured["paths"]["/healthz"]["get"]
    assert "401" in secured["paths"]["/signal"]["post"]["responses"]


async def test_a_store_that_does_not_answer_is_503_and_says_when_to_try_again(tmp_path: Path) -> None:
    async with running(tmp_path) as (http, desk):
        desk.broken = StoreUnavailable("the bucket does not answer")
        for answer in (await http.post("/signal", json=SIGNAL), await http.get("/readyz")):
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["detail"] == "the bucket does not answer"
        assert (await http.get("/healthz")).status_code == 200
        desk.broken = None
        assert (await http.post("/signal", json=SIGNAL)).status_code == 200


async def test_a_store_that_fails_is_logged_once_with_its_cause_and_once_when_it_works_again(
    tmp_path: Path,
) -> None:
    lines: list[dict[str, Any]] = []
    async with running(tmp_path, lines) as (http, desk):
        desk.broken = StoreUnavailable("the store's disk failed: [Errno 28] No space left on device")
        for _ in range(20):
            assert (await http.post("/signal", json=SIGNAL)).status_code == 503
            assert (await http.post("/signals", json=[SIGNAL])).status_code == 503
            assert (await http.get("/readyz")).status_code == 503
        assert (await http.get("/performance")).status_code == 200
        desk.broken = None
        assert (await http.post("/signal", json=SIGNAL)).status_code == 200
    told = [line for line in lines if line["event"] != "request"]
    assert [line["event"] for line in told] == ["store_failed", "store_works_again"]
    assert "No space left" in told[0]["cause"]
    assert told[1]["requests_failed"] == 60
    assert [line["status"] for line in lines if line["event"] == "request"] == [503, 200, 200]


@pytest.mark.parametrize(("path", "body"), [("/signal", SIGNAL), ("/signals", [SIGNAL])])
async def test_what_nobody_foresaw_is_a_problem_whose_id_is_in_the_log(
    tmp_path: Path, path: str, body: Any
) -> None:
    lines: list[dict[str, Any]] = []
    async with running(tmp_path, lines) as (http, desk):
        desk.broken = ZeroDivisionError("a secret of the inside")
        answer = await http.post(path, json=body)
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert [line["error_id"] for line in lines if "error_id" in line] == [answer.json()["error_id"]] * 2


async def test_one_line_a_request_with_what_it_was_about(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = []
    async with running(tmp_path, lines, api_key=KEY) as (http, _):
        headers = {"Authorization": f"Bearer {KEY}"}
        await http.post("/signal", json=SIGNAL | {"signal_id": "a", "note": "private"}, headers=headers)
        await http.post("/signal", json=SIGNAL | {"price": -1}, headers=headers)
        await http.post("/signals", json=[SIGNAL | {"timestamp": "2025-02-23T00:00:00Z"}], headers=headers)
        await http.get("/nothing")
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("POST", "/signal", 200),
        ("POST", "/signal", 422),
        ("POST", "/signals", 409),
        ("GET", "/nothing", 401),
    ]
    assert lines[0]["signal_id"] == "a"
    assert lines[2]["rows"] == 1
    assert all(line["latency_ms"] >= 0 and line["replica"] == "r1" for line in lines)
    shown = json.dumps(lines)
    assert KEY not in shown
    assert "private" not in shown


async def test_a_body_is_refused_before_it_is_read_when_it_says_that_it_is_too_long(tmp_path: Path) -> None:
    async with running(tmp_path, max_signal_bytes=256) as (http, _):
        answer = await http.post("/signal", content=b" " * 257, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        assert answer.headers["connection"] == "close"
        assert answer.json()["limit"] == 256


async def test_naive_stamps_symbols_and_sources_are_read_as_configured(tmp_path: Path) -> None:
    zone: dict[str, Any] = {
        "timezone": "America/New_York",
        "symbol": "XAU",
        "source": "desk",
        "portfolios": {"gold": {"fee_bps": 4}},
    }
    async with running(tmp_path / "x", primary="gold", **zone) as (http, _):
        answer = await http.post("/signal?portfolio=baseline", json=SIGNAL | {"timestamp": "2/24/2025 0:00"})
    assert answer.json()["timestamp"] == "2025-02-24T05:00:00Z"
    assert answer.json()["symbol"] == "XAU"


async def test_stamps_are_numbers_and_dates_in_the_configured_order(tmp_path: Path) -> None:
    async with running(tmp_path, intake={"day_first": True}) as (http, _):
        answers = [
            await http.post("/signal", json=SIGNAL | {"timestamp": stamp, "symbol": f"S{number}"})
            for number, stamp in enumerate((1740355200, 1740355200000, "1740355200000000", "24/02/2025"))
        ]
        refused = await http.post(
            "/signals?on_error=skip",
            content="Date,Close,Signal\n3/5/2011,100,1\n5/20/2011,100,1\n",
            headers={"Content-Type": "text/csv"},
        )
    assert {answer.json()["timestamp"] for answer in answers} == {"2025-02-24T00:00:00Z"}
    assert refused.status_code == 422
    assert (refused.json()["field"], refused.json()["row"]) == ("Date", 1)


async def test_many_signals_at_once_are_joined_and_each_gets_its_own_receipt(tmp_path: Path) -> None:
    async with running(tmp_path) as (http, desk):
        answers = await asyncio.gather(
            *(http.post("/signal", json=SIGNAL | {"symbol": f"S{n}", "signal": 0}) for n in range(150))
        )
        observed = (await desk.observe())[0]
    assert [answer.json()["symbol"] for answer in answers] == [f"S{n}" for n in range(150)]
    assert observed["accepted"] == 150
    assert observed["records"] < 20


class Stream(io.BytesIO):
    """Tells when something was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = asyncio.Event()

    def write(self, data: Any) -> int:
        self.written.set()
        return super().write(data)


async def test_lines_of_a_short_while_are_written_together_and_whole() -> None:
    stream = Stream()
    log = json_logger(stream)
    for number in range(50):
        log.info("request", number=number)
    assert not stream.getvalue()
    log.error("at once")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line.get("number") for line in lines] == [*range(50), None]
    stream.written.clear()
    log.info("later")
    await stream.written.wait()
    assert len(stream.getvalue().splitlines()) == 52


def test_a_log_without_an_event_loop_is_written_at_once() -> None:
    stream = io.BytesIO()
    json_logger(stream).info("request")
    assert json.loads(stream.getvalue())["event"] == "request"


async def test_a_second_key_beside_a_signed_one_is_refused_and_nothing_is_taken(tmp_path: Path) -> None:
    body = json.dumps(SIGNAL).encode()
    async with running(tmp_path, webhook_secret=SECRET, api_key=KEY) as (http, _):
        headers = [*signed(body).items(), ("Idempotency-Key", "another's"), ("Idempotency-Key", "own")]
        answer = await http.post("/signal", content=body, headers=headers)
        assert (answer.status_code, "idempotency-key comes 2 times" in answer.json()["detail"]) == (400, True)
        shown = await http.get("/performance/baseline", headers={"Authorization": f"Bearer {KEY}"})
        assert shown.json()["performance"]["signals"] == 0


def test_a_full_disk_of_the_request_log_disturbs_nobody() -> None:
    with FileIO("/dev/full", "w") as full:
        log = json_logger(full)
        log.error("refused")
        with pytest.raises(OSError, match="No space left"):
            full.write(b"it is full")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/signal?porfolio=x", "porfolio"),
        ("/signal?portfolio=A%20B", "portfolio"),
        ("/signal?portfolio=", "portfolio"),
        ("/signal?portfolio", "portfolio"),
        ("/signal?=x", ""),
        ("/signal?%FF=1", "\ufffd"),
        ("/signal?portfolio=a&portfolio=b", "portfolio"),
        ("/signal?portfolio=baseline&portfolio=baseline", "portfolio"),
        *((f"/signal?accept_price_jump={flag}", "accept_price_jump") for flag in ("", "1", "True", "yes")),
        ("/signals?on_error=ignore", "on_error"),
        ("/signals?receipts=1", "receipts"),
        *(
            (f"/history?limit={limit}", "limit")
            for limit in ("", "0", "10001", "-1", "1.0", "1e1", "+5", "%205", "1_0", "%D9%A1", "9" * 400)
        ),
        ("/refusals?source=", "source"),
        ("/refusals?reason=", "reason"),
        ("/history?action=SHORT", "action"),
        ("/history?symbol=", "symbol"),
        ("/v1/trades?status=all", "status"),
        ("/v1/trades?symbol=", "symbol"),
        ("/v1/trades?limit=0", "limit"),
        ("/v1/trades?cursor=x", "cursor"),
        ("/v1/trades/summary?limit=1", "limit"),
        ("/history?cursor=", "cursor"),
        ("/history?start=2025-01-01", "start"),
        ("/history?from=now", "from"),
        ("/history?to=", "to"),
        ("/decisions/a?symbol=b", "symbol"),
        ("/performance?portfolio=baseline", "portfolio"),
        ("/performance/UPPER", "portfolio"),
        ("/metrics?x=", "x"),
        ("/healthz?x=1", "x"),
    ],
)
async def test_a_parameter_that_is_unknown_twice_or_not_right_is_refused(
    tmp_path: Path, path: str, field: str
) -> None:
    async with running(tmp_path) as (http, desk):
        posted = path.startswith("/signal")
        answer = await (http.post(path, json=SIGNAL) if posted else http.get(path))
        assert answer.status_code == 422, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert (problem["type"], problem["field"]) == ("urn:raysignal:problem:invalid-field", field)
        assert problem["expected"]
        assert "validation" not in problem["expected"]
        assert (await desk.standing("baseline")).count == 0


@pytest.mark.parametrize(("query", "given"), [("", "none"), ("?k=5&side=BUY", "k, side")])
async def test_a_parameter_that_is_missing_is_asked_for(tmp_path: Path, query: str, given: str) -> None:
    async with running(tmp_path) as (http, _):
        answer = await http.get(f"/memory/similar{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"] == (
        f"signal_id is None; expected the parameter signal_id, which must be given; given were: {given}"
    )


async def test_head_is_answered_where_get_is_and_logged_as_head(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = []
    async with running(tmp_path, lines) as (http, _):
        for path, status in (
            ("/performance", 200), ("/healthz", 200), ("/readyz", 200), ("/docs", 200), ("/openapi.json", 200),
            ("/", 200), ("/nothing", 404), ("/signal", 405),
        ):  # fmt: skip
            assert (await http.head(path)).status_code == status, path
    assert {line["method"] for line in lines} == {"HEAD"}


async def test_what_the_routing_refuses_is_a_problem_and_is_logged_as_one(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = []
    async with running(tmp_path, lines) as (http, _):
        absent, wrong = await http.get("/nothing"), await http.delete("/signals")
    assert (absent.status_code, absent.json()["type"]) == (404, "urn:raysignal:problem:not-found")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert [line["problem"] for line in lines] == [absent.json()["type"], wrong.json()["type"]]


async def test_what_was_taken_in_is_shown_as_the_document_describes_it(tmp_path: Path) -> None:
    async with running(tmp_path) as (http, _):
        sent = SIGNAL | {"signal_id": "why/this one?", "mood": "calm", "lots": 3}
        receipt = (await http.post("/signal", json=sent)).json()
        batch = await http.post("/signals?receipts=true", json=[sent])
        decision = await http.get("/decisions/why%2Fthis%20one%3F")
        history = await http.get("/history?limit=1&action=BUY&from=2025-02-24")
        created = [await http.put("/portfolios/swing", json={"fee_bps": 4}) for _ in range(2)]
        shown = await http.get("/portfolios")
        document = (await http.get("/openapi.json")).json()
    assert receipt["decision"] == {"action": "BUY", "by": "signal"}
    assert decision.json()["receipt"] == receipt
    assert decision.json()["features"] == {"mood": "calm", "lots": 3.0}
    assert batch.json()["receipts"] == [receipt | {"replayed": True}]
    (row,) = history.json()["rows"]
    assert (row["signal_id"], row["features"]) == ("why/this one?", {"mood": "calm", "lots": 3.0})
    assert [answer.status_code for answer in created] == [201, 200]
    assert [each["portfolio"] for each in shown.json()["portfolios"]] == ["baseline", "swing"]
    for path, method, answer in (
        ("/decisions/{signal_id}", "get", decision),
        ("/history", "get", history),
        ("/signals", "post", batch),
        ("/portfolios/{name}", "put", created[0]),
        ("/portfolios", "get", shown),
    ):
        described = document["paths"][path][method]["responses"][str(answer.status_code)]
        schema = described["content"]["application/json"]["schema"] | {"components": document["components"]}
        Draft202012Validator(schema).validate(answer.json())


async def test_trades_are_shown_as_the_document_describes_them(tmp_path: Path) -> None:
    told = ["BUY 100", "HOLD 120", "SELL 110", "BUY 100", "SELL 90", "BUY 100", "HOLD 95"]
    rows = [
        {
            "signal_id": f"s{minute}",
            "timestamp": f"2025-02-24T00:0{minute}Z",
            "signal": row[:4],
            "price": row[4:],
        }
        for minute, row in enumerate(told)
    ]
    async with running(tmp_path) as (http, _):
        assert (await http.post("/signals", json=rows)).status_code == 200
        pages = [await http.get("/v1/trades?limit=1")]
        pages.append(await http.get("/v1/trades", params={"limit": 1, "cursor": pages[0].json()["cursor"]}))
        left = await http.get("/v1/trades?status=open")
        summary = await http.get("/v1/trades/summary")
        other = await http.get(f"/v1/trades?symbol=ETH&cursor={pages[0].json()['cursor']}")
        nobody = [await http.get(f"/v1/trades{path}?portfolio=nobody") for path in ("", "/summary")]
        performance = (await http.get("/performance")).json()["performance"]
        document = (await http.get("/openapi.json")).json()
    (trade,) = pages[0].json()["trades"]
    assert {name: trade[name] for name in ("status", "side", "entry_price", "exit_price", "bars")} == {
        "status": "closed", "side": "long", "entry_price": 100.0, "exit_price": 110.0, "bars": 2,
    }  # fmt: skip
    assert (trade["entry_signal_id"], trade["exit_signal_id"], trade["exit_reason"]) == ("s0", "s2", "signal")
    assert (trade["mfe"], trade["mae"]) == (pytest.approx(0.2), 0.0)
    assert pages[1].json()["cursor"] is None
    (held,) = left.json()["trades"]
    assert (held["status"], held["exit_price"], held["mae"]) == ("open", None, pytest.approx(-0.05))
    found = summary.json()
    assert found["pnl"] + found["unrealised_pnl"] == pytest.approx(performance["equity"] - 10_000.0, rel=1e-9)
    assert (found["trades"], found["open"]) == (performance["closed_trades"], 1)
    assert (found["win_rate"], found["profit_factor"]) == (
        performance["win_rate"],
        pytest.approx(performance["profit_factor"]),
    )
    assert other.status_code == 422
    assert [answer.status_code for answer in nobody] == [404, 404]
    for path, answer in (("/v1/trades", pages[0]), ("/v1/trades", left), ("/v1/trades/summary", summary)):
        schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        Draft202012Validator(schema | {"components": document["components"]}).validate(answer.json())


async def test_a_service_without_an_agent_says_why(tmp_path: Path) -> None:
    async with running(tmp_path, enhanced="") as (http, _):
        status = await http.get("/agent")
        assert (status.status_code, status.json()["on"]) == (200, False)
        similar = "/memory/similar?signal_id=a"
        for path in (
            "/memory/accuracy", "/memory/patterns", similar, "/memory/outcomes", "/performance/compare"
        ):  # fmt: skip
            assert (await http.get(path)).status_code == 404
        for path, body in (("/memory/similar", {"text": "fear"}), ("/memory/rebuild", None)):
            answer = await http.post(path, json=body)
            assert answer.status_code == 404
            assert "this service has no agent" in answer.json()["detail"]
        assert (await http.get("/feed")).json() == {"feeds": []}


async def test_the_docs_show_every_operation_and_need_nothing_from_elsewhere(tmp_path: Path) -> None:
    async with running(tmp_path) as (http, _):
        page, document = (await http.get("/docs")).text, (await http.get("/openapi.json")).json()
    _, _, shown = page.partition('<script id="openapi" type="application/json">')
    assert json.loads(shown.partition("</script>")[0]) == document
    assert "http://" not in page
    assert "https://" not in page


async def test_a_bracket_closes_over_http_and_says_so(tmp_path: Path) -> None:
    price = {"timestamp": "2025-02-24T00:10:00Z", "price": 97.0, "low": 94.0, "price_only": True}
    async with running(tmp_path) as (http, _):
        opened = await http.post(
            "/signal", json=SIGNAL | {"stop_loss": 95, "size": 0.5, "expires": "2025-03-01"}
        )
        closed = await http.post("/signal", json=price)
        again = await http.post("/signal", json=price)
        wrong = await http.post(
            "/signal", json=SIGNAL | {"timestamp": "2025-02-24T00:20:00Z", "stop_loss": 101}
        )
        history = (await http.get("/history")).json()["rows"]
        made = await http.put("/portfolios/stopped", json={"stop_bps": 150, "min_confidence": 0.6})
        document = (await http.get("/openapi.json")).json()
    assert "closed" not in opened.json()
    receipt = closed.json()
    assert receipt["closed"] == {"by": "stop", "price": 95.0, "reason": "the price met its stop"}
    assert (receipt["outcome"], receipt["fill"]["decided_by"], receipt["fill"]["side"]) == (
        "hold",
        "bracket",
        "SELL",
    )
    assert again.json() == receipt | {"replayed": True}
    assert (wrong.status_code, wrong.json()["expected"]) == (422, "a price below 100.0, that of this BUY")
    assert (history[0]["stop_loss"], history[0]["expires"]) == (95.0, "2025-03-01T00:00:00Z")
    assert (history[1]["closed_by"], history[1]["exit_price"]) == ("STOP", 95.0)
    assert "closed_by" not in history[0]
    assert made.json()["policy"]["stop_bps"] == 150.0
    described = document["paths"]["/signal"]["post"]["responses"]["200"]["content"]["application/json"][
        "schema"
    ]
    Draft202012Validator(described | {"components": document["components"]}).validate(receipt)
