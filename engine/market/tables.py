"""The tables of the market's data, as this version of the code sees them; migrations make them.

bars      what the market did, interval by interval
prices    last prices now and then
watches   how far a crossover has seen the bars of a symbol
signals   what it made of them, and what became of that at the portfolios
"""

from sqlalchemy import Boolean, Column, Index, SmallInteger, Table, Text, text

from raysignal.engine.database.columns import METADATA, Exact, Int64

BARS = Table(
    "bars",
    METADATA,
    Column("venue", Text, primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("basis", Text, primary_key=True),  # of what prices: `trades` or `mids`
    Column("interval_us", Int64, primary_key=True, autoincrement=False),
    Column("open_us", Int64, primary_key=True, autoincrement=False),
    Column("open", Exact, nullable=False),
    Column("high", Exact, nullable=False),
    Column("low", Exact, nullable=False),
    Column("close", Exact, nullable=False),
    Column("volume", Exact, nullable=False),
    Column("trades", Int64, nullable=False),
    Column("final", Boolean, nullable=False),
    Column("complete", Boolean, nullable=False),
    Column("close_known", Boolean, nullable=False),
)
"""A bar; see `engine.market.bars.Bar`. `final`: it can no longer change."""

PRICES = Table(
    "prices",
    METADATA,
    Column("venue", Text, primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("at_us", Int64, primary_key=True, autoincrement=False),
    Column("price", Exact, nullable=False),
)
"""The last price at an instant."""

WATCHES = Table(
    "watches",
    METADATA,
    Column("strategy", Text, primary_key=True),
    Column("venue", Text, primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("basis", Text, primary_key=True),
    Column("interval_us", Int64, primary_key=True, autoincrement=False),
    Column("first_us", Int64, nullable=False),
    Column("last_us", Int64, nullable=False),
    Column("side", SmallInteger, nullable=False),
)
"""How far a crossover has come: its bars are those that open from `first_us` to `last_us`, both included; `side` is
the sign of fast less slow, the last that was not 0, and 0 before there was one."""

SIGNALS = Table(
    "signals",
    METADATA,
    Column("ordinal", Int64, primary_key=True),
    Column("signal_id", Text, nullable=False, unique=True),
    Column("strategy", Text, nullable=False),
    Column("venue", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("bar_open_us", Int64, nullable=False),
    Column("interval_us", Int64, nullable=False),
    Column("action", SmallInteger, nullable=False),
    Column("price", Exact, nullable=False),
    Column("known_at_us", Int64, nullable=False),
    Column("features", Text, nullable=False),  # JSON
    Column("state", Text, nullable=False),  # `pending`, `posted` or `refused`
    Column("receipt_id", Text),
    Column("refusal", Text),
    Column("settled_at_us", Int64),
    Index("signals_pending", "ordinal", sqlite_where=text("state = 'pending'"),
          postgresql_where=text("state = 'pending'")),
)  # fmt: skip
"""A signal, stored before it is posted. `symbol` is the portfolios' name of it, `venue:symbol` (what was posted before
version 0003 of the tables has the venue's own); `price` the close of its bar; `known_at_us` the end of its bar;
`settled_at_us` when it was posted or refused."""
