import pytest

from raysignal.experiments.formats import (
    bp,
    counted,
    horizon_words,
    interval,
    is_ruined,
    listed,
    p_value,
    percent,
    share_interval,
    total_return,
)

NAN = float("nan")


def test_numbers_are_written_for_people():
    assert [bp(value) for value in (1.234, -12.34, 0.001, -0.004)] == ["+1.23", "-12.3", "0.00", "0.00"]
    assert bp(3.0, sign=False) == "3.00"
    assert percent(0.1234) == "12.3%"
    assert [p_value(value) for value in (0.0371, 0.0009)] == ["0.037", "< 0.001"]
    assert [counted(1, "BUY"), counted(1_200, "BUY")] == ["1 BUY", "1,200 BUYs"]
    assert [listed(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


def test_where_there_is_no_number_none_is_shown():
    assert [bp(None), bp(NAN), percent(None), percent(NAN), total_return({})] == ["—"] * 5
    assert [interval(NAN, NAN), share_interval(NAN, NAN)] == ["—"] * 2
    assert [interval(0.5, 1.5), share_interval(0.4, 0.61)] == ["+0.50 to +1.50", "40% to 61%"]


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        ({"total_return": -0.702}, "-70.2%"),
        ({"total_return": -0.9994}, "-99.9%"),
        ({"total_return": -0.999999}, "< -99.9%"),  # nearly all is lost, which is not all
        ({"total_return": -1.0}, "ruined"),
        ({"total_return": -2.5}, "ruined"),
        ({"total_return": -0.4, "ruined": True}, "ruined"),  # below zero on the way
        ({"total_return": None, "ruined": True}, "ruined"),
        ({"total_return": 0.0001}, "0.0%"),
        ({"total_return": 3048.704}, "+304,870%"),
        ({"total_return": None}, "—"),
    ],
)
def test_a_total_return_is_never_rounded_to_a_whole_loss(figures, says):
    assert total_return(figures) == says
    assert is_ruined(figures) == (says == "ruined")


@pytest.mark.parametrize(
    ("horizon", "says"),
    [
        ("6b", "over 6 bars"),
        ("1b", "over 1 bar"),
        ("5400s", "over 90 minutes"),
        ("86400s", "over 1 day"),
        ("7200s", "over 2 hours"),
        ("close", "until the opposite signal"),
        ("anything", "over anything"),
    ],
)
def test_a_horizon_is_told_in_words(horizon, says):
    assert horizon_words(horizon) == says
