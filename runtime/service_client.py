"""A running service over HTTP: one connection kept alive, requests repeated while it restarts.

Repeating is safe: the same signal sent again is answered with its first receipt and counts once.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

import httpx

from raysignal.engine.core import errors
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import (
    Conflict,
    InputError,
    InputTooLarge,
    InvalidField,
    NotFound,
    RaysignalError,
    StoreUnavailable,
)
from raysignal.engine.core.hosts import reachable
from raysignal.engine.core.policy import Policy
from raysignal.runtime.portfolio_gateway import SendResult, placed
from raysignal.runtime.settings import Settings
from raysignal.runtime.signal_bodies import PARQUET, batch_parquet, signal_json

_PATIENCE_S = 30.0
_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 1.6  # between tries, twice as long each time
_GATEWAYS = frozenset({502, 503, 504})
"""What a proxy answers in the place of a service that it does not reach."""
_TIMEOUT = httpx.Timeout(60.0, connect=5.0)
_PROBLEM = "urn:raysignal:problem:"
_KINDS: dict[str, type[RaysignalError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, RaysignalError)
}


class ServiceError(RaysignalError):
    """The service does not answer, or not as a raysignal service does."""


@dataclass(frozen=True, slots=True)
class ServiceClient:
    """The way to the portfolios through HTTP.

    Attributes:
        url: of the service.
        http: with the base URL and the credentials.
        clock: seconds, monotonic.
        sleep: waits that many seconds.
    """

    url: str
    http: httpx.AsyncClient
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[Any]]

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        api_key: str | None,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[Any]],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> AsyncIterator[Self]:
        """A client of the service at `url`, which is asked at once whether it is there.

        Raises:
            ServiceError: nobody answers there.
        """
        base = url if "://" in url else f"http://{url}"
        headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
        try:
            scheme = httpx.URL(base).scheme
        except httpx.InvalidURL as error:
            raise ServiceError(_no_address(url)) from error
        if scheme not in {"http", "https"}:
            raise ServiceError(_no_address(url))
        async with httpx.AsyncClient(
            base_url=base, headers=headers, timeout=_TIMEOUT, transport=transport, trust_env=False
        ) as http:
            client = cls(base, http, clock, sleep)
            await client._greet()
            yield client

    async def _greet(self) -> None:
        try:
            answer = await self.http.get("/healthz")
        except httpx.TransportError as error:
            raise ServiceError(
                f"no service answers at {self.url} ({_said(error)}); start one with `raysignal serve`, or say "
                "where it is: --url URL, in Python Client(URL)"
            ) from error
        if answer.status_code != httpx.codes.OK or not _is_json(answer):
            raise ServiceError(
                f"what answers at {self.url} is no raysignal service (GET /healthz: {answer.status_code})"
            )

    async def get(self, path: str, **params: Any) -> dict[str, Any]:
        """The JSON that a path answers with."""
        return await self._ask("GET", path, params=_given(params))

    async def post(self, path: str, body: Any = None, **params: Any) -> dict[str, Any]:
        """The JSON that a path answers to a JSON body, or to none."""
        return await self._ask(
            "POST", path, params=_given(params), **({} if body is None else {"json": body})
        )

    async def post_signal(
        self, signal: Mapping[str, Any], *, idempotency_key: str | None, **params: Any
    ) -> dict[str, Any]:
        """The receipt of one signal; the key, if there is one, goes with it each time that it is sent."""
        headers = {}
        if idempotency_key is not None:
            if not (
                isinstance(idempotency_key, str)
                and idempotency_key.isascii()
                and idempotency_key.isprintable()
            ):
                raise InvalidField(
                    "idempotency_key", idempotency_key, "a text of ASCII characters that can be printed"
                )
            headers["idempotency-key"] = idempotency_key
        return await self._ask("POST", "/signal", json=dict(signal), headers=headers, params=_given(params))

    async def parquet(self, path: str, **params: Any) -> bytes:
        """The Parquet file that a path answers with."""
        answer = await self._answer("GET", path, lambda kind: kind == PARQUET, params=_given(params))
        return answer.content

    async def standing(self, portfolio: str | None) -> dict[str, Any]:
        """See `PortfolioGateway.standing`."""
        return await self.get(
            "/performance" if portfolio is None else f"/performance/{quote(portfolio, safe='')}"
        )

    async def trade_summary(self, portfolio: str) -> dict[str, Any]:
        """See `PortfolioGateway.trade_summary`."""
        return await self.get("/v1/trades/summary", portfolio=portfolio)

    async def ensure(self, portfolio: str, policy: Policy | None) -> tuple[dict[str, Any], bool]:
        """See `PortfolioGateway.ensure`."""
        if policy is None:
            try:
                return await self.standing(portfolio), False
            except NotFound:
                policy = Policy()
        known = {each["portfolio"] for each in (await self.get("/portfolios"))["portfolios"]}
        path = f"/portfolios/{quote(portfolio, safe='')}"
        return await self._ask("PUT", path, json=policy.as_dict()), portfolio not in known

    async def rename_symbol(self, portfolio: str, old: str, new: str) -> bool:
        """Let an open position go on under another name of its symbol; whether there was one to rename."""
        path = f"/portfolios/{quote(portfolio, safe='')}/symbols"
        answer = await self._ask("POST", path, json={"formerly": old, "symbol": new})
        return bool(answer["renamed"])

    async def send_one(
        self, portfolio: str, batch: SignalBatch, index: int, *, accept_price_jump: bool
    ) -> SendResult:
        """See `PortfolioGateway.send_one`."""
        try:
            receipt = await self._ask(
                "POST", "/signal", content=signal_json(batch, index),
                headers={"content-type": "application/json"}, params=_params(portfolio, accept_price_jump),
            )  # fmt: skip
        except (InputError, Conflict) as error:
            entry = errors.error_entry(error)
            return SendResult(refused=1, errors=[placed(entry, int(batch.row[index]))])
        return SendResult(accepted=int(not receipt["replayed"]), replayed=int(receipt["replayed"]))

    async def send_batch(
        self, portfolio: str, batch: SignalBatch, *, skip: bool, accept_price_jump: bool
    ) -> SendResult:
        """See `PortfolioGateway.send_batch`."""
        params = _params(portfolio, accept_price_jump) | {"on_error": "skip" if skip else "refuse"}
        try:
            answer = await self._ask(
                "POST",
                "/signals",
                content=batch_parquet(batch),
                headers={"content-type": PARQUET},
                params=params,
            )
        except InputTooLarge:  # about the request, and not about its rows
            raise
        except (InputError, Conflict) as error:
            entries = error.fields.get("errors") or [errors.error_entry(error)]
            return SendResult(refused=error.fields.get("refused") or 1, errors=_in_file(entries, batch))
        return SendResult(
            answer["accepted"], answer["replayed"], answer["refused"], _in_file(answer["errors"], batch)
        )

    async def _ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        value: dict[str, Any] = (await self._answer(method, path, _names_json, **request)).json()
        return value

    async def _answer(
        self, method: str, path: str, expected: Callable[[str], bool], **request: Any
    ) -> httpx.Response:
        """Send until there is an answer that is not 'later', for as long as patience lasts."""
        began, pause_s = self.clock(), _PAUSE_S
        while True:
            failure: RaysignalError
            try:
                answer = await self.http.request(method, path, **request)
            except httpx.TransportError as error:
                failure = ServiceError(f"the service at {self.url} does not answer ({_said(error)})")
            else:
                if answer.is_success and expected(_kind(answer)):
                    return answer
                failure = _error_of(answer)
                by_proxy = answer.status_code in _GATEWAYS and _kind(answer) != "application/problem+json"
                if not (by_proxy or isinstance(failure, StoreUnavailable | errors.Fenced)):
                    raise failure
            if self.clock() - began > _PATIENCE_S:
                raise failure
            await self.sleep(pause_s)
            pause_s = min(2.0 * pause_s, _LONGEST_PAUSE_S)


@asynccontextmanager
async def service_at(url: str | None, settings: Settings) -> AsyncIterator[ServiceClient]:
    """The service at an address, or the one that these settings would start on this machine."""
    key = settings.http.api_key.get_secret_value() if settings.http.api_key else None
    address = url or f"http://{reachable(settings.http.host)}:{settings.http.port}"
    async with ServiceClient.open(address, api_key=key, clock=time.monotonic, sleep=asyncio.sleep) as client:
        yield client


def _params(portfolio: str, accept_price_jump: bool) -> dict[str, str]:
    return {"portfolio": portfolio} | ({"accept_price_jump": "true"} if accept_price_jump else {})


def _in_file(entries: list[dict[str, Any]], batch: SignalBatch) -> list[dict[str, Any]]:
    return [
        entry if entry.get("row") is None else placed(entry, int(batch.row[entry["row"]]))
        for entry in entries
    ]


def _given(params: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}


def _kind(answer: httpx.Response) -> str:
    kind: str = answer.headers.get("content-type", "")
    return kind.partition(";")[0].strip()


def _names_json(kind: str) -> bool:
    return kind.endswith("json")


def _is_json(answer: httpx.Response) -> bool:
    return _names_json(_kind(answer))


def _error_of(answer: httpx.Response) -> RaysignalError:
    """The error that a problem+json tells of, as the class that it was at the service."""
    if not _is_json(answer):
        said = answer.headers.get("content-type", "no content type")
        return ServiceError(
            f"{answer.request.url} answers {answer.status_code} with {said}; is it a raysignal service?"
        )
    problem = answer.json()
    if not isinstance(problem, dict):
        problem = {}
    name = str(problem.get("type", "")).removeprefix(_PROBLEM).replace("-", " ").title().replace(" ", "")
    kind = _KINDS.get(name, ServiceError)
    error = kind.__new__(kind)
    Exception.__init__(error, problem.get("detail", f"status {answer.status_code}"))
    error.fields = {
        key: value for key, value in problem.items() if key not in {"type", "title", "status", "detail"}
    }
    return error


def _no_address(url: str) -> str:
    return f"{url} is no address of a service; expected such as http://127.0.0.1:8000"


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
