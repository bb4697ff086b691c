"""The broadcast of a service from Python: messages one after another, over a WebSocket that comes back and resumes.

    async for message in Stream("http://127.0.0.1:8000", types=["fill"]): ...
    for message in Stream("http://127.0.0.1:8000"): ...       # without an event loop, also in a notebook

A message is a dict. Those about rows come once each and in order, whatever happens in between; `position` and `epoch`
are what another `Stream` needs to go on behind the last one.
"""

import asyncio
import base64
import json
import random
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

from raysignal.engine.core.errors import InvalidField, shorten
from raysignal.runtime.service_client import ServiceError

_SILENT_S = 45.0
"""Without a heartbeat for so long, the connection is taken for broken."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
_PLACED = frozenset({"subscribed", "resumed", "too_old", "other_epoch"})
"""Types of messages that say behind which sequence it goes on."""
_FINAL = frozenset({4400, 4401, 4429})
"""Codes of a socket that was closed for what this client did."""
_REFUSED = frozenset({401, 403, 404, 422})
"""What is answered to a client that may not come in, or asks for what cannot be."""


class Stream:
    """Messages of a service, as they come.

    Args:
        url: of the service, such as `http://127.0.0.1:8000`.
        key: its API key, where it asks for one.
        types, symbols, portfolios: which messages; None: all.
        since: the last sequence that is known, 0 for all there ever were, or one a shard; None: from now on.
        epoch: of the store that `since` is of; None: of any.
        patience_s: how long a service that does not answer is tried.

    Attributes:
        position: the sequence up to which everything came, one a shard where there are several; None: not known yet.
        epoch: of the store.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        types: Sequence[str] | None = None,
        symbols: Sequence[str] | None = None,
        portfolios: Sequence[str] | None = None,
        since: int | Mapping[str, int] | None = None,
        epoch: str | None = None,
        patience_s: float = 60.0,
    ) -> None:
        self.position = since
        self.epoch = epoch
        self._key = key
        self._patience_s = patience_s
        self._address = _socket_address(url)
        self._names = {
            name: [given] if isinstance(given, str) else given
            for name, given in (("types", types), ("symbols", symbols), ("portfolios", portfolios))
        }

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        """The messages, without an end; raises `ServiceError` where the service does not answer, or not to this."""
        from websockets.asyncio.client import connect  # noqa: PLC0415 - whoever does not listen needs none of it
        from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI  # noqa: PLC0415

        alive_s, pause_s = time.monotonic(), _FIRST_PAUSE_S
        while True:
            try:
                async with connect(
                    f"{self._address}?{self._query()}", subprotocols=self._protocols(), compression=None,
                    max_size=None, open_timeout=self._patience_s, proxy=None,
                ) as socket:  # fmt: skip
                    while True:
                        frame = await asyncio.wait_for(socket.recv(), _SILENT_S)
                        alive_s, pause_s = time.monotonic(), _FIRST_PAUSE_S
                        for line in (frame if isinstance(frame, str) else "").split("\n"):
                            if (message := self._taken(self._read(line))) is not None:
                                yield message
                                alive_s = time.monotonic()  # what its reader took is not the service's
            except InvalidURI as error:  # of a redirect
                raise ServiceError(f"{self._address} leads elsewhere: {error}") from None
            except (ConnectionClosed, InvalidHandshake, OSError, TimeoutError) as error:
                if (refusal := _refusal(error)) is not None:
                    raise ServiceError(f"{self._address}: {refusal}") from None
                trouble = error
            if time.monotonic() - alive_s > self._patience_s:
                raise ServiceError(f"{self._address} does not answer for {self._patience_s:g} s: {trouble}")
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - many come back at once: not in step
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The same without `async`, on an event loop of its own."""
        from anyio.from_thread import start_blocking_portal  # noqa: PLC0415 - as above

        with start_blocking_portal() as portal:
            messages: Any = aiter(self)
            try:
                while True:
                    yield portal.call(anext, messages)
            finally:
                portal.call(messages.aclose)

    def _query(self) -> str:
        asked = {name: ",".join(given) for name, given in self._names.items() if given}
        if self.position is not None:
            asked["since"] = json.dumps(self.position)
        if self.epoch is not None:
            asked["epoch"] = self.epoch
        return urlencode(asked | {"lines": "true"})

    def _protocols(self) -> Any:
        if self._key is None:
            return None
        return [
            "raysignal",
            "raysignal.key." + base64.urlsafe_b64encode(self._key.encode()).decode().rstrip("="),
        ]

    def _read(self, line: str) -> dict[str, Any]:
        """The message of a line."""
        try:
            message = json.loads(line)
            about_row = "epoch" not in message
            numbers = [message["sequence"]] if about_row else [message["sequence"], message.get("since")]
            fits = (
                isinstance(message, dict) and isinstance(message["type"], str)
                and all(each is None or isinstance(each, int | dict) for each in numbers)
                and (not about_row or (isinstance(numbers[0], int) and isinstance(message["shard"], int | str)))
                and (message["type"] not in _PLACED or numbers[1] is not None)
            )  # fmt: skip
        except (ValueError, TypeError, KeyError, RecursionError):
            fits = False
        if not fits:
            raise ServiceError(
                f"{self._address} sends {shorten(line)}; expected messages of a stream: is it another program?"
            )
        return dict(message)

    def _taken(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """The message, unless it came before; `position` moves on."""
        sequence: Any = message.get("sequence")
        if "epoch" not in message:  # one that is resumed
            shard, known = str(message["shard"]), _by_shard(self.position)
            if self.position is not None:
                if sequence <= known.get(shard, 0):
                    return None
                self.position = _shown({**known, shard: sequence})
            return message
        self.epoch = message["epoch"] or self.epoch
        if message["type"] in _PLACED:
            self.position = message["since"]
        elif sequence is not None:
            # It may tell of less than has come meanwhile.
            known, told = _by_shard(self.position), _by_shard(sequence)
            self.position = _shown(
                {shard: max(known.get(shard, 0), told.get(shard, 0)) for shard in known | told}
            )
        return message


def _by_shard(position: Any) -> dict[str, int]:
    """A sequence is of the shard 0, where there is no other."""
    return {"0": position} if isinstance(position, int) else dict(position or {})


def _shown(by_shard: dict[str, int]) -> int | dict[str, int]:
    return by_shard["0"] if by_shard.keys() == {"0"} else by_shard


def _socket_address(url: str) -> str:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise InvalidField("url", url, "the address of a service, such as http://127.0.0.1:8000")
    return f"ws{url.rstrip('/').removeprefix('http')}/ws/signals"


def _refusal(error: Any) -> str | None:
    """What the service says that it will say again, however often it is asked; None: it may answer another time."""
    if (closed := getattr(error, "rcvd", None)) is not None:
        return str(closed.reason) if closed.code in _FINAL else None
    response = getattr(error, "response", None)
    if response is None or response.status_code not in _REFUSED:
        return None
    try:
        return str(json.loads(response.body)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"
