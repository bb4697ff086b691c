"""Cursors of pages: where the next page begins, for the same question alone."""

import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import astuple, dataclass

from raysignal.engine.core.errors import InvalidField


@dataclass(frozen=True, slots=True)
class PageQuery:
    """What is asked for, page by page. A page continues behind an ordinal, which never changes."""

    portfolio: str

    def cursor(self, after: int) -> str:
        """What continues behind ordinal `after`; opaque to callers, and of no use with other filters."""
        return urlsafe_b64encode(f"{after}.{self._mark()}".encode()).decode().rstrip("=")

    def after(self, cursor: str | None) -> int:
        """The ordinal that a cursor continues behind; -1 without one. `InvalidField` if it is none of ours."""
        if cursor is None:
            return -1
        try:
            text = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)).decode("ascii")
            after, _, mark = text.partition(".")
            if mark == self._mark() and after.isdigit() and len(after) <= 18:
                return int(after)
        except ValueError:
            pass
        raise InvalidField("cursor", cursor, "the cursor of a page with the same portfolio and filters")

    def _mark(self) -> str:
        return f"{zlib.crc32(repr(astuple(self)).encode()):08x}"
