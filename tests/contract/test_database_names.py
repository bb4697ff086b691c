"""A database from before feeds were named `venue:symbol`: whose signal is whose, once it is opened again."""

from sqlalchemy import create_engine, event, text

from raysignal.engine.core.signals import Action
from raysignal.engine.database.addresses import SQLITE, kind_of, sqlite_path
from raysignal.engine.database.database import open_database
from raysignal.engine.database.migrate import upgrade
from raysignal.engine.execution.policy import TargetOutcome
from raysignal.engine.execution.store import OrderStore
from raysignal.engine.market.signal_rows import pending_signals
from tests.support.order_world import instruction

_SIGNAL = text(
    "INSERT INTO signals (signal_id, strategy, venue, symbol, bar_open_us, interval_us, action, price, known_at_us,"
    " features, state) VALUES (:id, 'sma-5-20', :venue, 'BTCUSDT', 0, 60, 1, '100', :at, '{}', :state)"
)
_TAKEN = text(
    "INSERT INTO order_signals (account, signal_id, strategy, symbol, action, price, known_at_us, outcome)"
    " VALUES (:account, :id, 'sma-5-20', 'BTCUSDT', 1, '100', :at, :outcome)"
)


def identity(venue: str, number: int) -> str:
    return f"sma-5-20:{venue}:BTCUSDT:trades:1m:{number}"


def make_old(address: str) -> None:
    """Two feeds of one symbol in one database, as the version before left them: each had taken the other's signals."""
    if kind_of(address) == SQLITE:
        engine = create_engine(f"sqlite:///{sqlite_path(address)}")
        event.listen(engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    else:
        engine = create_engine(f"postgresql+psycopg://{address.partition('://')[2]}")
    upgrade(engine, address, "0002")
    with engine.begin() as connection:
        for number, (venue, state) in enumerate(
            [("binance", "posted"), ("bybit", "posted"), ("binance", "pending"), ("bybit", "pending")]
        ):
            connection.execute(
                _SIGNAL, {"id": identity(venue, number), "venue": venue, "at": number, "state": state}
            )
        for account, venue, number, outcome in [
            ("paper:binance:BTCUSDT", "binance", 0, "ordered"),
            ("paper:bybit:BTCUSDT", "binance", 0, "ordered"),  # another feed's signal, traded a second time
            ("paper:binance:BTCUSDT", "bybit", 1, "ordered"),  # and one that its own feed never traded
            ("paper:binance:BTCUSDT", "binance", 2, None),
            ("paper:binance:BTCUSDT", "bybit", 3, None),
        ]:
            connection.execute(
                _TAKEN,
                {"account": account, "id": identity(venue, number), "at": number, "outcome": outcome},
            )
    engine.dispose()


def test_what_waits_goes_on_under_the_new_name_and_what_was_posted_keeps_its_own(address: str) -> None:
    make_old(address)
    database = open_database(address)
    with database.reading() as connection:
        waiting = pending_signals(connection, "sma-5-20:binance:BTCUSDT:trades:1m:")
        names = connection.execute(text("SELECT symbol FROM signals ORDER BY ordinal")).scalars().all()
    assert [made.signal.symbol for made in waiting] == ["binance:BTCUSDT"]
    assert names == ["BTCUSDT", "BTCUSDT", "binance:BTCUSDT", "bybit:BTCUSDT"]
    database.close()


def test_a_feed_trades_its_own_signals_alone_and_none_that_was_traded_before(address: str) -> None:
    make_old(address)
    database = open_database(address)
    binance = OrderStore(database, "paper:binance:BTCUSDT")
    bybit = OrderStore(database, "paper:bybit:BTCUSDT")
    assert [(each.signal_id, each.symbol) for each in binance.waiting()] == [
        (identity("binance", 2), "binance:BTCUSDT"),
        (identity("bybit", 3), "BTCUSDT"),  # which is none of its symbols any more
    ]
    assert binance.latest_decided_us("binance:BTCUSDT") == 0
    assert binance.outcomes()[identity("bybit", 1)] is TargetOutcome.ORDERED
    taken = {
        number: bybit.take(instruction(identity("bybit", number), Action.BUY, symbol="bybit:BTCUSDT"))
        for number in (1, 3, 4)
    }
    assert taken == {1: False, 3: True, 4: True}
    database.close()
