import pytest

from raysignal.engine.core.errors import InvalidField
from raysignal.serve.query import Query


def test_values_are_unquoted() -> None:
    query = Query(b"symbol=BTC%2FUSD&limit=5", ("symbol", "limit"))
    assert query.text("symbol") == "BTC/USD"
    assert query.whole("limit", 1, low=1, high=10) == 5


def test_what_is_not_given_has_its_default() -> None:
    query = Query(b"", ("a",))
    assert query.text("a") is None
    assert not query.flag("a")
    assert query.whole("a", 7, low=1, high=10) == 7
    assert query.choice("a", ("x", "y")) == "x"


@pytest.mark.parametrize("text", [b"porfolio=x", b"=x", b"a=1&b=2", b"portfolio", b"%FF=1"])
def test_an_unknown_name_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidField):
        Query(text, ("a",))


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(InvalidField, match="once"):
        Query(b"a=1&a=1", ("a",))


@pytest.mark.parametrize("value", ["", "1", "True", "yes"])
def test_a_flag_is_true_or_false_and_nothing_else(value: str) -> None:
    query = Query(f"f={value}".encode(), ("f",))
    with pytest.raises(InvalidField):
        query.flag("f")


@pytest.mark.parametrize("value", ["", "0", "11", "-1", "1.0", "1e1", "%D9%A1", "9" * 400])
def test_a_whole_number_lies_within_its_bounds(value: str) -> None:
    query = Query(f"n={value}".encode(), ("n",))
    with pytest.raises(InvalidField):
        query.whole("n", 1, low=1, high=10)


def test_an_empty_value_is_refused() -> None:
    with pytest.raises(InvalidField, match="a is ''"):
        Query(b"a=", ("a",)).text("a")
