"""What a journal record says: a portfolio was created, one of its symbols got another name, or signals of one
portfolio were taken in, with what was decided about them where that was not left to them.

Layout: one kind byte; then for a creation and for a renaming a msgpack map, for signals the length of the portfolio's
name in one byte, the name, and the batch as `SignalBatch.encode` wrote it. Where somebody decided, the length of the
decisions in four bytes and `Decisions.encode` stand before the batch.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio.decisions import Decisions

_CREATED = b"P"
_RENAMED = b"R"
_SIGNALS = b"S"
_DECIDED = b"D"


@dataclass(frozen=True, slots=True)
class CreationRecord:
    """A portfolio was created."""

    portfolio: str
    policy: Policy


@dataclass(frozen=True, slots=True)
class RenameRecord:
    """A symbol of a portfolio goes on under another name."""

    portfolio: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class IntakeRecord:
    """Signals were taken in; `encoded` is the batch, `decisions` what was decided about it, if anything was."""

    portfolio: str
    encoded: memoryview
    decisions: Decisions | None = None


def creation_record(portfolio: str, policy: Policy) -> list[bytes | memoryview]:
    """The payload of a creation, as buffers."""
    return [_CREATED, msgspec.msgpack.encode({"portfolio": portfolio, "policy": policy.as_dict()})]


def renaming_record(portfolio: str, old: str, new: str) -> list[bytes | memoryview]:
    """The payload of a renaming, as buffers."""
    return [_RENAMED, msgspec.msgpack.encode({"portfolio": portfolio, "old": old, "new": new})]


def intake_record(
    portfolio: str, encoded: bytes | memoryview, decisions: Decisions | None = None
) -> list[bytes | memoryview]:
    """The payload of signals taken in, as buffers; the batch is not copied."""
    name = portfolio.encode()
    if decisions is not None:
        told = decisions.encode()
        return [_DECIDED + bytes([len(name)]) + name + len(told).to_bytes(4, "little") + told, encoded]
    return [_SIGNALS + bytes([len(name)]) + name, encoded]


def read_record(payload: memoryview) -> CreationRecord | RenameRecord | IntakeRecord:
    """What a payload says; `ValueError` if this version does not know its kind."""
    kind = bytes(payload[:1])
    if kind == _CREATED:
        values: dict[str, Any] = msgspec.msgpack.decode(payload[1:])
        return CreationRecord(values["portfolio"], Policy.from_dict(values["policy"]))
    if kind == _RENAMED:
        names: dict[str, str] = msgspec.msgpack.decode(payload[1:])
        return RenameRecord(names["portfolio"], names["old"], names["new"])
    if kind == _SIGNALS:
        start = 2 + payload[1]
        return IntakeRecord(bytes(payload[2:start]).decode(), payload[start:])
    if kind == _DECIDED:
        start = 2 + payload[1]
        told = start + 4 + int.from_bytes(payload[start : start + 4], "little")
        return IntakeRecord(
            bytes(payload[2:start]).decode(), payload[told:], Decisions.decode(payload[start + 4 : told])
        )
    raise ValueError(f"a record of kind {kind!r}, which this version does not know")
