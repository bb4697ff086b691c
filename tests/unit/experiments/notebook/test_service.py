"""The clients of a notebook, against a service of the test's own behind a mock transport."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import httpx
import numpy as np
import pandas as pd
import pytest

import raysignal
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.portfolio.account import new_account
from raysignal.engine.portfolio.performance import performance_dicts
from raysignal.experiments.notebook import service
from raysignal.runtime.service_client import ServiceError


class Answers:
    """A service that notes what it was asked and answers as told."""

    def __init__(self, **answers) -> None:
        self.answers, self.asked = answers, []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/healthz":
            return httpx.Response(200, json={"status": "ok"})
        self.asked.append(request)
        answer = self.answers[request.url.path.strip("/").partition("/")[0]]
        return answer.pop(0) if isinstance(answer, list) else answer

    def client(self, key=None) -> raysignal.Client:
        return raysignal.Client("http://x:1", key, transport=httpx.MockTransport(self))


def ok(**body) -> httpx.Response:
    return httpx.Response(200, json=body)


def busy() -> httpx.Response:
    body = {"type": "urn:raysignal:problem:store-unavailable", "detail": "the store does not answer"}
    return httpx.Response(503, json=body, headers={"content-type": "application/problem+json"})


def rows(n: int) -> pd.DataFrame:
    days = pd.date_range("2024-01-01", periods=n)
    return pd.DataFrame({"timestamp": days, "signal": np.resize([1, -1], n), "price": 100.0})


def standing(name: str) -> dict:
    (performance,) = performance_dicts(new_account(10_000.0).reshape(1, -1))
    return {"portfolio": name, "as_of": "2024-01-01T00:00:00Z", "performance": performance}


def test_a_signal_is_sent_again_with_the_same_bytes_and_key():
    answers = Answers(signal=[busy(), ok(signal_id="a")])
    with answers.client("secret") as client:
        receipt = client.send({"price": 1}, "p", idempotency_key="k-1", accept_price_jump=True)
        assert "secret" not in repr(client)
    assert receipt == {"signal_id": "a"}
    first, second = answers.asked
    assert first.content == second.content == b'{"price":1}'
    for request in (first, second):
        assert request.headers["idempotency-key"] == "k-1"
        assert request.headers["authorization"] == "Bearer secret"
        assert dict(request.url.params) == {"portfolio": "p", "accept_price_jump": "true"}


def test_signals_are_sent_in_batches_and_the_first_refusal_ends_that(monkeypatch):
    monkeypatch.setattr(service, "BATCH_ROWS", 2)
    taken = {"accepted": 2, "replayed": 0, "refused": 0, "errors": []}
    refused = {"row": 0, "field": "price", "value": 1, "expected": "more", "type": "x", "detail": "y"}
    answers = Answers(
        performance=ok(portfolio="main"),
        signals=[ok(**taken), ok(accepted=0, replayed=1, refused=1, errors=[refused]), ok(**taken)],
    )
    with answers.client() as client:
        sent = client.send_all(rows(6))
    assert (sent["accepted"], sent["replayed"], sent["refused"], sent["unsent"]) == (2, 1, 1, 2)
    assert not sent["complete"]
    assert sent["errors"][0]["row"] == 2
    assert [request.url.params["portfolio"] for request in answers.asked[1:]] == ["main", "main"]


def test_what_cannot_be_read_is_refused_before_anything_is_sent():
    answers = Answers()
    with answers.client() as client, pytest.raises(InvalidField, match="price"):
        client.send_all(rows(2).drop(columns="price"), "p")
    assert not answers.asked


def test_performance_is_a_row_a_portfolio():
    answers = Answers(
        portfolios=ok(portfolios=[standing("a"), standing("b")]), performance=ok(**standing("b"))
    )
    with answers.client() as client:
        both, one = client.performance(), client.performance("b")
    assert both.index.tolist() == ["a", "b"]
    assert one.loc["b", "equity"] == one.loc["b", "initial_cash"] == 10_000.0
    assert one.loc["b", "as_of"] == pd.Timestamp("2024-01-01", tz="UTC")
    assert "buy_and_hold_sharpe" in one


def test_history_is_all_pages_as_one_frame():
    page = [{"ordinal": place, "timestamp": f"2024-01-0{place + 1}T00:00:00Z"} for place in range(3)]
    answers = Answers(
        history=[ok(rows=page[:2], cursor="c-1"), ok(rows=[{**page[2], "rsi": 5.0}], cursor=None)]
    )
    with answers.client() as client:
        found = client.history("p", symbol="BTC", start="2024-01-01")
    assert found["ordinal"].tolist() == [0, 1, 2]
    assert found["timestamp"].iloc[-1] == pd.Timestamp("2024-01-03", tz="UTC")
    assert found["rsi"].isna().tolist() == [True, True, False]
    asked = [dict(request.url.params) for request in answers.asked]
    assert asked[0] == {"portfolio": "p", "symbol": "BTC", "from": "2024-01-01", "limit": "10000"}
    assert asked[1] == asked[0] | {"cursor": "c-1"}


def test_a_portfolio_without_rows_has_an_empty_history():
    with Answers(history=ok(rows=[], cursor=None)).client() as client:
        found = client.history()
    assert found.empty
    assert found["equity"].tolist() == found["timestamp"].tolist() == []


def test_a_portfolio_is_made_with_its_policy():
    answers = Answers(portfolios=[ok(portfolios=[]), ok(**standing("p"))])
    with answers.client() as client:
        assert client.create("p", {"fee_bps": 3})["portfolio"] == "p"
    assert json.loads(answers.asked[-1].content)["fee_bps"] == 3.0


def test_nobody_there_is_an_error_and_leaves_no_thread_behind():
    def dead(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(ServiceError, match="no service answers"):
        raysignal.Client("http://x:1", transport=httpx.MockTransport(dead))


def test_a_closed_client_says_so_and_can_be_closed_again():
    client = Answers(history=ok(rows=[], cursor=None)).client()
    client.close()
    client.close()
    with pytest.raises(InvalidField, match=r"client is 'closed'.*make another with Client\(url\)"):
        client.history()


async def test_the_client_with_await_does_the_same_and_the_one_without_works_beside_a_loop():
    answers = Answers(history=ok(rows=[], cursor=None), signal=ok(signal_id="a"))
    transport = httpx.MockTransport(answers)
    async with raysignal.AsyncClient("http://x:1", key="k", transport=transport) as client:
        assert (await client.history("p")).empty
        assert (await client.send({"price": 1})) == {"signal_id": "a"}
    with pytest.raises(InvalidField, match="async with"):
        await client.history()
    with answers.client() as plain:
        assert plain.history().empty


def test_a_row_of_a_frame_is_a_signal_and_what_is_missing_is_left_out():
    given = {
        "timestamp": pd.Timestamp("2024-01-01T10:00", tz="America/New_York"), "signal": np.int64(1),
        "price": np.float32(0.1), "rsi": np.nan, "gap": pd.NA, "since": pd.NaT, "up": np.bool_(True),
        "seen": datetime(2024, 1, 1, tzinfo=UTC), "day": np.datetime64("2024-01-01"), "volume": Decimal("1.5"),
    }  # fmt: skip
    answers = Answers(signal=ok(signal_id="a"))
    with answers.client() as client:
        client.send(given)
        client.send(pd.Series(given))
    bodies = [json.loads(request.content) for request in answers.asked]
    assert bodies[0] == {
        "timestamp": "2024-01-01T10:00:00-05:00", "signal": 1, "price": float(np.float32(0.1)), "up": True,
        "seen": "2024-01-01T00:00:00+00:00", "day": "2024-01-01", "volume": 1.5,
    }  # fmt: skip
    assert bodies[1] == bodies[0]


@pytest.mark.parametrize(
    ("signal", "key", "said"),
    [
        ({"price": float("inf")}, None, "price is inf; expected a finite number"),
        ({"price": object()}, None, "price is .*; expected a number, a text"),
        ([1, 2], None, "signal is .*; expected a dict"),
        ({"price": 1}, "schlüssel", "idempotency_key is 'schlüssel'; expected a text of ASCII"),
        ({"price": 1}, 5, "idempotency_key is 5; expected a text"),
    ],
)
def test_a_signal_that_cannot_be_sent_is_refused_before(signal, key, said):
    answers = Answers()
    with answers.client() as client, pytest.raises(InvalidField, match=said):
        client.send(signal, idempotency_key=key)
    assert not answers.asked
