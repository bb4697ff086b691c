"""The tables of orders, and those of the paper exchange, which shares nothing with them but the database.

trading_accounts  an account at an exchange, and how far it was compared with it
order_signals     every signal that was given to a trader, and what it led to
traded_signals    whose signal it is: one account's, in all of the database
orders            every order as it is now
order_events      every step of every order; only ever added to
fills             every execution that was heard of
positions         what is held, as the fills say
adjustments       differences that a person has accepted
paper_*           the same side of the world as an exchange sees it
"""

from sqlalchemy import Boolean, Column, Index, Integer, SmallInteger, Table, Text, UniqueConstraint, text

from raysignal.engine.database.columns import METADATA, Exact, Int64

OPEN_STATES = "state IN ('created', 'sent', 'unknown', 'accepted', 'partially_filled')"


def _ticket() -> list[Column[object]]:
    return [
        Column("venue", Text, nullable=False),
        Column("symbol", Text, nullable=False),
        Column("price_decimals", SmallInteger, nullable=False),
        Column("size_decimals", SmallInteger, nullable=False),
        Column("contract_size", Exact, nullable=False),
        Column("side", SmallInteger, nullable=False),
        Column("kind", Text, nullable=False),
        Column("quantity", Exact, nullable=False),
        Column("limit_price", Exact),
        Column("time_in_force", Text, nullable=False),
    ]


def _progress() -> list[Column[object]]:
    return [
        Column("state", Text, nullable=False),
        Column("filled", Exact, nullable=False),
        Column("value", Exact, nullable=False),
        Column("fees", Exact, nullable=False),
        Column("reason", Text, nullable=False),
    ]


def _fill() -> list[Column[object]]:
    return [
        Column("account", Text, primary_key=True),
        Column("ordinal", Int64, primary_key=True, autoincrement=False),
        Column("client_id", Text, nullable=False),
        Column("symbol", Text, nullable=False),
        Column("side", SmallInteger, nullable=False),
        Column("quantity", Exact, nullable=False),
        Column("price", Exact, nullable=False),
        Column("fee", Exact, nullable=False),
        Column("maker", Boolean, nullable=False),
        Column("at_us", Int64, nullable=False),
    ]


