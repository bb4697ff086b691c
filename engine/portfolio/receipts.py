"""What comes back: the answer to a submission, a portfolio's standing, and the receipt that a person reads.

An actor answers with arrays; the edge turns the rows it needs into receipts. A receipt is a pure function of
the signal, its ledger row and its account vector, so the first receipt of a signal can be made again at any
later time, to the byte.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
import pyarrow as pa

from raysignal.engine.core.arrays import Float64Array, Int8Array, Int64Array
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import RaysignalError
from raysignal.engine.core.instants import format_instant
from raysignal.engine.core.ledger_rows import CloseReason, LedgerRows, Outcome, close_sentence, reason
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Action
from raysignal.engine.portfolio.decisions import SIGNAL
from raysignal.engine.portfolio.performance import Performance, performance_dicts


class RowResult(IntEnum):
    """What became of a submitted row."""

    ACCEPTED = 0
    REPLAYED = 1
    REFUSED = 2


@dataclass(frozen=True, slots=True)
class PortfolioStatus:
    """A portfolio as it stands.

    Attributes:
        portfolio: its name.
        policy: its policy.
        symbols: the symbols it has seen, in the order of their first signal.
        count: how many signals it has processed.
        last_us: the instant of the latest of them; None before the first.
        sequence: the journal record up to which this holds; that record is durable.
        account: float64[K], the kernel's account vector, from which `Performance.of` reads.
    """

    portfolio: str
    policy: Policy
    symbols: tuple[str, ...]
    count: int
    last_us: int | None
    sequence: int
    account: Float64Array

    def as_dict(self) -> dict[str, Any]:
        """The body of `GET /performance/{portfolio}`."""
        return {
            "portfolio": self.portfolio,
            "policy": self.policy.as_dict(),
            "symbols": list(self.symbols),
            "signals": self.count,
            "as_of": None if self.last_us is None else format_instant(self.last_us),
            "sequence": self.sequence,
            "performance": Performance.of(self.account, self.policy).as_dict(),
        }


@dataclass(frozen=True, slots=True)
class SymbolMark:
    """What the next row of a symbol is measured against.

    Attributes:
        last_us: the instant of its last row.
        last_price: the price of that row.
        held: whether there is a position in it, or an order that waits.
    """

    last_us: int
    last_price: float
    held: bool


@dataclass(frozen=True, slots=True)
class Submission:
    """The answer to n submitted rows, in the order they were submitted; all that it accepts is durable.

    Attributes:
        taken: int8[n], a `RowResult` each.
        ordinal: int64[n], the row's place in the portfolio's history, from 0; -1 when refused.
        errors: why a row was refused, by its place in the submission.
        rows: n ledger rows (of the first time, for a replayed one), when receipts were asked for.
        accounts: float64[n, K], the account after each row, when receipts were asked for.
        standing: the portfolio after the submission.
    """

    taken: Int8Array
    ordinal: Int64Array
    errors: Mapping[int, RaysignalError]
    standing: PortfolioStatus
    rows: LedgerRows | None = None
    accounts: Float64Array | None = field(default=None, repr=False)

    def counted(self, kind: RowResult) -> int:
        """How many rows were taken so."""
        return int(np.count_nonzero(self.taken == kind))


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about a signal.

    Attributes:
        action: what the ledger was told to do.
        by: who decided.
        explanation: JSON, or empty.
    """

    action: int
    by: str = SIGNAL
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class FoundSignal:
    """One processed signal, found by its id.

    Attributes:
        portfolio, policy: whose it is.
        batch: the signal with its features, a batch of one.
        ordinal: its place in the portfolio's history, from 0.
        sequence, record_row: the journal record it lies in, and its row there.
        rows: its ledger row.
        account: float64[K], the account after it.
        decided: what was done with it, and by whom.
    """

    portfolio: str
    policy: Policy
    batch: SignalBatch
    ordinal: int
    sequence: int
    record_row: int
    rows: LedgerRows
    account: Float64Array
    decided: Decision

    def receipt(self) -> dict[str, Any]:
        """Its first receipt."""
        (made,) = made_receipts(
            portfolio=self.portfolio, policy=self.policy, batch=self.batch, ordinal=np.array([self.ordinal]),
            rows=self.rows, accounts=self.account.reshape(1, -1), taken=np.array([RowResult.ACCEPTED], np.int8),
        )  # fmt: skip
        assert made is not None
        made["decision"] = {"action": _ACTIONS[self.decided.action], "by": self.decided.by}
        return made


