"""What positions of paper accounts paid as funding."""

import sqlalchemy as sa
from alembic import op

from raysignal.engine.database.columns import Exact, Int64

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "paper_funding",
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("at_us", Int64, primary_key=True, autoincrement=False),
        sa.Column("symbol", sa.Text, primary_key=True),
        *(sa.Column(name, Exact, nullable=False) for name in ("rate", "price", "quantity", "amount")),
    )
