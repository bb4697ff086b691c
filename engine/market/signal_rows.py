"""Signals in the database: stored before they are posted, once each, with what became of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Row, delete, func, select, update

from raysignal.engine.core.market_events import Instrument
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.database.database import Database
from raysignal.engine.market.bars import Basis
from raysignal.engine.market.crossover import CrossoverState
from raysignal.engine.market.crossover_watch import MarketSignal
from raysignal.engine.market.tables import SIGNALS, WATCHES

PENDING, POSTED, REFUSED = "pending", "posted", "refused"


@dataclass(frozen=True, slots=True)
class StoredSignal:
    """What the database says of a signal.

    Attributes:
        state: `pending`, `posted` or `refused`.
        receipt_id: of the receipt it was answered with, if it was posted.
        refusal: why it was not taken, if it was refused.
        settled_at_us: when it was posted or refused.
    """

    made: MarketSignal
    state: str
    receipt_id: str | None
    refusal: str | None
    settled_at_us: int | None


def store_signal(database: Database, connection: Connection, made: MarketSignal) -> bool:
    """Store a signal, or a price, as pending; False if one of this id is there already, which stays as it is."""
    signal = made.signal
    statement = database.insert(SIGNALS).values(
        signal_id=signal.signal_id,
        strategy=signal.source,
        venue=made.venue,
        symbol=signal.symbol,
        bar_open_us=made.bar_open_us,
        interval_us=made.interval_us,
        action=int(signal.action),
        price=made.price,
        known_at_us=signal.timestamp_us,
        features=json.dumps(dict(signal.features), sort_keys=True, allow_nan=False),
        state=PENDING,
    )
    inserted = statement.on_conflict_do_nothing(index_elements=["signal_id"]).returning(SIGNALS.c.ordinal)
    return connection.execute(inserted).first() is not None


def pending_signals(
    connection: Connection, identity: str, *, newest_first: bool = False, limit: int | None = None
) -> list[MarketSignal]:
    """The signals of a watch (`Watch.identity`) that were neither posted nor refused, in the order of their bars or
    the other way round; at most `limit` of them.
    """
    known = SIGNALS.c.known_at_us, SIGNALS.c.ordinal
    rows = (
        select(SIGNALS)
        .where(*_pending(identity))
        .order_by(*(column.desc() for column in known) if newest_first else known)
    )
    return [_made(row) for row in connection.execute(rows.limit(limit))]


def count_pending(connection: Connection, identity: str) -> int:
    """How many of a watch were neither posted nor refused."""
    return connection.execute(
        select(func.count()).select_from(SIGNALS).where(*_pending(identity))
    ).scalar_one()


def _pending(identity: str) -> tuple[ColumnElement[bool], ...]:
    return SIGNALS.c.state == PENDING, func.substr(SIGNALS.c.signal_id, 1, len(identity)) == identity


def read_signals(connection: Connection, strategy: str | None = None) -> list[StoredSignal]:
    """All signals, or those of a strategy, in the order in which they were stored."""
    rows = select(SIGNALS).order_by(SIGNALS.c.ordinal)
    if strategy is not None:
        rows = rows.where(SIGNALS.c.strategy == strategy)
    return [
        StoredSignal(_made(row), row.state, row.receipt_id, row.refusal, row.settled_at_us)
        for row in connection.execute(rows)
    ]


def last_under_its_own_name(connection: Connection, symbol: str) -> str | None:
    """The venue of the latest signal that went to the portfolios under a venue's own symbol, as those from before
    version 0003 of the tables did; None if none did.
    """
    found: str | None = connection.execute(
        select(SIGNALS.c.venue)
        .where(SIGNALS.c.symbol == symbol, SIGNALS.c.state == POSTED)
        .order_by(SIGNALS.c.known_at_us.desc(), SIGNALS.c.ordinal.desc())
        .limit(1)
    ).scalar_one_or_none()
    return found


def drop_price(connection: Connection, signal_id: str) -> None:
    """Forget a price that was posted or refused; its bar stays, and its id keeps it from being counted twice."""
    connection.execute(delete(SIGNALS).where(SIGNALS.c.signal_id == signal_id, SIGNALS.c.state == PENDING))


def mark_posted(connection: Connection, signal_id: str, receipt_id: str, at_us: int) -> bool:
    """It was taken; False if that, or a refusal, was known already."""
    return _settle(connection, signal_id, at_us, state=POSTED, receipt_id=receipt_id)


def mark_refused(connection: Connection, signal_id: str, refusal: str, at_us: int) -> bool:
    """It will never be taken; False if that, or a receipt, was known already."""
    return _settle(connection, signal_id, at_us, state=REFUSED, refusal=refusal)


def store_progress(
    database: Database,
    connection: Connection,
    strategy: str,
    instrument: Instrument,
    basis: Basis,
    interval_us: int,
    progress: CrossoverState,
) -> None:
    """How far a crossover is; what another instance has stored stays if it is as far or further."""
    insert = database.insert(WATCHES).values(
        strategy=strategy,
        venue=instrument.venue,
        symbol=instrument.symbol,
        basis=basis.value,
        interval_us=interval_us,
        first_us=progress.first_us,
        last_us=progress.last_us,
        side=progress.side,
    )
    new = insert.excluded
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=[column.name for column in WATCHES.primary_key],
            set_={"first_us": new.first_us, "last_us": new.last_us, "side": new.side},
            where=new.last_us > WATCHES.c.last_us,
        )
    )


def read_progress(
    connection: Connection, strategy: str, instrument: Instrument, basis: Basis, interval_us: int
) -> CrossoverState | None:
    """How far a crossover was; None if it never was anywhere."""
    row = connection.execute(
        select(WATCHES.c.first_us, WATCHES.c.last_us, WATCHES.c.side).where(
            WATCHES.c.strategy == strategy,
            WATCHES.c.venue == instrument.venue,
            WATCHES.c.symbol == instrument.symbol,
            WATCHES.c.basis == basis.value,
            WATCHES.c.interval_us == interval_us,
        )
    ).one_or_none()
    return None if row is None else CrossoverState(row.first_us, row.last_us, row.side)


def _settle(connection: Connection, signal_id: str, at_us: int, **values: str) -> bool:
    settled = connection.execute(
        update(SIGNALS)
        .where(SIGNALS.c.signal_id == signal_id, SIGNALS.c.state == PENDING)
        .values(settled_at_us=at_us, **values)
    )
    return settled.rowcount == 1


def _made(row: Row[Sequence[object]]) -> MarketSignal:
    values = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for the row by column
    signal = Signal(
        symbol=values["symbol"],
        timestamp_us=values["known_at_us"],
        action=Action(values["action"]),
        price=float(values["price"]),
        source=values["strategy"],
        signal_id=values["signal_id"],
        features=json.loads(values["features"]),
    )
    return MarketSignal(
        signal, values["venue"], values["bar_open_us"], values["interval_us"], values["price"]
    )
