"""A feed's symbol is `venue:symbol`, and a signal is traded by one account of the database at most.

Before, symbols were the venue's own, and a feed took the signals of every other one. What was posted keeps the name
under which it was posted; what waits goes on under the new one. Of the signals that an account of a feed was given,
its own get the new name; others keep the old one, which no feed trades any more.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def _table(name: str, *columns: str) -> sa.TableClause:
    return sa.table(name, *(sa.column(column, sa.Text) for column in columns))


def upgrade() -> None:
    """Rename, and note whose each signal is."""
    signals = _table("signals", "venue", "symbol", "state")
    new_name = signals.c.venue + ":" + signals.c.symbol
    op.execute(sa.update(signals).where(signals.c.state == "pending").values(symbol=new_name))
    order_signals = _table("order_signals", "account", "signal_id", "strategy", "symbol", "outcome")
    given = order_signals.c
    # `paper:<venue>:<symbol>` is the account of a feed; the ids of its signals begin `<strategy>:<venue>:<symbol>:`.
    is_feed = given.account.like("paper:%:%")
    begins = given.strategy + sa.func.substr(given.account, 6, type_=sa.Text) + ":"
    is_own = sa.func.substr(given.signal_id, 1, sa.func.length(begins)) == begins
    op.execute(
        sa.update(order_signals)
        .where(is_feed, is_own)
        .values(symbol=sa.func.substr(given.account, 7, type_=sa.Text))
    )
    op.create_table(
        "traded_signals",
        sa.Column("signal_id", sa.Text, primary_key=True),
        sa.Column("account", sa.Text, nullable=False),
    )
    owner = sa.func.coalesce(
        sa.func.min(sa.case((sa.or_(~is_feed, is_own), given.account))), sa.func.min(given.account)
    )
    owners = (
        sa.select(given.signal_id, owner)
        .where(sa.or_(~is_feed, is_own, given.outcome == "ordered"))
        .group_by(given.signal_id)
    )
    traded = _table("traded_signals", "signal_id", "account")
    op.execute(sa.insert(traded).from_select(["signal_id", "account"], owners))
