"""The compiled reader and the slow lane: where the first answers at all, both say the same, damaged or not."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysignal.engine.core.errors import UnreadableInput
from raysignal.engine.market.reader import Reader, decode
from raysignal.engine.market.shapes import Elsewhere, MessageValues, Symbol, exact
from raysignal.engine.market.venues.binance import SPOT, USDM
from raysignal.engine.market.venues.bybit import BybitDialect
from raysignal.engine.market.venues.okx import OkxDialect
from tests.support.effort import examples
from tests.support.market_speech import SPEECHES, START_MS, Speech, market

DIALECTS = {
    "binance": SPOT.dialect,
    "binance-usdm": USDM.dialect,
    "okx": OkxDialect(),
    "bybit": BybitDialect(),
}


def _reader(name: str) -> Reader:
    dialect, speech = DIALECTS[name], SPEECHES[name]()
    roots = [dialect.stream] if dialect.depth is None else [dialect.stream, dialect.depth]
    others = [Symbol("ETHUSDT", 4, 8), Symbol("1000000MOGUSDT-LONG", 0, 0)]
    return Reader(roots, [*others, Symbol(speech.symbol, speech.price_decimals, speech.size_decimals)])


READERS = {name: _reader(name) for name in DIALECTS}


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


def _values(record: MessageValues) -> dict[str, Any]:
    """A record without how it is laid out."""
    rows = [
        (*row[:2], record.text[row[2] : row[3]], *row[4:]) for row in record.rows if any(row)
    ]  # fmt: skip
    return {"head": record.head, "rows": rows, "bids": record.bids, "asks": record.asks}


def _lanes_agree(reader: Reader, raw: bytes, root: int = 0, row: int = -1) -> bool:
    """Whether the compiled reader answered; if it did, the slow lane says the same."""
    fast = reader.read_fast(raw, root, row)
    if fast is None:
        return False
    slow = reader.read_slow(decode(raw), root, row)
    assert _values(fast) == _values(slow)
    reader.put(slow)
    return True


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_what_venues_say_is_read_by_the_compiled_reader(name: str) -> None:
    reader = READERS[name]
    for seed in range(1, 20):
        speech = SPEECHES[name]()
        steps = list(market(speech, seed, 6))
        for raw in [step.raw for step in steps]:
            assert _lanes_agree(reader, raw)
        assert _lanes_agree(reader, speech.trade("5", 100_000, 7, 1, START_MS))
        assert _lanes_agree(reader, speech.quote(99_999, 1, 100_001, 2, 5, START_MS))
        if speech.by_request:
            assert _lanes_agree(reader, speech.snapshot(steps[-1])[0], 1, 2)


_SPLICES = [
    b'"', b"\\", b",", b":", b"{", b"}", b"[", b"]", b"[[", b"]]", b"0", b"-", b".", b"e5", b"1e5", b" ", b"\n",
    b"null", b"true", b"\x00", b"\x7f", b"\x80", b"\xc3\xa9", b"\\u0041", b'""', b'"a":1,',
    b'"u":1,', b'"x":{"y":[1]},', b'"s":"ETHUSDT",', b'"s":"BTCUSDT",', b"000000000000000000",
    b"9999999999999999999", b"0.00", b'"b":[],',
]  # fmt: skip


@given(
    name=st.sampled_from(sorted(DIALECTS)),
    seed=st.integers(1, 50),
    which=st.integers(0, 30),
    cuts=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 3), st.sampled_from([b"", *_SPLICES])),
        min_size=1,
        max_size=3,
    ),
)
def test_damaged_messages_are_refused_or_read_alike(
    name: str, seed: int, which: int, cuts: list[tuple[float, int, bytes]]
) -> None:
    said = _said(SPEECHES[name](), seed)
    raw = said[which % len(said)]
    for place, gone, splice in cuts:
        at = int(place * len(raw))
        raw = raw[:at] + splice + raw[at + gone :]
    _lanes_agree(READERS[name], raw)
    if DIALECTS[name].depth is not None:
        _lanes_agree(READERS[name], raw, 1, 2)


def test_many_random_bytes_changed_are_refused_or_read_alike() -> None:
    """Thousands of single bytes, because most of them are refused at once."""
    random_ = random.Random(7)
    answered = 0
    for name, reader in READERS.items():
        said = _said(SPEECHES[name](), 3)
        for _ in range(examples(8_000)):
            raw = bytearray(random_.choice(said))
            for _ in range(random_.choice((1, 1, 1, 2, 3))):
                raw[random_.randrange(len(raw))] = random_.choice(b'0123456789"-.,:[]{}eE \\atfn\xe9')
            answered += _lanes_agree(reader, bytes(raw))
    assert answered > examples(2_000)


_TEXTS = st.one_of(
    st.from_regex(r"\A[0-9]{0,20}(\.[0-9]{0,20})?\Z"),
    st.sampled_from(
        ["", ".", "0", "00", "0.", ".5", "-1", "1e5", "999999999999999999", "1000000000000000000"]
    ),
    st.decimals(0, 10**9, places=3).map(str),
)


@given(price=_TEXTS, size=_TEXTS)
def test_decimals_are_exact_or_refused_in_both_lanes(price: str, size: str) -> None:
    raw = SPEECHES["bybit"]().trade("5", 100_000, 7_000, 1, START_MS)
    raw = raw.replace(b'"1000.00"', b'"%s"' % price.encode()).replace(b'"7.000"', b'"%s"' % size.encode())
    answered = _lanes_agree(READERS["bybit"], raw)
    try:
        wanted = exact(price, 2), exact(size, 3)
    except UnreadableInput:
        assert not answered
        return
    (row,) = READERS["bybit"].read_slow(decode(raw)).rows
    assert tuple(row[:2]) == wanted


@pytest.mark.parametrize(
    ("text", "decimals", "ticks"),
    [
        ("0", 2, 0), ("61837.63000000", 2, 6_183_763), ("0.00000001", 8, 1), ("007.5", 1, 75),
        ("999999999999999999", 0, 10**18 - 1),
    ],
)  # fmt: skip
def test_a_decimal_is_a_count_of_its_last_place(text: str, decimals: int, ticks: int) -> None:
    assert exact(text, decimals) == ticks


@pytest.mark.parametrize(
    "text", ["0.001", "1.", ".1", "", "-1", "+1", "1e2", "\uff11", "1_0", "10000000000000000", 5, None]
)
def test_a_decimal_that_is_not_exact_is_refused(text: object) -> None:
    with pytest.raises(UnreadableInput):
        exact(text, 2)


def test_a_long_message_makes_room_for_itself() -> None:
    speech = SPEECHES["bybit"]()
    speech.ids = {"u": 5, "seq": 6}
    many = {price: price for price in range(1, 30_000)}
    raw = speech.change(many, many, START_MS)
    record = READERS["bybit"].read_fast(raw)
    assert record is not None
    assert dict(record.bids) == dict(record.asks) == many


def test_a_message_beyond_all_bounds_is_refused() -> None:
    with pytest.raises(UnreadableInput, match="16777216"):
        READERS["bybit"].load(b" " * ((1 << 24) + 1))


def test_another_symbol_and_another_kind_are_elsewhere() -> None:
    speech = SPEECHES["binance"]()
    raw = speech.trade("5", 100_000, 7_000, 1, START_MS)
    for other in (raw.replace(b"BTCUSDT", b"XRPUSDT"), raw.replace(b"@trade", b"@forceOrder")):
        assert READERS["binance"].read_fast(other) is None
        with pytest.raises(Elsewhere):
            READERS["binance"].read_slow(decode(other))