TRADING_ACCOUNTS = Table(
    "trading_accounts",
    METADATA,
    Column("account", Text, primary_key=True),
    Column("venue", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("opening_cash", Exact, nullable=False),
    Column("compared_fill", Int64, nullable=False),
    Column("opened_us", Int64, nullable=False),
)
"""`compared_fill`: every fill of the exchange up to this ordinal was found among the stored ones."""

ORDER_SIGNALS = Table(
    "order_signals",
    METADATA,
    Column("ordinal", Int64, primary_key=True),
    Column("account", Text, nullable=False),
    Column("signal_id", Text, nullable=False),
    Column("strategy", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("action", SmallInteger, nullable=False),
    Column("price", Exact, nullable=False),
    Column("known_at_us", Int64, nullable=False),
    Column("outcome", Text),
    Column("client_id", Text),
    Column("decided_us", Int64),
    UniqueConstraint("account", "signal_id"),
    Index("order_signals_waiting", "account", "ordinal", sqlite_where=text("outcome IS NULL"),
          postgresql_where=text("outcome IS NULL")),
)  # fmt: skip
"""`outcome`: `ordered` (with the order's `client_id`), or why there is no order; none while it is not decided."""

TRADED_SIGNALS = Table(
    "traded_signals",
    METADATA,
    Column("signal_id", Text, primary_key=True),
    Column("account", Text, nullable=False),
)
"""The account that a signal was given to first, and that alone may make an order of it."""

ORDERS = Table(
    "orders",
    METADATA,
    Column("client_id", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("strategy", Text, nullable=False),
    Column("signal_id", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    *_ticket(),
    Column("created_us", Int64, nullable=False),
    Column("number", Int64, nullable=False),
    Column("changed_us", Int64, nullable=False),
    *_progress(),
    UniqueConstraint("account", "signal_id", "purpose", "attempt"),
    Index("orders_open", "account", sqlite_where=text(OPEN_STATES), postgresql_where=text(OPEN_STATES)),
)
"""`number`, `changed_us` and what follows: the last of its events."""

ORDER_EVENTS = Table(
    "order_events",
    METADATA,
    Column("client_id", Text, primary_key=True),
    Column("number", Int64, primary_key=True, autoincrement=False),
    Column("at_us", Int64, nullable=False),
    *_progress(),
)

FILLS = Table("fills", METADATA, *_fill())

POSITIONS = Table(
    "positions",
    METADATA,
    Column("account", Text, primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("quantity", Exact, nullable=False),
    Column("proceeds", Exact, nullable=False),
    Column("fees", Exact, nullable=False),
    Column("changed_us", Int64, nullable=False),
)
"""`proceeds`: what sales brought less what purchases cost, without fees; with nothing held it is the profit."""

ADJUSTMENTS = Table(
    "adjustments",
    METADATA,
    Column("ordinal", Int64, primary_key=True),
    Column("account", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("quantity", Exact, nullable=False),
    Column("cash", Exact, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at_us", Int64, nullable=False),
)
"""What was added to a position and to the cash to agree with the exchange; `symbol` is empty for cash alone."""

PAPER_ACCOUNTS = Table(
    "paper_accounts",
    METADATA,
    Column("account", Text, primary_key=True),
    Column("venue", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("cash", Exact, nullable=False),
    Column("clock_us", Int64, nullable=False),
    Column("last_order", Int64, nullable=False),
    Column("last_fill", Int64, nullable=False),
    Column("version", Int64, nullable=False),
)
"""`version` counts the commands; who finds another one than expected is not the only exchange of this account."""

PAPER_ORDERS = Table(
    "paper_orders",
    METADATA,
    Column("account", Text, primary_key=True),
    Column("client_id", Text, primary_key=True),
    Column("ordinal", Int64, nullable=False),
    *_ticket(),
    *_progress(),
    Column("arrives_us", Int64, nullable=False),
    Column("arrived", Boolean, nullable=False),
    Column("cancels_us", Int64),
    Column("ahead", Int64, nullable=False),
    Column("held_price", Exact),
    Index("paper_orders_open", "account", sqlite_where=text(OPEN_STATES), postgresql_where=text(OPEN_STATES)),
)
"""See `engine.execution.matching.RestingOrder`."""

PAPER_FILLS = Table(
    "paper_fills", METADATA, *_fill(), Index("paper_fills_of_order", "account", "client_id", "ordinal")
)

PAPER_FUNDING = Table(
    "paper_funding",
    METADATA,
    Column("account", Text, primary_key=True),
    Column("at_us", Int64, primary_key=True, autoincrement=False),
    Column("symbol", Text, primary_key=True),
    Column("rate", Exact, nullable=False),
    Column("price", Exact, nullable=False),
    Column("quantity", Exact, nullable=False),
    Column("amount", Exact, nullable=False),
)
"""What positions paid as funding; see `engine.execution.exchange.PaidFunding`."""

PAPER_POSITIONS = Table(
    "paper_positions",
    METADATA,
    Column("account", Text, primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("quantity", Exact, nullable=False),
    Column("mark", Exact, nullable=False),
)
"""`mark`: the money that one unit was last traded for."""

PAPER_DEPTH = Table(
    "paper_depth",
    METADATA,
    Column("account", Text, primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("side", SmallInteger, primary_key=True, autoincrement=False),
    Column("price", Int64, primary_key=True, autoincrement=False),
    Column("taken", Int64, nullable=False),
    Column("shown", Int64, nullable=False),
)
"""What the account's own fills have taken from a level of the book, in lots, since it showed `shown`."""
