"""The HTTP client of the command line, against a service of the test's own behind a mock transport."""

import asyncio
import json
from dataclasses import replace

import httpx
import numpy as np
import pytest

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import (
    ChromaUnavailable,
    LateSignal,
    NotFound,
    RowErrors,
    StoreUnavailable,
    Unauthorized,
)
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Action, Signal
from raysignal.runtime.service_client import ServiceClient, ServiceError
from raysignal.runtime.signal_bodies import PARQUET
from raysignal.serve.problems import problem_of


def answering(handler, *, key=None, pauses=None):
    """Drive a coroutine function with a client whose requests `handler` answers; pauses pass at once."""
    pauses = [] if pauses is None else pauses

    async def sleep(seconds):
        pauses.append(seconds)

    async def drive(work):
        transport = httpx.MockTransport(
            lambda request: ok() if request.url.path == "/healthz" else handler(request)
        )
        clock = lambda: float(sum(pauses))  # noqa: E731 - one line of a fake
        async with ServiceClient.open(
            "http://x:1", api_key=key, clock=clock, sleep=sleep, transport=transport
        ) as client:
            return await work(client)

    return lambda work: asyncio.run(drive(work))


def ok(**body):
    return httpx.Response(200, json=body)


def refusing(error):
    problem = problem_of(error)
    return httpx.Response(
        problem.status, json=problem.body, headers={"content-type": "application/problem+json"}
    )


def batch_of(*rows):
    signals = [Signal("BTC", row * 1_000_000, Action.BUY, 100.0 + row) for row in rows]
    return replace(SignalBatch.of_signals(signals), row=np.array(rows))


def test_an_error_of_the_service_is_raised_as_what_it_was_there():
    ask = answering(lambda _: refusing(NotFound("there is no portfolio 'x'", field="portfolio", value="x")))
    with pytest.raises(NotFound, match="there is no portfolio 'x'") as raised:
        ask(lambda client: client.standing("x"))
    assert raised.value.fields["value"] == "x"


def test_the_key_travels_and_a_wrong_one_is_said():
    def handler(request):
        assert request.headers["authorization"] == "Bearer secret"
        return refusing(Unauthorized("the bearer token is not the one of this service"))

    with pytest.raises(Unauthorized, match="bearer token"):
        answering(handler, key="secret")(lambda client: client.standing(None))


def test_later_is_asked_again_until_there_is_an_answer():
    left, pauses = [refusing(StoreUnavailable("not now"))] * 3, []
    ask = answering(lambda _: left.pop() if left else ok(portfolio="baseline"), pauses=pauses)
    assert ask(lambda client: client.standing(None)) == {"portfolio": "baseline"}
    assert len(pauses) == 3


@pytest.mark.parametrize("status", [502, 503, 504])
@pytest.mark.parametrize(
    ("content", "kind"), [(b"<html>Bad gateway</html>", "text/html"), (b"[]", "application/json"), (b"", "")]
)
def test_what_a_proxy_answers_in_place_of_the_service_is_asked_again_with_the_same_bytes(
    status, content, kind
):
    bodies, pauses = [], []

    def handler(request):
        bodies.append((request.content, request.headers["idempotency-key"]))
        if len(bodies) < 4:
            return httpx.Response(status, content=content, headers={"content-type": kind})
        return ok(signal_id="a")

    ask = answering(handler, pauses=pauses)
    signal = {"timestamp": "2025-01-01", "signal": 1, "price": 1.0}
    assert ask(lambda client: client.post_signal(signal, idempotency_key="a")) == {"signal_id": "a"}
    assert len(set(bodies)) == 1
    assert pauses == [0.2, 0.4, 0.8]


@pytest.mark.parametrize("status", [500, 501, 404])
def test_other_answers_without_a_problem_are_said_at_once(status):
    pauses = []
    ask = answering(lambda _: httpx.Response(status, text="no"), pauses=pauses)
    with pytest.raises(ServiceError, match=f"answers {status} with text/plain"):
        ask(lambda client: client.standing(None))
    assert pauses == []


def test_a_proxy_that_never_reaches_the_service_is_said_in_the_end():
    ask = answering(lambda _: httpx.Response(502, text="no"), pauses=(pauses := []))
    with pytest.raises(ServiceError, match="answers 502 with text/plain"):
        ask(lambda client: client.standing(None))
    assert sum(pauses) > 30.0


def test_chroma_that_cannot_be_asked_is_said_at_once():
    pauses = []
    ask = answering(lambda _: refusing(ChromaUnavailable("Chroma is gone", retry_after_s=3)), pauses=pauses)
    with pytest.raises(ChromaUnavailable, match="Chroma is gone"):
        ask(lambda client: client.get("/memory/similar", signal_id="a"))
    assert pauses == []


