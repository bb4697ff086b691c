"""Everything that can go wrong, as a tree; the edge maps it to HTTP once, in `serve/problems.py`.

    RaysignalError
    ├── InputError                 the caller's input; nothing changed
    │   ├── UnreadableInput        not JSON, not CSV, not what the content type says
    │   ├── UnsupportedMedia       a content type that is not taken
    │   ├── InputTooLarge          over a stated limit
    │   ├── InputTooSlow           not there within its time
    │   ├── InvalidField           one field: its name, its value, what was expected, its row
    │   │   ├── StaleSignal        a signal that is older than may be
    │   │   └── WrongDateOrder     a date that its column's order of month and day does not allow
    │   ├── VenueRefusal           an exchange refuses a request for good, in its own words
    │   ├── CassetteMiss           a replay was asked what is not on record
    │   ├── ModelRefused           a model of signals that cannot be used, and why
    │   ├── PriceJump              a price too far from the last one to be believed unasked
    │   └── RowErrors              several rows of a batch, each with its own error
    ├── Conflict                   the input is fine, the state says no; nothing changed
    │   ├── IdentityConflict       the same signal id with other content
    │   ├── LateSignal             before the high-water mark of its portfolio and symbol
    │   └── PortfolioConflict      the portfolio exists with another policy
    ├── NotFound                   no such portfolio, signal or file
    ├── Unauthorized               no key, or the wrong one
    ├── Forbidden                  for another host, or from a page of another program
    ├── SettingsError              a setting that cannot be used, or two that contradict
    ├── OrderError                 an order, or the exchange that it goes to
    │   ├── ImpossibleTransition   an order cannot go from this state to that one; a defect, here or there
    │   ├── OrderRejected          the exchange does not take it; nothing was done
    │   ├── ExchangeUnreachable    no answer: what was sent may have been taken
    │   └── UnexplainedDifference  the stored orders and the exchange disagree; nothing is traded until a person looks
    ├── ModelUnavailable           no model of signals speaks now: the one that is configured cannot be used
    ├── AgentUnavailable           the agent is not ready, or did not answer within its bound
    ├── ChromaUnavailable          the index of past outcomes cannot be searched now; no decision rests on it
    ├── LookAhead                  something was about to be used before it was known; a defect
    ├── StrategyFailed             a strategy of a user's own raised, hung, ended its process or answered no actions
    └── StoreError                 the journal, its store, the bus or the database
        ├── StoreUnavailable       did not answer within its bound; the same call may succeed later
        │   └── StreamFull         a stream of the bus holds as much as it may that a group has not acknowledged
        ├── StoreHeld             another process of this machine works on the store
        ├── Fenced                 another writer has taken over; this one must stop
        ├── JournalDamaged         a record that was durable cannot be read
        │   └── JournalBehind      records that are known to have been durable are not in the journal
        ├── EventsLost             a stream of the bus does not hold events that it held, and somebody still needs
        ├── DatabaseTooNew         a database whose tables a later version of the code has changed
        └── UnsafeStore            the store does not enforce conditional writes

Every error survives pickling, because actors raise across processes.
"""

import errno
from collections.abc import Sequence
from typing import Any

from raysignal.engine.core.secrets import HIDDEN, is_secret_name, without_secrets


class RaysignalError(Exception):
    """The root. `fields` are what a program may read; `str()` is the sentence a person reads."""

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.fields = fields

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, (type(self), self.args, self.fields)


def rebuild(kind: type[RaysignalError], args: tuple[Any, ...], fields: dict[str, Any]) -> RaysignalError:
    """An error as it was in another process; its class's own arguments are not needed again."""
    error = kind.__new__(kind)
    Exception.__init__(error, *args)
    error.fields = fields
    return error


class InputError(RaysignalError):
    """The caller's input cannot be used; nothing changed."""


class UnreadableInput(InputError):
    """The input is not what it says it is."""


class UnsupportedMedia(InputError):
    """A content type that is not taken."""


class InputTooLarge(InputError):
    """Over a stated limit."""


class InputTooSlow(InputError):
    """The rest of the input did not come within its time."""


class InvalidField(InputError):
    """One field of one signal, setting or policy.

    Args:
        field: the field as the caller named it.
        value: what was given (shortened when long, and without secrets).
        expected: what would have been right, as the end of "expected …".
        row: its position in the input, counted from 0, or None for a single one.
    """

    def __init__(self, field: str, value: object, expected: str, row: int | None = None) -> None:
        place = "" if row is None else f"row {row}: "
        shown = HIDDEN if is_secret_name(field) else shorten(value)
        super().__init__(
            f"{place}{field} is {shown}; expected {expected}",
            field=field, value=shown, expected=expected, row=row,
        )  # fmt: skip


class StaleSignal(InvalidField):
    """A signal that is older than its entrance takes: an alert that was held up on its way."""


