"""Order books against a slow, obvious one: two dictionaries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysignal.engine.core.market_events import Instrument
from raysignal.engine.market.books import ASK, BID, OrderBook

ONE = Instrument("binance", "BTCUSDT")
_LEVEL = st.tuples(st.integers(1, 40) | st.integers(1, 10**17), st.sampled_from([0, 0, 1, 7, 10**17]))
_CHANGES = st.lists(st.tuples(st.lists(_LEVEL, max_size=30), st.lists(_LEVEL, max_size=30)), max_size=8)


class SlowBook:
    def __init__(self) -> None:
        self.sides: tuple[dict[int, int], dict[int, int]] = ({}, {})

    def change(self, *changes: list[tuple[int, int]]) -> None:
        for side, levels in zip(self.sides, changes, strict=True):
            for price, size in levels:
                side.pop(price, None)
                if size:
                    side[price] = size

    def levels(self, side: int) -> list[tuple[int, int]]:
        return sorted(self.sides[side].items(), reverse=side == BID)


def _pairs(found: tuple[np.ndarray, np.ndarray]) -> list[tuple[int, int]]:
    return list(zip(found[0].tolist(), found[1].tolist(), strict=True))


@given(_CHANGES, st.integers(0, 5))
def test_a_book_is_what_two_dictionaries_are(
    changes: list[tuple[list[tuple[int, int]], list[tuple[int, int]]]], count: int
) -> None:
    book, slow = OrderBook(ONE), SlowBook()
    for bids, asks in changes:
        book.change(bids, asks)
        slow.change(bids, asks)
        for side in (BID, ASK):
            assert _pairs(book.levels(side)) == slow.levels(side)
            assert _pairs(book.levels(side, count)) == slow.levels(side)[:count]
        tops = [(slow.levels(side) or [(0, 0)])[0] for side in (BID, ASK)]
        assert book.best == (*tops[0], *tops[1])
        assert book.crossed == bool(tops[0][0] and tops[1][0] and tops[0][0] > tops[1][0])
        assert book.counts == (len(slow.sides[BID]), len(slow.sides[ASK]))


@pytest.mark.parametrize(("bids", "asks"), [([(0, 1)], []), ([(-5, 1)], []), ([], [(5, -1)])])
def test_levels_that_cannot_be_are_refused_and_change_nothing(
    bids: list[tuple[int, int]], asks: list[tuple[int, int]]
) -> None:
    book = OrderBook(ONE)
    book.change([(5, 1)], [(7, 2)])
    with pytest.raises(ValueError, match="price is above 0"):
        book.change([*bids, (6, 1)], [*asks, (6, 1)])
    assert book.best == (5, 1, 7, 2)


def test_what_levels_gives_is_a_copy() -> None:
    book = OrderBook(ONE)
    book.change([(5, 1)], [(7, 2)])
    for side in (BID, ASK):
        for array in book.levels(side):
            array[:] = 99
    assert book.best == (5, 1, 7, 2)
