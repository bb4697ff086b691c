"""What was refused at the entrances, told to the one actor that keeps it.

A replica sends what it has seen as soon as nothing is under way, and never waits for it; what the actor cannot be told
is lost, for a refusal changed nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from raysignal.engine.core.errors import (
    Conflict,
    InputError,
    NotFound,
    RaysignalError,
    RowErrors,
    Unauthorized,
)
from raysignal.engine.core.instants import format_instant
from raysignal.engine.intake.samples import sample_of
from raysignal.serve.access import HOOKS, SIGNED_PATHS

if TYPE_CHECKING:
    from raysignal.runtime.portfolio_actors import PortfolioClient

_WAITING = 1000
_ROWS = 20
"""Rows of one batch that are kept with their sentences; all are counted."""
_REFUSED = (InputError, Conflict, NotFound, Unauthorized)


class RefusalReporter:
    """What one replica has to tell; for one event loop.

    Args:
        portfolios: the client of the actors.
        now_us: the present, UTC microseconds.
    """

    def __init__(self, portfolios: "PortfolioClient", now_us: Callable[[], int]) -> None:
        self._portfolios = portfolios
        self._now_us = now_us
        self._entries: list[dict[str, Any]] = []
        self._counts: Counter[str] = Counter()
        self._telling: asyncio.Task[None] | None = None

    def note(self, method: str, path: str, error: RaysignalError, status: int, about: dict[str, Any]) -> None:
        """Take note that a request was refused, if it was to post signals.

        Args:
            method: of the request.
            path: of the request.
            error: why.
            status: of the answer.
            about: what its handler knew of it: `body`, `source`, `portfolio`, `hook`.
        """
        entrance = "/hooks" if path.startswith(HOOKS) else path
        if method != "POST" or not isinstance(error, _REFUSED) or entrance not in {*SIGNED_PATHS, "/hooks"}:
            return
        if isinstance(error, RowErrors):
            self.note_rows(entrance, error.fields["errors"], error.fields["refused"], status, about)
            return
        entry = self._entry(entrance, status, about)
        entry |= {name: error.fields.get(name) for name in ("field", "value", "expected")}
        entry |= {"reason": type(error).__name__, "detail": str(error)}
        if (body := about.get("body")) is not None:
            entry["sample"] = sample_of(body)
        self._add([entry], Counter({entry["reason"]: 1}))

    def note_rows(
        self, entrance: str, errors: list[dict[str, Any]], refused: int, status: int, about: dict[str, Any]
    ) -> None:
        """Take note of the rows of a batch that were refused; of the first ones, `errors` says why."""
        counts = Counter(error["type"] for error in errors)
        if refused > len(errors):
            counts[RowErrors.__name__] += refused - len(errors)
        entries = []
        for error in errors[:_ROWS]:
            entry = self._entry(entrance, status, about) | {
                name: error[name] for name in ("row", "field", "value", "expected", "detail")
            }
            entries.append(entry | {"reason": error["type"]})
        self._add(entries, counts)

    async def told(self) -> None:
        """Wait until the actor knows what was noted so far, or cannot be told."""
        while self._telling is not None:
            await asyncio.shield(self._telling)

    def _entry(self, entrance: str, status: int, about: dict[str, Any]) -> dict[str, Any]:
        known = {name: about.get(name) for name in ("hook", "source", "portfolio")}
        return {"at": format_instant(self._now_us()), "entrance": entrance, "status": status, "row": None,
                "sample": None, **known}  # fmt: skip

    def _add(self, entries: list[dict[str, Any]], counts: Counter[str]) -> None:
        self._entries = [*self._entries, *map(_encodable, entries)][-_WAITING:]
        self._counts.update(counts)
        if self._telling is None:
            self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        try:
            while self._counts:
                entries, counts = self._entries, dict(self._counts)
                self._entries, self._counts = [], Counter()
                with suppress(RaysignalError):
                    await self._portfolios.note_refusals(entries, counts)
        finally:
            self._telling = None


def _encodable(entry: dict[str, Any]) -> dict[str, Any]:
    """The same, with half characters, which JSON may escape and no encoding knows, written out."""
    return {
        name: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for name, value in entry.items()
    }