class WrongDateOrder(InvalidField):
    """A date that is none in the order in which its column is read: the other dates of the column may be wrong, too."""

    def __init__(self, field: str, value: object, row: int | None = None, *, day_first: bool) -> None:
        expected = (
            "a day before a month, as --day-first (RAYSIGNAL_INTAKE__DAY_FIRST) says: read the dates without it"
            if day_first
            else "a month before a day: where the day comes first, say so with --day-first (or "
            "RAYSIGNAL_INTAKE__DAY_FIRST=true)"
        )
        super().__init__(field, value, f"{expected}; as it is, no date of the column is used", row)


class VenueRefusal(InputError):
    """An exchange refuses a request for good: the same again is refused again."""


class PriceJump(InputError):
    """A price further from the last accepted one than the configured factor."""

    def __init__(self, symbol: str, price: float, last: float, limit: float, row: int | None = None) -> None:
        place = "" if row is None else f"row {row}: "
        super().__init__(
            f"{place}price {price!r} of {symbol} is a factor {max(price / last, last / price):.6g} from the last "
            f"price {last!r}; expected at most {limit:g}. If it is true, send it with accept_price_jump=true, an "
            "alert of a hook to POST /signal",
            field="price", value=repr(price), expected=f"within a factor {limit:g} of {last!r}", row=row,
            symbol=symbol,
        )  # fmt: skip


class CassetteMiss(InputError):
    """A replay was asked a question that is not on record, so it is not the same run.

    Args:
        request: hash of the question.
        cassette: the file.
        nearest: hash of the recorded question that is most like it; None: there is none.
        difference: from that one to this one, as a unified diff.
    """

    def __init__(self, request: str, cassette: str, nearest: str | None, difference: str) -> None:
        like = "" if nearest is None else f"; the nearest is {nearest[:12]}, which differs so"
        super().__init__(
            f"request {request[:12]} is not on record in {cassette}{like}; expected the file, rules, model and "
            f"--budget that it was recorded with:\n{difference}",
            request=request, cassette=cassette, nearest=nearest, difference=difference,
        )  # fmt: skip


class ModelRefused(InputError):
    """A model of signals that cannot be used; what was used before goes on.

    Args:
        model: where it lies.
        reason: why, as a sentence without its full stop.
    """

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(f"the model {model} is not used: {reason}", model=model, reason=reason)


class RowErrors(InputError):
    """Several rows of a batch cannot be used; `fields["errors"]` holds one dict a row (at most 100).

    Args:
        errors: of the refused rows, or of the first ones.
        rows: rows in the batch.
        refused: how many of them are refused; None: as many as there are errors.
    """

    SHOWN = 100

    def __init__(self, errors: Sequence[RaysignalError], rows: int, refused: int | None = None) -> None:
        refused = len(errors) if refused is None else refused
        shown = [error_entry(error) for error in errors[: self.SHOWN]]
        super().__init__(
            f"{refused} of {rows} rows cannot be used; the first: {errors[0]}",
            errors=shown, refused=refused, rows=rows,
            conflicts=all(isinstance(error, Conflict) for error in errors),
        )  # fmt: skip


class Conflict(RaysignalError):
    """The input is well formed, the state refuses it; nothing changed."""


class IdentityConflict(Conflict):
    """The same signal id with other content.

    Args:
        signal_id: of the caller, or derived.
        row: its position in the input.
        remark: what else is known of the cause, as a sentence.
    """

    def __init__(self, signal_id: str, row: int | None = None, *, remark: str = "") -> None:
        place = "" if row is None else f"row {row}: "
        super().__init__(
            f"{place}signal_id {signal_id!r} was already taken in with other content{remark and '. ' + remark}",
            field="signal_id", value=repr(signal_id), signal_id=signal_id, row=row,
            expected="the content it was first sent with, or another id",
        )  # fmt: skip


class LateSignal(Conflict):
    """A signal that is before the last one of its portfolio and symbol; `remark` as above."""

    def __init__(
        self, symbol: str, timestamp: str, high_water: str, row: int | None = None, *, remark: str = ""
    ) -> None:
        place = "" if row is None else f"row {row}: "
        super().__init__(
            f"{place}timestamp {timestamp} of {symbol} is before {high_water}, the last one processed"
            f"{remark and '. ' + remark}",
            field="timestamp", value=timestamp, expected=f"no earlier than {high_water}", row=row,
            symbol=symbol, high_water_mark=high_water,
        )  # fmt: skip


class PortfolioConflict(Conflict):
    """The portfolio exists with another policy."""


class NotFound(RaysignalError):
    """No such portfolio, signal or file."""


class Unauthorized(RaysignalError):
    """No key, or the wrong one."""


class Forbidden(RaysignalError):
    """A request without a key that names another host, or that a page of another program has sent."""


class SettingsError(RaysignalError):
    """A setting that cannot be used, or two that contradict each other."""


