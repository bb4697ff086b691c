"""A running service from Python: `Client`, and `AsyncClient` with `await`. What is sent twice counts once.

Requests are repeated while the service restarts, each with the same bytes and the same `Idempotency-Key`.
"""

import asyncio
import math
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import date
from decimal import Decimal
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

import httpx
import numpy as np
import pyarrow as pa
from anyio.from_thread import start_blocking_portal

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.policy import Policy
from raysignal.engine.history.schema import FIXED
from raysignal.experiments.notebook.frames import Signals
from raysignal.experiments.notebook.replays import policy_of
from raysignal.runtime.portfolio_gateway import SendResult
from raysignal.runtime.replay import ReplayCounts
from raysignal.runtime.service_client import ServiceClient

if TYPE_CHECKING:
    import pandas as pd

BATCH_ROWS = 50_000
_PAGE = 10_000
_Answer = TypeVar("_Answer")
_Given = ParamSpec("_Given")


class AsyncClient:
    """A service over HTTP, inside `async with`; `Client` is the same without `await`.

    Args:
        url: of the service, such as `http://127.0.0.1:8000`.
        key: its API key, where it asks for one.
        transport: of another kind than HTTP, for tests.
    """

    def __init__(
        self, url: str, key: str | None = None, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.url = url
        self._key, self._transport = key, transport
        self._stack = AsyncExitStack()
        self._service: ServiceClient | None = None

    async def __aenter__(self) -> Self:
        """Ask whether the service is there; `ServiceError` if not."""
        opened = ServiceClient.open(
            self.url, api_key=self._key, clock=time.monotonic, sleep=asyncio.sleep, transport=self._transport
        )
        self._service = await self._stack.enter_async_context(opened)
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close the connections."""
        self._service = None
        await self._stack.aclose()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.url}>"

    async def create(
        self, portfolio: str, policy: Policy | Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The portfolio as it stands, made where there was none; `Conflict` where it has another policy."""
        standing, _ = await self._open.ensure(portfolio, None if policy is None else policy_of(policy))
        return standing

    async def send(
        self,
        signal: Mapping[str, Any],
        portfolio: str | None = None,
        *,
        idempotency_key: str | None = None,
        accept_price_jump: bool = False,
    ) -> dict[str, Any]:
        """Post one signal; its receipt. The same again gets the same receipt, marked as replayed.

        Args:
            signal: timestamp, signal, price, and what comes with them, such as a row of a frame; missing values are
                left out.
            portfolio: into which; None: the primary one.
            idempotency_key: its identity, where it has no `signal_id`; None: source, symbol, timestamp and action.
            accept_price_jump: believe its price however far it is from the last one.
        """
        return await self._open.post_signal(
            _plain_signal(signal),
            idempotency_key=idempotency_key,
            portfolio=portfolio,
            accept_price_jump="true" if accept_price_jump else None,
        )

    async def send_all(
        self,
        /,
        signals: Any,
        portfolio: str | None = None,
        *,
        skip: bool = False,
        accept_price_jump: bool = False,
        **reading: Any,
    ) -> dict[str, Any]:
        """Post signals in batches; how many rows were accepted, replayed and refused, and the first errors.

        Args:
            signals: what `read` takes or gives.
            portfolio: into which; None: the primary one.
            skip: leave rows out that are refused; else the first refusal ends the sending, and what was taken in stays.
            accept_price_jump: believe prices however far they are from the last one.
            reading: options of `read`.
        """
        if accept_price_jump and not isinstance(signals, Signals):
            reading["accept_price_jump"] = True
        batch = Signals.of(signals, **reading).batch
        name = portfolio or (await self._open.standing(None))["portfolio"]
        counts, began = ReplayCounts(len(batch)), time.monotonic()
        for start in range(0, len(batch), BATCH_ROWS):
            part = batch.take(np.arange(start, min(start + BATCH_ROWS, len(batch))))
            sent: SendResult = await self._open.send_batch(
                name, part, skip=skip, accept_price_jump=accept_price_jump
            )
            counts.add(sent)
            if sent.refused and not skip:
                counts.complete = False
                break
        counts.seconds = time.monotonic() - began
        return counts.as_dict()

    async def performance(self, portfolio: str | None = None) -> "pd.DataFrame":
        """A row a portfolio, by name: its figures, those of buy-and-hold with `buy_and_hold_` before; None: all."""
        if portfolio is None:
            standings = (await self._open.get("/portfolios"))["portfolios"]
        else:
            standings = [await self._open.standing(portfolio)]
        return performance_frame(standings)

    async def history(
        self,
        portfolio: str | None = None,
        *,
        symbol: str | None = None,
        action: str | None = None,
        start: str | None = None,
        end: str | None = None,
    ) -> "pd.DataFrame":
        """Processed signals, oldest first: a row each, all pages.

        Args:
            portfolio: of which; None: the primary one.
            symbol: this one alone.
            action: BUY, HOLD, SELL or CLOSE alone.
            start: the first instant, such as `2024-01-01`.
            end: the first that is left out.
        """
        asked = {"portfolio": portfolio, "symbol": symbol, "action": action, "from": start, "to": end}
        rows: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = await self._open.get("/history", **asked, limit=_PAGE, cursor=cursor)
            rows += page["rows"]
            cursor = page["cursor"]
            if cursor is None:
                return history_frame(rows)

    @property
    def _open(self) -> ServiceClient:
        if self._service is None:
            raise InvalidField(
                "client", "not open", "to be used inside `async with AsyncClient(url) as client:`"
            )
        return self._service


def _blocking(
    method: Callable[Concatenate[AsyncClient, _Given], Awaitable[_Answer]],
) -> Callable[Concatenate["Client", _Given], _Answer]:
    """A method of `AsyncClient` as one of `Client`: with the same parameters, and it waits for the answer."""

    @wraps(method)
    def waiting(self: "Client", /, *args: _Given.args, **kwargs: _Given.kwargs) -> _Answer:
        return self._call(lambda client: method(client, *args, **kwargs))

    return waiting


class Client:
    """A service over HTTP; works where an event loop runs already, as in a notebook. Close it, or use `with`.

    Args:
        url: of the service, such as `http://127.0.0.1:8000`.
        key: its API key, where it asks for one.
        transport: of another kind than HTTP, for tests.

    Raises:
        ServiceError: nobody answers there.
    """

    def __init__(
        self, url: str, key: str | None = None, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.url = url
        self._client = AsyncClient(url, key, transport=transport)
        self._thread = start_blocking_portal()
        self._portal = self._thread.__enter__()
        self._context = self._portal.wrap_async_context_manager(self._client)
        try:
            self._context.__enter__()
        except BaseException:
            self._thread.__exit__(None, None, None)
            raise
        self._closed = False

    def close(self) -> None:
        """Close the connections, and end the thread that waits for them; again changes nothing."""
        if not self._closed:
            self._closed = True
            self._context.__exit__(None, None, None)
            self._thread.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.url}>"

    def _call(self, work: Callable[[AsyncClient], Awaitable[_Answer]]) -> _Answer:
        if self._closed:
            raise InvalidField("client", "closed", "an open one: make another with Client(url)")
        return self._portal.call(work, self._client)

    create = _blocking(AsyncClient.create)
    send = _blocking(AsyncClient.send)
    send_all = _blocking(AsyncClient.send_all)
    performance = _blocking(AsyncClient.performance)
    history = _blocking(AsyncClient.history)


def _plain_signal(signal: Any) -> dict[str, Any]:
    """A signal, a mapping or a row of a pandas frame, in the values of JSON; what is missing is left out."""
    try:
        given = dict(signal)
    except (TypeError, ValueError):
        expected = 'a dict, such as {"timestamp": "2024-01-01", "signal": "BUY", "price": 100}'
        raise InvalidField("signal", signal, expected) from None
    plain = {str(name): _plain(str(name), value) for name, value in given.items()}
    return {name: value for name, value in plain.items() if value is not None}


def _plain(name: str, value: Any) -> Any:
    """A value of JSON; None for one that is missing."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and (value is pandas.NaT or value is pandas.NA):
        return None
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else str(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, date):  # also `datetime` and `pandas.Timestamp`
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            return None
        raise InvalidField(name, value, "a finite number")
    if isinstance(value, Mapping):
        return _plain_signal(value)
    if value is None or isinstance(value, str | int | float | list):
        return value
    raise InvalidField(name, value, "a number, a text, an instant, true, false or None")


def performance_frame(standings: list[dict[str, Any]]) -> "pd.DataFrame":
    """Bodies of `GET /performance/{portfolio}` as rows, by name."""
    rows = []
    for standing in standings:
        figures = dict(standing["performance"])
        held = figures.pop("buy_and_hold")
        rows.append(
            {"portfolio": standing["portfolio"], "as_of": standing["as_of"]}
            | figures
            | {f"buy_and_hold_{name}": value for name, value in held.items()}
        )
    return _instants(pa.Table.from_pylist(rows).to_pandas(), "as_of").set_index("portfolio")


def history_frame(rows: list[dict[str, Any]]) -> "pd.DataFrame":
    """Rows of `GET /history`; a feature that some rows have is missing in the others."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    # Without a row there are the columns that every row has, so that they can be asked for.
    columns = None if rows else [*FIXED.names[: FIXED.get_field_index("feature_numbers")], "features"]
    return _instants(pd.DataFrame(rows, columns=columns), "timestamp")


def _instants(frame: "pd.DataFrame", name: str) -> "pd.DataFrame":
    import pandas as pd  # noqa: PLC0415 - slow to import

    if name in frame:
        frame[name] = pd.to_datetime(frame[name], utc=True, format="ISO8601")
    return frame
