"""The messages of a broadcast about processed rows: each a pure function of its row, so that what is sent live and what
is sent again later are the same bytes.

A row has up to four messages, `signal`, `decision`, `fill` and `position_update`, the last two where something was
filled. The sequence of a message is its row's number times four and its place among these, from 1.
"""

from collections.abc import Iterator
from itertools import count
from math import isnan
from typing import Any, NamedTuple

import orjson

from raysignal.engine.core.instants import format_instant
from raysignal.engine.core.ledger_rows import CloseReason
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.secrets import is_secret_name
from raysignal.engine.core.signals import Action
from raysignal.engine.core.terms import TERMS
from raysignal.engine.portfolio.receipts import closed_of, fill_of, outcome_of
from raysignal.engine.portfolio.stream_rows import StreamRows

Shard = int | str
"""A shard of the store by its number, or the session of a pipeline by its name in the stream."""
ROW_MESSAGES = ("signal", "decision", "fill", "position_update")
"""The types of messages about rows, in their order."""
_ACTIONS = {action.value: action.name for action in Action}


class StreamMessage(NamedTuple):
    """One message, encoded once for everyone.

    Attributes:
        sequence: of the shard's stream, from 1; None: it is only sent live.
        shard: whose sequence that is.
        kind: its `type`.
        symbol, portfolio: what it is about; None: of no one.
        text: the message itself, JSON.
    """

    sequence: int | None
    shard: Shard
    kind: str
    symbol: str | None
    portfolio: str | None
    text: str

    @classmethod
    def of_text(cls, text: str) -> "StreamMessage":
        """One of a pipeline's session; where portfolios are named, it counts as one by the pipeline's name."""
        told = orjson.loads(text)
        return cls(told["sequence"], told["shard"], told["type"], told["symbol"], told["pipeline"], text)


def sequence_of(number: int, place: int) -> int:
    """The sequence of a row's message; `place` is that of its type in `ROW_MESSAGES`."""
    return number * len(ROW_MESSAGES) + place + 1


def row_of(sequence: int) -> int:
    """The row that the first message behind `sequence` may be of, and all messages behind it."""
    return sequence // len(ROW_MESSAGES)


def messages_of(shard: int, rows: StreamRows, policy: Policy) -> Iterator[StreamMessage]:
    """The messages of some rows, in their order."""
    batch = rows.batch
    ledger = {name: column.tolist() for name, column in rows.rows.columns().items()}
    numbers = {name: values.tolist() for name, values in batch.numbers.items() if not is_secret_name(name)}
    texts = {name: values.to_list() for name, values in batch.texts.items() if not is_secret_name(name)}
    terms = None if batch.terms is None else batch.terms.tolist()
    columns = zip(
        count(), rows.number, batch.signal_id.to_list(), batch.symbol.tolist(), batch.source.tolist(),
        batch.timestamp_us.tolist(), batch.action.tolist(), batch.price.tolist(), rows.action.tolist(),
        rows.decided_by, rows.explanation, strict=False,
    )  # fmt: skip
    for row, number, signal_id, symbol_code, source, timestamp_us, signal, price, action, by, why in columns:
        symbol = batch.symbols[symbol_code]
        about = {
            "shard": shard, "portfolio": rows.portfolio, "ordinal": rows.ordinal + row, "signal_id": signal_id,
            "symbol": symbol, "timestamp": format_instant(timestamp_us),
        }  # fmt: skip
        did = {name: column[row] for name, column in ledger.items()}
        said: dict[str, Any] = {"source": batch.sources[source], "signal": _ACTIONS[signal], "price": price}
        if terms is not None:
            said |= _said(terms[row])
        features = {name: values[row] for name, values in texts.items() if values[row]}
        features |= {name: values[row] for name, values in numbers.items() if not isnan(values[row])}
        said["features"] = dict(sorted(features.items()))
        outcome, reason = outcome_of(did["outcome"])
        decided = {
            "action": _ACTIONS[action], "by": by, "outcome": outcome, "reason": reason,
            "explanation": orjson.Fragment(why) if why else None,
        }  # fmt: skip
        told = [said, decided]
        fill = fill_of(policy, did)
        if fill is not None:
            if did["closed_by"] != CloseReason.SIGNAL:
                fill["closed"] = closed_of(did["closed_by"], did["exit_price"])
            told += [fill, _position(did)]
        for place, values in enumerate(told):
            sequence, kind = sequence_of(number, place), ROW_MESSAGES[place]
            text = orjson.dumps({"type": kind, "sequence": sequence, **about, **values}).decode()
            yield StreamMessage(sequence, shard, kind, symbol, rows.portfolio, text)


def _said(terms: list[float]) -> dict[str, Any]:
    """What a signal said beside its action."""
    found: dict[str, Any] = {
        name: value for name, value in zip(TERMS, terms, strict=True) if not isnan(value)
    }
    if "expires" in found:
        found["expires"] = format_instant(int(found["expires"]))
    return found


def _position(did: dict[str, Any]) -> dict[str, Any]:
    return {
        "quantity": did["position"], "cash": did["cash"], "equity": did["equity"],
        "realised_pnl": did["realised_pnl"], "drawdown": did["drawdown"], "return": did["signal_return"],
    }  # fmt: skip
