"""Levels and messages however they are written: exact, or refused; compact or loose, they mean the same."""

import json
import random

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysignal.engine.core.errors import UnreadableInput
from raysignal.engine.core.market_events import Channel
from raysignal.engine.market.venues.answers import UNREADABLE
from raysignal.engine.market.venues.levels import read_levels
from raysignal.engine.market.venues.numbers import exact, exact_numbers
from raysignal.engine.market.venues.tracker import MOST_BYTES
from tests.support.effort import examples
from tests.support.market_speech import SPEECHES, START_MS, Speech, market

_TEXTS = st.one_of(
    st.from_regex(r"\A[0-9]{0,20}(\.[0-9]{0,20})?\Z"),
    st.sampled_from(
        ["", ".", "0", "00", "0.", ".5", "-1", "1e5", "999999999999999999", "1000000000000000000", "\uff11"]
    ),
    st.decimals(0, 10**9, places=3).map(str),
)
_LEVELS = st.lists(st.lists(_TEXTS, min_size=1, max_size=5), max_size=5)


def _plainly(levels: list[list[str]]) -> list[list[int]] | None:
    """What the levels are by `exact`, None if they are to be refused."""
    try:
        read = [[exact(level[0], 2), exact(level[1], 3)] for level in levels if 2 <= len(level) <= 4]
    except UnreadableInput:
        return None
    return read if len(read) == len(levels) and all(price for price, _ in read) else None


@given(_LEVELS)
def test_levels_are_exact_or_refused_however_they_are_written(levels: list[list[str]]) -> None:
    wanted = _plainly(levels)
    compact = msgspec.json.encode(levels)
    for raw in (compact, msgspec.json.format(compact, indent=1), msgspec.json.format(compact, indent=-1)):
        if wanted is None:
            with pytest.raises(UNREADABLE):
                read_levels(msgspec.Raw(raw), 2, 3)
        else:
            assert read_levels(msgspec.Raw(raw), 2, 3).tolist() == wanted


@pytest.mark.parametrize(
    "raw", [b"[]", b"[ ]", b'[["1","2"]]', b'[["1.00","2"],["3","0.001","0","4"]]', b'[["1","2","x"]]']
)
def test_levels_of_every_shape_are_rows_of_int64(raw: bytes) -> None:
    levels = read_levels(msgspec.Raw(raw), 2, 3)
    assert levels.dtype == np.int64
    assert levels.shape == (raw.count(b'["'), 2)
    assert levels.flags.c_contiguous


@pytest.mark.parametrize("raw", [b"null", b"5", b'"x"', b"{}", b"[1]", b"[[]]", b'[["1",2]]', b'[["0","1"]]'])
def test_what_is_no_list_of_levels_is_refused(raw: bytes) -> None:
    with pytest.raises(UNREADABLE):
        read_levels(msgspec.Raw(raw), 2, 3)


@pytest.mark.parametrize(
    ("text", "decimals", "ticks"),
    [
        ("0", 2, 0), ("61837.63000000", 2, 6_183_763), ("0.00000001", 8, 1), ("007.5", 1, 75),
        ("999999999999999999", 0, 10**18 - 1),
    ],
)  # fmt: skip
def test_a_decimal_is_a_count_of_its_last_place(text: str, decimals: int, ticks: int) -> None:
    assert exact(text, decimals) == exact_numbers(decimals)[text] == ticks


@pytest.mark.parametrize(
    "text",
    ["0.001", "1.", ".1", "", "-1", "+1", "1e2", "\uff11", "1_0", "10000000000000000", "1.2.3", 5, None],
)
def test_a_decimal_that_is_not_exact_is_refused(text: object) -> None:
    with pytest.raises(UnreadableInput):
        exact(text, 2)


def test_numbers_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysignal.engine.market.venues.numbers.MOST_REMEMBERED", 10)
    numbers = exact_numbers(7)
    assert [numbers[str(number)] for number in range(100)] == [10**7 * number for number in range(100)]
    assert len(numbers) <= 10


def _said(speech: Speech, seed: int) -> list[bytes]:
    """Some of everything that a venue says."""
    steps = list(market(speech, seed, 6))
    said = [step.raw for step in steps] + speech.snapshot(steps[-1])
    said += [
        speech.trade(str(seed), 100_000 + seed, 7, 1 - 2 * (seed % 2), START_MS),
        speech.quote(99_999, seed, 100_001, 10**11, seed, START_MS),
        speech.kline(START_MS, (1, 2, 1, 2), 5, closed=True),
        speech.acknowledgement,
        speech.refusal,
    ]
    return said


