"""Bars, prices, watches and signals."""

import sqlalchemy as sa
from alembic import op

from raysignal.engine.database.columns import Exact, Int64

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "bars",
        sa.Column("venue", sa.Text, primary_key=True),
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("basis", sa.Text, primary_key=True),
        sa.Column("interval_us", Int64, primary_key=True, autoincrement=False),
        sa.Column("open_us", Int64, primary_key=True, autoincrement=False),
        *(sa.Column(name, Exact, nullable=False) for name in ("open", "high", "low", "close", "volume")),
        sa.Column("trades", Int64, nullable=False),
        *(sa.Column(name, sa.Boolean, nullable=False) for name in ("final", "complete", "close_known")),
    )
    op.create_table(
        "prices",
        sa.Column("venue", sa.Text, primary_key=True),
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("at_us", Int64, primary_key=True, autoincrement=False),
        sa.Column("price", Exact, nullable=False),
    )
    op.create_table(
        "watches",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("strategy", "venue", "symbol", "basis")),
        sa.Column("interval_us", Int64, primary_key=True, autoincrement=False),
        sa.Column("first_us", Int64, nullable=False),
        sa.Column("last_us", Int64, nullable=False),
        sa.Column("side", sa.SmallInteger, nullable=False),
    )
    op.create_table(
        "signals",
        sa.Column("ordinal", Int64, primary_key=True),
        sa.Column("signal_id", sa.Text, nullable=False, unique=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("strategy", "venue", "symbol")),
        *(sa.Column(name, Int64, nullable=False) for name in ("bar_open_us", "interval_us")),
        sa.Column("action", sa.SmallInteger, nullable=False),
        sa.Column("price", Exact, nullable=False),
        sa.Column("known_at_us", Int64, nullable=False),
        sa.Column("features", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("receipt_id", sa.Text),
        sa.Column("refusal", sa.Text),
        sa.Column("settled_at_us", Int64),
    )
    pending = sa.text("state = 'pending'")
    op.create_index("signals_pending", "signals", ["ordinal"], sqlite_where=pending, postgresql_where=pending)
