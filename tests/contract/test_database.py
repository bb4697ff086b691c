"""What every database keeps."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from sqlalchemy import func, insert, inspect, select, text, update
from sqlalchemy.exc import StatementError

from raysignal.engine.core.errors import DatabaseTooNew, StoreError
from raysignal.engine.database.checks import check_address
from raysignal.engine.database.database import Database, open_database
from raysignal.engine.database.migrate import head_revision
from raysignal.engine.market.tables import METADATA, PRICES


def price(at_us: int, value: str = "1", symbol: str = "BTCUSDT") -> dict[str, object]:
    return {"venue": "binance", "symbol": symbol, "at_us": at_us, "price": Decimal(value)}


def stored(database: Database) -> int:
    with database.reading() as connection:
        return connection.execute(select(func.count()).select_from(PRICES)).scalar_one()


def test_a_new_database_has_every_table_of_the_code_with_the_same_columns(database: Database) -> None:
    with database.reading() as connection:
        found = inspect(connection)
        for table in METADATA.sorted_tables:
            columns = {column["name"]: column for column in found.get_columns(table.name)}
            assert set(columns) == {column.name for column in table.columns}
            for column in table.columns:
                assert columns[column.name]["nullable"] == column.nullable, column
            keys = found.get_pk_constraint(table.name)["constrained_columns"]
            assert keys == [column.name for column in table.primary_key]


def test_opening_again_finds_what_was_stored(address: str) -> None:
    first = open_database(address)
    with first.writing() as connection:
        connection.execute(insert(PRICES), [price(1)])
    first.close()
    second = open_database(address)
    assert stored(second) == 1
    second.close()


def test_a_look_from_outside_says_what_is_there_and_changes_nothing(address: str) -> None:
    assert "has no tables yet" in check_address(address)
    assert "has no tables yet" in check_address(address)
    open_database(address).close()
    assert "has the tables of this version" in check_address(address)


def test_a_look_from_outside_finds_a_later_version(address: str) -> None:
    database = open_database(address)
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(DatabaseTooNew, match="9999"):
        check_address(address)


def test_many_may_open_a_new_database_at_once(address: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        opened = list(pool.map(open_database, [address] * 6))
    for number, database in enumerate(opened):
        with database.writing() as connection:
            connection.execute(insert(PRICES), [price(number)])
    assert [stored(database) for database in opened] == [6] * 6
    for database in opened:
        database.close()


def test_a_database_of_a_later_version_is_refused(address: str) -> None:
    database = open_database(address)
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(DatabaseTooNew, match=f"schema 9999.*schema {head_revision()}"):
        open_database(address)


def test_what_raises_in_a_transaction_undoes_all_of_it(database: Database) -> None:
    def half_done() -> None:
        with database.writing() as connection:
            connection.execute(insert(PRICES), [price(1)])
            raise LookupError

    with pytest.raises(LookupError):
        half_done()
    assert stored(database) == 0


def test_a_constraint_is_an_error_of_the_store_and_writes_nothing(database: Database) -> None:
    def twice() -> None:
        with database.writing() as connection:
            connection.execute(insert(PRICES), [price(1)])
            connection.execute(insert(PRICES), [price(1)])

    with pytest.raises(StoreError) as caught:
        twice()
    assert type(caught.value) is StoreError
    assert stored(database) == 0


@pytest.mark.parametrize(
    "value",
    [
        "0",
        "-0.0",
        "1.50",
        "0.000000000000000001",
        "123456789012345678901234567890.123456789012345678",
        "1E+5",
        "-7",
    ],
)
def test_a_decimal_comes_back_exactly(database: Database, value: str) -> None:
    with database.writing() as connection:
        connection.execute(insert(PRICES), [price(1, value)])
    with database.reading() as connection:
        found = connection.execute(select(PRICES.c.price)).scalar_one()
    assert found == Decimal(value)
    assert isinstance(found, Decimal)
    # And with as many digits after the point as it had; a zero has no sign.
    assert (
        found.as_tuple()
        == Decimal(value.lstrip("-") if value == "-0.0" else f"{Decimal(value):f}").as_tuple()
    )


@pytest.mark.parametrize("value", [1.5, 1, "1", Decimal("NaN"), Decimal("Infinity")])
def test_what_is_no_exact_number_is_refused(database: Database, value: object) -> None:
    with pytest.raises(StoreError), database.writing() as connection:
        connection.execute(insert(PRICES), [price(1) | {"price": value}])
    assert stored(database) == 0


@pytest.mark.parametrize("at_us", [0, -(2**63), 2**63 - 1])
def test_an_instant_has_64_bits(database: Database, at_us: int) -> None:
    with database.writing() as connection:
        connection.execute(insert(PRICES), [price(at_us)])
    with database.reading() as connection:
        assert connection.execute(select(PRICES.c.at_us)).scalar_one() == at_us


def test_an_insert_can_let_an_existing_row_be(database: Database) -> None:
    for value in ("1", "2"):
        with database.writing() as connection:
            connection.execute(database.insert(PRICES).on_conflict_do_nothing(), [price(1, value)])
    with database.reading() as connection:
        assert connection.execute(select(PRICES.c.price)).scalars().all() == [Decimal(1)]


def test_writers_at_once_wait_for_each_other_and_none_is_lost(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(insert(PRICES), [price(0, "0")])

    def add_one(_: int) -> None:
        # Read, then write: the lock has to be there from the start.
        with database.writing() as connection:
            row = select(PRICES.c.price).where(PRICES.c.at_us == 0).with_for_update()
            held = connection.execute(row).scalar_one()
            connection.execute(update(PRICES).values(price=held + 1))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add_one, range(40)))
    with database.reading() as connection:
        assert connection.execute(select(PRICES.c.price)).scalar_one() == 40


def test_a_reader_sees_one_state_while_others_write(database: Database) -> None:
    with database.reading() as reader:
        count = select(func.count()).select_from(PRICES)
        assert reader.execute(count).scalar_one() == 0
        with database.writing() as connection:
            connection.execute(insert(PRICES), [price(1)])
        assert reader.execute(count).scalar_one() == 0
    assert stored(database) == 1


def test_a_row_is_committed_before_the_block_is_left(address: str) -> None:
    one, other = open_database(address), open_database(address)
    with one.writing() as connection:
        connection.execute(insert(PRICES), [price(1)])
    assert stored(other) == 1
    one.close()
    other.close()


def test_a_statement_that_is_wrong_is_an_error_of_the_store(database: Database) -> None:
    with pytest.raises(StoreError) as caught, database.writing() as connection:
        connection.execute(text("SELECT * FROM nowhere"))
    assert type(caught.value) is StoreError
    assert isinstance(caught.value.__cause__, StatementError)