@dataclass(frozen=True, slots=True)
class FollowedRows:
    """Consecutive processed rows of a portfolio, for whoever follows it and puts them together.

    Attributes:
        first: the ordinal of the first.
        parts: `SignalBatch.encode` of some of them each, n signals in all, with their features.
        decision: int8[n], what the ledger was told to do.
        renamed: symbols that got another name just before these rows, as (old, new); never between them.
    """

    first: int
    parts: tuple[bytes, ...]
    decision: Int8Array
    renamed: tuple[tuple[str, str], ...] = ()

    def batch(self, *, features: bool = True) -> SignalBatch:
        """The n signals."""
        return SignalBatch.concat([SignalBatch.decode(part, features=features) for part in self.parts])


@dataclass(frozen=True, slots=True)
class RecentRows:
    """Processed rows that the history does not hold yet: from ordinal `first` on, in the history's columns.

    `renamed` are all symbols of the portfolio that got another name: (ordinal of the first row under it, old, new).
    """

    portfolio: str
    first: int
    tables: list[pa.Table]
    renamed: tuple[tuple[int, str, str], ...] = ()


def receipts(batch: SignalBatch, submission: Submission) -> list[dict[str, Any] | None]:
    """The receipts of all rows as plain JSON values; None for a row that was refused."""
    assert submission.rows is not None
    assert submission.accounts is not None
    standing = submission.standing
    return made_receipts(
        portfolio=standing.portfolio,
        policy=standing.policy,
        batch=batch,
        ordinal=submission.ordinal,
        rows=submission.rows,
        accounts=submission.accounts,
        taken=submission.taken,
    )


def receipt(batch: SignalBatch, submission: Submission, index: int) -> dict[str, Any]:
    """The receipt of the row at `index`, which was not refused."""
    made = receipts(batch, submission)[index]
    assert made is not None
    return made


def made_receipts(
    *,
    portfolio: str,
    policy: Policy,
    batch: SignalBatch,
    ordinal: Int64Array,
    rows: LedgerRows,
    accounts: Float64Array,
    taken: Int8Array,
) -> list[dict[str, Any] | None]:
    """Receipts from their parts, n of each; None where `taken` says refused."""
    # Lists, because reading an array value by value costs more than all the rest.
    figures = iter(performance_dicts(accounts[taken != RowResult.REFUSED], policy))
    own = {name: column.tolist() for name, column in rows.columns().items()}
    signals = zip(
        batch.signal_id.to_list(), batch.symbol.tolist(), batch.timestamp_us.tolist(), batch.action.tolist(),
        batch.price.tolist(), ordinal.tolist(), taken.tolist(), strict=True,
    )  # fmt: skip
    made: list[Any] = []
    for row, (signal_id, symbol, timestamp_us, action_code, price, place, kind) in enumerate(signals):
        if kind == RowResult.REFUSED:
            made.append(None)
            continue
        action = _ACTIONS[action_code]
        outcome, why = outcome_of(own["outcome"][row])
        made.append({
            "signal_id": signal_id,
            "portfolio": portfolio,
            "ordinal": place,
            "symbol": batch.symbols[symbol],
            "timestamp": format_instant(timestamp_us),
            "signal": action,
            "price": price,
            "replayed": kind == RowResult.REPLAYED,
            "decision": {"action": action, "by": SIGNAL},
            "outcome": outcome,
            "reason": why,
            "fill": fill_of(policy, {name: column[row] for name, column in own.items()}),
            "return": own["signal_return"][row],
            "performance": next(figures),
        })  # fmt: skip
        if own["closed_by"][row] != CloseReason.SIGNAL:
            made[-1]["closed"] = closed_of(own["closed_by"][row], own["exit_price"][row])
    return made


def closed_of(closed_by: int, exit_price: float) -> dict[str, Any]:
    """What a bracket closed, for people."""
    by, why = _CLOSED[closed_by]
    return {"by": by, "price": exit_price, "reason": why}


def outcome_of(code: int) -> tuple[str, str | None]:
    """The name of an outcome, and why nothing, or only half, was traded."""
    return _OUTCOMES[code]


_ACTIONS = {int(action): action.name for action in Action}
_OUTCOMES = {int(outcome): (outcome.name.lower(), reason(outcome)) for outcome in Outcome}
_CLOSED = {int(by): (by.name.lower(), close_sentence(by)) for by in CloseReason}


def fill_of(policy: Policy, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """The last fill of a row of `LedgerRows`: that of an order, else that of a bracket."""
    quantity, price = row["fill_quantity"], row["fill_price"]
    bracket = row["closed_by"] != CloseReason.SIGNAL
    if bracket and row["position"] != 0.0:
        quantity = row["position"]  # the bracket closed all that was held before
    elif quantity == 0.0:
        return None
    # With the policy `fill: next`, what is filled here is what the symbol's signal before decided.
    decided_by = "previous signal" if policy.fill == "next" else "this signal"
    return {
        "side": "BUY" if quantity > 0 else "SELL",
        "quantity": abs(quantity),
        "price": price,
        "notional": abs(quantity) * price,
        "fee": row["fee"],
        "decided_by": "bracket" if bracket and row["position"] == 0.0 else decided_by,
    }
