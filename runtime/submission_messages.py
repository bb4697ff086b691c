"""Messages of the direct line: a submission and its answer, in MessagePack.

Whoever reads one runs no code of its sender: arrays travel as bytes of a known type, errors as the name of a class of
`engine.core.errors` with a sentence and plain fields.
"""

from typing import Any

import msgspec
import numpy as np

from raysignal.engine.core import errors
from raysignal.engine.core.arrays import Int64Array
from raysignal.engine.core.errors import RaysignalError
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio.account import ACCOUNT_SIZE
from raysignal.engine.portfolio.receipts import PortfolioStatus, Submission


class SubmitRequest(msgspec.Struct, array_like=True, frozen=True):
    """The arguments of `Mailbox.submit`; `positions` are the bytes of an int64 array."""

    portfolio: str
    encoded: bytes
    all_or_nothing: bool
    accept_price_jump: bool
    receipts: bool
    positions: bytes | None
    decisions: bytes | None

    def options(self) -> dict[str, Any]:
        """What `Mailbox.submit` takes by name."""
        return {
            "all_or_nothing": self.all_or_nothing,
            "accept_price_jump": self.accept_price_jump,
            "receipts": self.receipts,
            "positions": None if self.positions is None else np.frombuffer(self.positions, np.int64),
            "decisions": self.decisions,
        }


class _Error(msgspec.Struct, array_like=True, tag="error"):
    kind: str
    message: str
    fields: dict[str, Any]


class _Standing(msgspec.Struct, array_like=True):
    portfolio: str
    policy: Policy
    symbols: list[str]
    count: int
    last_us: int | None
    sequence: int
    account: bytes


class _Submission(msgspec.Struct, array_like=True, tag="submission"):
    taken: bytes
    ordinal: bytes
    errors: dict[int, _Error]
    standing: _Standing
    rows: bytes | None
    accounts: bytes | None


_encode = msgspec.msgpack.Encoder(enc_hook=lambda value: value.item()).encode
_decode_request = msgspec.msgpack.Decoder(SubmitRequest).decode
_decode_answer = msgspec.msgpack.Decoder(_Submission | _Error).decode


def encode_request(
    portfolio: str,
    encoded: bytes,
    *,
    all_or_nothing: bool,
    accept_price_jump: bool,
    receipts: bool,
    positions: Int64Array | None,
    decisions: bytes | None,
) -> bytes:
    """A submission as it is sent."""
    places = None if positions is None else positions.astype(np.int64, copy=False).tobytes()
    return _encode(
        SubmitRequest(portfolio, encoded, all_or_nothing, accept_price_jump, receipts, places, decisions)
    )


def decode_request(message: bytes) -> SubmitRequest:
    """What `encode_request` made; `msgspec.MsgspecError` for anything else."""
    return _decode_request(message)


def encode_answer(answer: Submission | RaysignalError) -> bytes:
    """What a mailbox answered, as it is sent."""
    if isinstance(answer, RaysignalError):
        return _encode(_plain_error(answer))
    standing = answer.standing
    return _encode(
        _Submission(
            answer.taken.tobytes(),
            answer.ordinal.tobytes(),
            {place: _plain_error(error) for place, error in answer.errors.items()},
            _Standing(
                standing.portfolio,
                standing.policy,
                list(standing.symbols),
                standing.count,
                standing.last_us,
                standing.sequence,
                standing.account.tobytes(),
            ),
            None if answer.rows is None else answer.rows.to_bytes(),
            None if answer.accounts is None else answer.accounts.tobytes(),
        )
    )


def decode_answer(message: bytes) -> Submission | RaysignalError:
    """What `encode_answer` was given, with read-only arrays; `msgspec.MsgspecError` for anything else."""
    found = _decode_answer(message)
    if isinstance(found, _Error):
        return _error(found)
    taken = np.frombuffer(found.taken, np.int8)
    standing = found.standing
    return Submission(
        taken=taken,
        ordinal=np.frombuffer(found.ordinal, np.int64),
        errors={place: _error(each) for place, each in found.errors.items()},
        standing=PortfolioStatus(
            portfolio=standing.portfolio,
            policy=standing.policy,
            symbols=tuple(standing.symbols),
            count=standing.count,
            last_us=standing.last_us,
            sequence=standing.sequence,
            account=np.frombuffer(standing.account),
        ),
        rows=None if found.rows is None else LedgerRows.from_bytes(len(taken), found.rows),
        accounts=None
        if found.accounts is None
        else np.frombuffer(found.accounts).reshape(len(taken), ACCOUNT_SIZE),
    )


def _plain_error(error: RaysignalError) -> _Error:
    return _Error(type(error).__name__, str(error), error.fields)


def _error(plain: _Error) -> RaysignalError:
    kind = getattr(errors, plain.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, RaysignalError)):
        kind = RaysignalError
    return errors.rebuild(kind, (plain.message,), plain.fields)
