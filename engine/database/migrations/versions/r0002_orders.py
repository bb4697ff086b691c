"""Orders, their history, fills and positions; and the paper exchange's side of them."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from raysignal.engine.database.columns import Exact, Int64

revision = "0002"
down_revision = "0001"

_OPEN = sa.text("state IN ('created', 'sent', 'unknown', 'accepted', 'partially_filled')")


def _texts(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _counts(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, Int64, nullable=False) for name in names]


def _amounts(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, Exact, nullable=False) for name in names]


def _keys(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.Text, primary_key=True) for name in names]


def _count_key(name: str) -> sa.Column[Any]:
    return sa.Column(name, Int64, primary_key=True, autoincrement=False)


def _ticket() -> list[sa.Column[Any]]:
    return [
        *_texts("venue", "symbol"),
        *(sa.Column(name, sa.SmallInteger, nullable=False) for name in ("price_decimals", "size_decimals")),
        *_amounts("contract_size"),
        sa.Column("side", sa.SmallInteger, nullable=False),
        *_texts("kind"),
        *_amounts("quantity"),
        sa.Column("limit_price", Exact),
        *_texts("time_in_force"),
    ]


def _progress() -> list[sa.Column[Any]]:
    return [*_texts("state"), *_amounts("filled", "value", "fees"), *_texts("reason")]


def _fill() -> list[sa.Column[Any]]:
    return [
        *_keys("account"),
        _count_key("ordinal"),
        *_texts("client_id", "symbol"),
        sa.Column("side", sa.SmallInteger, nullable=False),
        *_amounts("quantity", "price", "fee"),
        sa.Column("maker", sa.Boolean, nullable=False),
        *_counts("at_us"),
    ]


def upgrade() -> None:
    """Make them."""
    _make_stored_orders()
    _make_paper_exchange()


def _make_stored_orders() -> None:
    op.create_table(
        "trading_accounts",
        *_keys("account"),
        *_texts("venue", "currency"),
        *_amounts("opening_cash"),
        *_counts("compared_fill", "opened_us"),
    )
    op.create_table(
        "order_signals",
        sa.Column("ordinal", Int64, primary_key=True),
        *_texts("account", "signal_id", "strategy", "symbol"),
        sa.Column("action", sa.SmallInteger, nullable=False),
        *_amounts("price"),
        *_counts("known_at_us"),
        sa.Column("outcome", sa.Text),
        sa.Column("client_id", sa.Text),
        sa.Column("decided_us", Int64),
        sa.UniqueConstraint("account", "signal_id"),
    )
    waiting = sa.text("outcome IS NULL")
    op.create_index(
        "order_signals_waiting", "order_signals", ["account", "ordinal"],
        sqlite_where=waiting, postgresql_where=waiting,
    )  # fmt: skip
    op.create_table(
        "orders",
        *_keys("client_id"),
        *_texts("account", "strategy", "signal_id", "purpose"),
        sa.Column("attempt", sa.Integer, nullable=False),
        *_ticket(),
        *_counts("created_us", "number", "changed_us"),
        *_progress(),
        sa.UniqueConstraint("account", "signal_id", "purpose", "attempt"),
    )
    op.create_index("orders_open", "orders", ["account"], sqlite_where=_OPEN, postgresql_where=_OPEN)
    op.create_table(
        "order_events", *_keys("client_id"), _count_key("number"), *_counts("at_us"), *_progress()
    )
    op.create_table("fills", *_fill())
    op.create_table(
        "positions",
        *_keys("account", "symbol"),
        *_amounts("quantity", "proceeds", "fees"),
        *_counts("changed_us"),
    )
    op.create_table(
        "adjustments",
        sa.Column("ordinal", Int64, primary_key=True),
        *_texts("account", "symbol"),
        *_amounts("quantity", "cash"),
        *_texts("reason"),
        *_counts("at_us"),
    )


def _make_paper_exchange() -> None:
    op.create_table(
        "paper_accounts",
        *_keys("account"),
        *_texts("venue", "currency"),
        *_amounts("cash"),
        *_counts("clock_us", "last_order", "last_fill", "version"),
    )
    op.create_table(
        "paper_orders",
        *_keys("account", "client_id"),
        *_counts("ordinal"),
        *_ticket(),
        *_progress(),
        *_counts("arrives_us"),
        sa.Column("arrived", sa.Boolean, nullable=False),
        sa.Column("cancels_us", Int64),
        *_counts("ahead"),
        sa.Column("held_price", Exact),
    )
    op.create_index(
        "paper_orders_open", "paper_orders", ["account"], sqlite_where=_OPEN, postgresql_where=_OPEN
    )
    op.create_table("paper_fills", *_fill())
    op.create_index("paper_fills_of_order", "paper_fills", ["account", "client_id", "ordinal"])
    op.create_table("paper_positions", *_keys("account", "symbol"), *_amounts("quantity", "mark"))
    op.create_table(
        "paper_depth",
        *_keys("account", "symbol"),
        sa.Column("side", sa.SmallInteger, primary_key=True, autoincrement=False),
        _count_key("price"),
        *_counts("taken", "shown"),
    )