def test_parquet_is_fetched_as_it_is_and_anything_else_is_no_answer():
    def handler(request):
        assert dict(request.url.params) == {"first": "0"}
        return httpx.Response(200, content=b"PAR1", headers={"content-type": PARQUET})

    assert (
        answering(handler)(lambda client: client.parquet("/memory/outcomes", first=0, limit=None)) == b"PAR1"
    )
    with pytest.raises(ServiceError):
        answering(lambda _: ok())(lambda client: client.parquet("/memory/outcomes"))


def test_patience_ends():
    def handler(request):
        raise httpx.ConnectError("connection refused", request=request)

    pauses = []
    with pytest.raises(ServiceError, match="does not answer"):
        answering(handler, pauses=pauses)(lambda client: client.standing(None))
    assert pauses[:5] == [0.2, 0.4, 0.8, 1.6, 1.6]
    assert 30.0 < sum(pauses) < 32.0


def test_nobody_there_is_said_at_once_with_what_to_do():
    def refuse(request):
        raise httpx.ConnectError("connection refused", request=request)

    async def drive():
        transport = httpx.MockTransport(refuse)
        async with ServiceClient.open(
            "x:1", api_key=None, clock=float, sleep=asyncio.sleep, transport=transport
        ):
            pass

    with pytest.raises(ServiceError, match=r"no service answers at http://x:1 .*raysignal serve"):
        asyncio.run(drive())


def test_something_else_that_answers_there_is_no_service():
    async def drive():
        transport = httpx.MockTransport(
            lambda _: httpx.Response(200, text="<html>", headers={"content-type": "text/html"})
        )
        async with ServiceClient.open(
            "http://x:1", api_key=None, clock=float, sleep=asyncio.sleep, transport=transport
        ):
            pass

    with pytest.raises(ServiceError, match="is no raysignal service"):
        asyncio.run(drive())


def test_refused_rows_of_a_batch_are_named_by_their_place_in_the_file():
    late = LateSignal("BTC", "2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z", 1)
    ask = answering(lambda _: refusing(RowErrors([late], 3, 1)))
    sent = ask(
        lambda client: client.send_batch("p", batch_of(7, 42, 99), skip=False, accept_price_jump=False)
    )
    assert (sent.accepted, sent.refused) == (0, 1)
    assert sent.errors[0]["row"] == 42
    assert sent.errors[0]["detail"].startswith("row 42: timestamp 2025-01-01T00:00:00Z")


def test_what_a_batch_came_to_is_what_the_service_says():
    answer = ok(accepted=2, replayed=1, refused=0, errors=[])
    sent = answering(lambda _: answer)(
        lambda client: client.send_batch("p", batch_of(1, 2, 3), skip=True, accept_price_jump=True)
    )
    assert (sent.accepted, sent.replayed, sent.refused) == (2, 1, 0)


def test_a_single_signal_is_refused_with_its_place_in_the_file():
    late = LateSignal("BTC", "2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z")
    sent = answering(lambda _: refusing(late))(
        lambda client: client.send_one("p", batch_of(7, 42), 1, accept_price_jump=False)
    )
    assert (sent.refused, sent.errors[0]["row"], sent.errors[0]["type"]) == (1, 42, "LateSignal")


def test_a_portfolio_is_created_where_there_is_none():
    created = []

    def handler(request):
        if request.method == "PUT":
            created.append(json.loads(request.content))
            return httpx.Response(201, json={"portfolio": "swing"})
        if request.url.path == "/portfolios":
            return ok(portfolios=[{"portfolio": "baseline"}])
        return refusing(NotFound("there is none"))

    assert answering(handler)(lambda client: client.ensure("swing", None)) == ({"portfolio": "swing"}, True)
    assert created == [Policy().as_dict()]


def test_a_portfolio_that_is_there_keeps_its_policy_when_none_is_said():
    def handler(request):
        assert request.method == "GET"
        return ok(portfolio="swing")

    assert answering(handler)(lambda client: client.ensure("swing", None)) == ({"portfolio": "swing"}, False)


@pytest.mark.parametrize("url", ["nonsense://x", "http://x:port", "ftp://x"])
def test_what_is_no_address_is_said_so(url):
    async def drive():
        async with ServiceClient.open(url, api_key=None, clock=float, sleep=asyncio.sleep):
            pass

    with pytest.raises(ServiceError, match="is no address of a service"):
        asyncio.run(drive())
