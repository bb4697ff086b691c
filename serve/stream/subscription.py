"""What a client of the broadcast asks for: which messages, and from where on. Of a query and of its own messages."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import parse_qsl

import orjson

from raysignal.engine.core.errors import InvalidField, UnreadableInput, shorten
from raysignal.engine.portfolio.stream_messages import ROW_MESSAGES, Shard, StreamMessage

LASTING_MESSAGES = (*ROW_MESSAGES, "risk")
"""The types of messages with a sequence of their own."""
LIVE_MESSAGES = ("market_update", "performance", "heartbeat", "error")
"""The types of messages that are only sent live."""
KINDS = (*LASTING_MESSAGES, *LIVE_MESSAGES)
_ALWAYS = frozenset({"heartbeat", "error"})
_MOST_NAMES = 1000
_MOST_SEQUENCE = 2**53
_A_CURSOR = 'a sequence from 0 on, or one a shard as in {"0": 17}'

_SESSION = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\.[0-9a-f]{1,16}")

Cursor = dict[Shard, int]
"""By shard the last sequence that a client has."""


@dataclass(frozen=True, slots=True)
class StreamSubscription:
    """What a client asks for.

    Attributes:
        types, symbols, portfolios: which messages; None: all. What is about no symbol, or no portfolio, is about each.
        since: the last sequence that it has, or one a shard; None: what comes from now on.
        epoch: of the store that it has them of; None: it does not say.
        lines: whether what it is sent may be several messages, a line each.
    """

    types: frozenset[str] | None = None
    symbols: frozenset[str] | None = None
    portfolios: frozenset[str] | None = None
    since: int | Mapping[Shard, int] | None = None
    epoch: str | None = None
    lines: bool = False

    @classmethod
    def of_query(cls, query: bytes) -> "StreamSubscription":
        """Of query parameters: names are separated by commas, `since` is a number or JSON.

        Raises:
            InvalidField: names the parameter.
        """
        try:
            given = parse_qsl(
                query.decode("ascii"), keep_blank_values=True, max_num_fields=20, errors="strict"
            )
        except ValueError as error:
            raise UnreadableInput(f"the query cannot be read: {error}") from error
        values: dict[str, Any] = {}
        for name, text in given:
            if name in values:
                raise InvalidField(name, text, "it once")
            values[name] = text
            if name in _NAMES:
                values[name] = text.split(",")
            elif name == "since":
                values[name] = _json(name, text)
            elif name == "lines":
                values[name] = {"true": True, "false": False}.get(text, text)
        return cls.of_fields(values)

    @classmethod
    def of_fields(cls, values: Mapping[str, Any]) -> "StreamSubscription":
        """Of a message's fields; null is as missing.

        Raises:
            InvalidField: names the field.
        """
        known = {each.name: each.name for each in fields(cls)}
        made: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                raise InvalidField(name, value, f"one of {', '.join(known)}")
            if value is not None:
                made[name] = _READERS[name](name, value)
        return cls(**made)

    def wants(self, message: StreamMessage) -> bool:
        """Whether a message is to be sent."""
        if message.kind in _ALWAYS:
            return True
        return (
            (self.types is None or message.kind in self.types)
            and (self.symbols is None or message.symbol is None or message.symbol in self.symbols)
            and (self.portfolios is None or message.portfolio is None or message.portfolio in self.portfolios)
        )

    @property
    def all_rows(self) -> bool:
        """Whether every message with a sequence is wanted."""
        return (
            self.symbols is None
            and self.portfolios is None
            and (self.types is None or self.types.issuperset(LASTING_MESSAGES))
        )

    def cursor(self, shards: int) -> Cursor | None:
        """`since` by shard; a shard of the store that it does not name is sent whole. None: from now on.

        Args:
            shards: of the store; sessions of pipelines are as they are named.

        Raises:
            InvalidField: a number where there are several shards, or a shard that there is not.
        """
        if self.since is None:
            return None
        if isinstance(self.since, int):
            if shards > 1:
                raise InvalidField(
                    "since",
                    self.since,
                    f'a sequence for each of the {shards} shards, as in {{"0": 17, "1": 4}}',
                )
            return {0: self.since}
        for shard in self.since:
            if isinstance(shard, int) and shard >= shards:
                raise InvalidField("since", dict(self.since), f"shards from 0 to {shards - 1}")
        return {**dict.fromkeys(range(shards), 0), **self.since}


def shown_cursor(cursor: Mapping[Shard, int]) -> int | dict[str, int]:
    """A cursor as messages have it: a number where there is one shard."""
    if cursor.keys() == {0}:
        return cursor[0]
    return {str(shard): cursor[shard] for shard in sorted(cursor, key=str)}


def _json(name: str, text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise InvalidField(name, text, 'a sequence, or one a shard as in {"0": 17}') from None


def _names(name: str, value: Any) -> frozenset[str]:
    expected = f"a list of at most {_MOST_NAMES} texts"
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or len(value) > _MOST_NAMES:
        raise InvalidField(name, shorten(str(value)), expected)
    for each in value:
        if not isinstance(each, str) or not each:
            raise InvalidField(name, each, expected)
    return frozenset(value)


def _types(name: str, value: Any) -> frozenset[str]:
    found = _names(name, value)
    for each in sorted(found):
        if each not in KINDS:
            raise InvalidField(name, each, f"some of {', '.join(KINDS)}")
    return found


def _since(name: str, value: Any) -> int | Mapping[Shard, int]:
    if _is_sequence(value):
        return int(value)
    if not isinstance(value, dict) or not all(_is_sequence(sequence) for sequence in value.values()):
        raise InvalidField(name, value, _A_CURSOR)
    return {_shard(name, shard, value): sequence for shard, sequence in value.items()}


def _shard(name: str, shard: str, value: Any) -> Shard:
    if shard.isascii() and shard.isdigit() and len(shard) <= 4:
        return int(shard)
    if not _SESSION.fullmatch(shard):
        raise InvalidField(name, value, _A_CURSOR)
    return shard


def _is_sequence(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_SEQUENCE


def _epoch(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidField(name, value, "the epoch that the stream has told")
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidField(name, value, "true or false")
    return value


_NAMES = frozenset({"types", "symbols", "portfolios"})
_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "types": _types, "symbols": _names, "portfolios": _names, "since": _since, "epoch": _epoch, "lines": _flag,
}  # fmt: skip