class OrderError(RaysignalError):
    """An order, or the exchange that it goes to."""


class ImpossibleTransition(OrderError):
    """An order cannot go from the state it is in to the one that was told; it stays as it was."""


class OrderRejected(OrderError):
    """The exchange does not take the order; nothing was done. `fields["reason"]` is one word."""

    def __init__(self, client_id: str, reason: str, detail: str) -> None:
        super().__init__(f"order {client_id} is rejected: {detail}", client_id=client_id, reason=reason)


class ExchangeUnreachable(OrderError):
    """The exchange did not answer. What was sent may have been taken: look it up."""


class UnexplainedDifference(OrderError):
    """The stored orders and the exchange disagree, and nothing stored says why; nothing is traded."""


class LookAhead(RaysignalError):
    """Something was about to be used before it was known: a defect, stopped before it could tell."""


class StrategyFailed(RaysignalError):
    """A strategy raised, hung, ended its process, or what it answered are no actions.

    `fields["bar"]` is the bar at which what it answered is wrong, or None.
    """

    def __init__(self, message: str, bar: int | None = None) -> None:
        super().__init__(message, bar=bar)


class StoreError(RaysignalError):
    """The journal, the store under it, the bus or the database."""


class StoreUnavailable(StoreError):
    """The store did not answer within its bound; the same call may succeed later."""


class StreamFull(StoreUnavailable):
    """A stream of the bus is full of events that a group has not acknowledged; what was to be published was not.

    Args:
        stream: its name.
        bound: how many events it may hold.
        group: the group that is furthest behind; empty: no group has joined.
    """

    def __init__(self, stream: str, bound: int, group: str) -> None:
        why = (
            f"the group {group!r} has not acknowledged the oldest. Expected its consumers to run and to keep up: "
            "start them, or let more of them share the group"
            if group
            else "no group reads them. Expected one to have joined: start its consumers"
        )
        super().__init__(
            f"the stream {stream!r} holds {bound} events, as many as it may, and {why}",
            stream=stream, bound=bound, group=group,
        )  # fmt: skip


class EventsLost(StoreError):
    """A stream of the bus no longer holds events that it held and that somebody still needs.

    Args:
        stream: its name.
        what: what is missing, as the end of "the stream … …".
    """

    def __init__(self, stream: str, what: str, **fields: Any) -> None:
        super().__init__(
            f"the stream {stream!r} {what}. Nothing more is read or published, because events may be lost. Bring the "
            "bus's data back, or start every process anew and accept the loss: stages then publish again what their "
            "journals hold, and what is known is not done twice",
            stream=stream, **fields,
        )  # fmt: skip


class StoreHeld(StoreError):
    """Another process of this machine works on the store; nothing was begun.

    Args:
        store: its address.
        holder: who that is, as the end of "held by …".
    """

    def __init__(self, store: str, holder: str) -> None:
        super().__init__(
            f"the store {store} is held by {holder}; expected one that nobody else works on. End that process, let "
            "raysignal serve wait for its end with --take-over, or name another store with --store or RAYSIGNAL_STORE",
            store=store, holder=holder,
        )  # fmt: skip


class ModelUnavailable(RaysignalError):
    """No model of signals speaks now; nothing was generated, and nothing is made up instead."""


class AgentUnavailable(RaysignalError):
    """The agent is not ready, or did not answer within its bound; the same question may be answered later."""


class ChromaUnavailable(RaysignalError):
    """The index of past outcomes cannot be searched now; `fields["retry_after_s"]` says when to try again."""


class Fenced(StoreError):
    """Another writer has taken over; this one must stop and has acknowledged nothing since."""


class JournalDamaged(StoreError):
    """A record that was durable cannot be read: `fields` name the record and where it lies."""


class JournalBehind(JournalDamaged):
    """Records that are known to have been durable are not in the journal: it was removed, cut or replaced."""


class DatabaseTooNew(StoreError):
    """The tables of the database were changed by a later version of the code."""


class UnsafeStore(StoreError):
    """The store does not enforce conditional writes, so two writers could both believe they own it."""


def store_failure_reason(error: StoreError) -> str:
    """One word for why the store failed: the disk's own error, such as ENOSPC for a full one, else the error's name."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            return errno.errorcode.get(cause.errno, str(cause.errno))
        cause = cause.__cause__
    return type(error).__name__


def shorten(value: object, limit: int = 80) -> str:
    """`repr(value)` without what may be a secret in it, at most `limit` characters."""
    text = repr(without_secrets(value))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def error_entry(error: RaysignalError) -> dict[str, Any]:
    """One row's error as it is shown to the caller: row, field, value, expected, detail."""
    return {
        "row": error.fields.get("row"),
        "field": error.fields.get("field"),
        "value": error.fields.get("value"),
        "expected": error.fields.get("expected"),
        "type": type(error).__name__,
        "detail": str(error),
    }
