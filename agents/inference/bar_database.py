"""The bars of a configured database, opened at their first use; for one event loop."""

import asyncio
import time
from typing import TYPE_CHECKING

from raysignal.engine.core.errors import StoreUnavailable
from raysignal.engine.database.addresses import SQLITE, kind_of, sqlite_path

if TYPE_CHECKING:
    from raysignal.agents.inference.stored_bars import StoredBars

_AWAY_S = 2.0
"""A database that did not answer is not asked again for so long: who waits for it would all wait out its patience."""


class BarDatabase:
    """See the module.

    Args:
        address: of the database.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._bars: StoredBars | None = None
        self._failed: tuple[float, StoreUnavailable] | None = None
        self._opening = asyncio.Lock()

    async def opened(self) -> "StoredBars | None":
        """The bars; None where there is no file yet, which a reader is not to make, and without the extra `feeds`.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        if self._bars is not None:
            return self._bars
        async with self._opening:
            if self._bars is None:
                if kind_of(self.address) == SQLITE and not sqlite_path(self.address).is_file():
                    return None
                if self._failed is not None and time.monotonic() < self._failed[0] + _AWAY_S:
                    raise self._failed[1]
                try:
                    self._bars = await asyncio.to_thread(_open, self.address)
                except StoreUnavailable as error:
                    self._failed = time.monotonic(), error
                    raise
            return self._bars


def _open(address: str) -> "StoredBars | None":
    try:
        from raysignal.agents.inference.stored_bars import StoredBars  # noqa: PLC0415 - needs the extra `feeds`
        from raysignal.engine.database.database import open_database  # noqa: PLC0415 - as above
    except ImportError:
        return None
    return StoredBars(open_database(address))