def _written_otherwise(raw: bytes) -> bytes | None:
    """The same values in other words; None where it is no JSON, or has a key twice, of which one would be lost."""
    try:
        json.loads(raw, object_pairs_hook=_unique)
        return msgspec.json.format(msgspec.json.encode(msgspec.json.decode(raw)), indent=1)
    except (*UNREADABLE, ValueError):
        return None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


def _is_taken_alike(name: str, raw: bytes) -> bool:
    """Hear a message after a book is there, as it is and written otherwise; whether it could be read."""
    counts, events, books = [], [], []
    for each in (raw, _written_otherwise(raw)):
        if each is None:
            continue
        speech = SPEECHES[name]()
        steps = list(market(speech, 3, 3))
        tracker = speech.tracker(*Channel)
        for step in steps[:2]:
            tracker.receive(step.raw, 1)
        for body in speech.snapshot(steps[0]):
            if speech.by_request:
                tracker.snapshot(speech.instrument, body, 1)
            else:
                tracker.receive(body, 1)
        events.append(list(tracker.receive(each, 1)))
        counts.append(dict(tracker.counts))
        books.append(
            [side.tolist() for number in (0, 1) for side in tracker.book(speech.instrument).levels(number)]
        )
    if any(each["malformed"] for each in counts):
        assert all(each["malformed"] for each in counts)
        return False
    assert events[0] == events[-1]
    assert counts[0] == counts[-1]
    assert books[0] == books[-1]
    return True


_SPLICES = [
    b'"', b"\\", b",", b":", b"{", b"}", b"[", b"]", b"[[", b"]]", b"0", b"-", b".", b"e5", b"1e5", b" ", b"\n",
    b"null", b"true", b"\x00", b"\x7f", b"\xc3\xa9", b"\\u0041", b'""', b'"a":1,',
    b'"u":1,', b'"x":{"y":[1]},', b'"s":"ETHUSDT",', b'"s":"BTCUSDT",', b"000000000000000000",
    b"9999999999999999999", b"0.00", b'"b":[],',
]  # fmt: skip


@given(
    name=st.sampled_from(sorted(SPEECHES)),
    seed=st.integers(1, 50),
    which=st.integers(0, 30),
    cuts=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 3), st.sampled_from([b"", *_SPLICES])),
        min_size=1,
        max_size=3,
    ),
)
def test_a_damaged_message_is_refused_or_means_what_it_says_however_it_is_written(
    name: str, seed: int, which: int, cuts: list[tuple[float, int, bytes]]
) -> None:
    said = _said(SPEECHES[name](), seed)
    raw = said[which % len(said)]
    for place, gone, splice in cuts:
        at = int(place * len(raw))
        raw = raw[:at] + splice + raw[at + gone :]
    _is_taken_alike(name, raw)


def test_many_random_bytes_changed_are_refused_or_read_alike() -> None:
    random_ = random.Random(7)
    read = 0
    for name in sorted(SPEECHES):
        said = _said(SPEECHES[name](), 3)
        for _ in range(examples(300)):
            raw = bytearray(random_.choice(said))
            for _ in range(random_.choice((1, 1, 1, 2, 3))):
                raw[random_.randrange(len(raw))] = random_.choice(b'0123456789"-.,:[]{}eE \\atfn')
            read += _is_taken_alike(name, bytes(raw))
    assert read > examples(200)


def test_a_long_message_is_read() -> None:
    speech = SPEECHES["bybit"]()
    speech.ids = {"u": 1, "seq": 6}
    bids = {price: price for price in range(1, 30_000)}
    asks = {price + 30_000: price for price in bids}
    tracker = speech.tracker()
    assert len(tracker.receive(speech.change(bids, asks, START_MS), 1)) == 1
    assert tracker.book(speech.instrument).counts == (len(bids), len(asks))


def test_a_message_beyond_all_bounds_is_refused() -> None:
    tracker = SPEECHES["bybit"]().tracker()
    tracker.receive(b"{}" + b" " * MOST_BYTES, 1)
    assert tracker.counts["malformed"] == 1


def test_another_symbol_and_another_kind_are_elsewhere() -> None:
    speech = SPEECHES["binance"]()
    raw = speech.trade("5", 100_000, 7_000, 1, START_MS)
    for other in (raw.replace(b"BTCUSDT", b"XRPUSDT"), raw.replace(b"@trade", b"@miniTicker")):
        tracker = speech.tracker()
        assert not tracker.receive(other, 1)
        assert tracker.counts["unknown"] == 1
