"""Batches of signals: digests, identities, bytes."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from xxhash import xxh64_intdigest

from raysignal.engine.core.columns import SignalBatch, TextColumn
from raysignal.engine.core.digests import digest_names
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.intake import Reading, read_batch

SIGNALS = [
    Signal("BTC", 3_000_000, Action.BUY, 95439.81, features={"rsi": 30.5, "mood": "calm"}),
    Signal(
        "ETH", 1_000_000, Action.SELL, 2_500.0, source="desk", signal_id="own", features={"mood": "ñandú 😀"}
    ),
    Signal("BTC", 2_000_000, Action.HOLD, 1e-9, features={"rsi": -0.0}),
    Signal("BTC", 2_000_000, Action.BUY, 5.0, features={"mood": 7.0}),
]


@pytest.mark.parametrize(
    ("text", "seed", "digest"),
    [
        ("", 0, 0xEF46DB3751D8E999),
        ("a", 0, 0xD24EC4F1A98C6E5B),
        ("abc", 0, 0x44BC2CF5AD770999),
        ("Nobody inspects the spammish repetition", 0, 0xFBCEA83C8A378BF1),
        ("xxhash", 20_141_025, 13_067_679_811_253_438_005),
    ],
)
def test_digests_of_names_are_xxh64(text: str, seed: int, digest: int) -> None:
    assert digest_names(["before", text, "after"], seed)[1] == digest


def test_keys_of_texts_are_xxh64_at_every_length_and_place() -> None:
    texts = ["".join(chr(33 + (7 * k + length) % 90) for k in range(length)) for length in range(100)]
    column = TextColumn.of(["before", *texts, "after"])

    assert column.keys()[1:-1].tolist() == [
        [xxh64_intdigest(text.encode(), 0), xxh64_intdigest(text.encode(), 1)] for text in texts
    ]


def test_a_text_column_is_read_taken_and_joined() -> None:
    column = TextColumn.of(["a", None, "ñ😀", ""])
    assert column.to_list() == ["a", "", "ñ😀", ""]
    assert (len(column), column[2], column[3]) == (4, "ñ😀", "")
    assert column.take(np.array([2, 0, 0])).to_list() == ["ñ😀", "a", "a"]
    assert TextColumn.concat([column, TextColumn.empty(2), column.take(np.array([2]))]).to_list()[4:] == [
        "",
        "",
        "ñ😀",
    ]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_a_text_column_comes_from_arrow_and_goes_back(kind: pa.DataType) -> None:
    whole = pa.array(["zero", None, "ñ", "", "four"], kind)
    for array in (whole, whole.slice(1, 3), pa.chunked_array([whole, whole.slice(4)]), pa.array([], kind)):
        column = TextColumn.of_arrow(array)
        assert column.to_list() == [text or "" for text in array.to_pylist()]
        assert column.to_arrow().to_pylist() == column.to_list()


def test_a_batch_gives_its_signals_back() -> None:
    batch = SignalBatch.of_signals(SIGNALS)
    for place, signal in enumerate(SIGNALS):
        again = batch.signal(place)
        assert again.features == signal.features
        assert (again.symbol, again.source, again.timestamp_us) == (
            signal.symbol,
            signal.source,
            signal.timestamp_us,
        )
        assert (again.action, again.price) == (signal.action, signal.price)
        assert again.signal_id == (signal.signal_id or batch.signal_id[place])
    assert batch.derived.tolist() == [True, False, True, True]


def test_a_derived_id_says_source_symbol_time_and_action_and_nothing_else() -> None:
    base = Signal("BTC", 1, Action.BUY, 5.0)
    ids = SignalBatch.of_signals(
        [
            base,
            Signal("BTC", 1, Action.BUY, 6.0, features={"x": 1.0}),
            Signal("ETH", 1, Action.BUY, 5.0),
            Signal("BTC", 2, Action.BUY, 5.0),
            Signal("BTC", 1, Action.SELL, 5.0),
            Signal("BTC", 1, Action.BUY, 5.0, source="desk"),
        ]
    ).signal_id.to_list()
    assert ids[0] == ids[1]
    assert len(set(ids)) == 5
    assert all(len(signal_id) == 32 and set(signal_id) <= set("0123456789abcdef") for signal_id in ids)


def test_any_change_of_content_changes_its_digest() -> None:
    def digest(**change: object) -> int:
        values: dict[str, object] = {
            "symbol": "BTC", "timestamp_us": 1, "action": Action.BUY, "price": 5.0, "features": {"x": 1.0, "y": "one"},
        } | change  # fmt: skip
        return int(SignalBatch.of_signals([Signal(**values)]).content[0])  # type: ignore[arg-type]

    digests = [
        digest(), digest(symbol="ETH"), digest(timestamp_us=2), digest(action=Action.SELL), digest(price=5.000001),
        digest(source="desk"), digest(features={"x": 1.0}), digest(features={"x": "1.0", "y": "one"}),
        digest(features={"x": "one", "y": 1.0}), digest(features={"x": 1.0, "z": "one"}), digest(features={}),
    ]  # fmt: skip
    assert len(set(digests)) == len(digests)
    assert digest(signal_id="own") == digest()
    assert digest(features={"y": "one", "x": 1.0}) == digest()


def test_zero_has_two_signs_and_one_meaning() -> None:
    one, other = (
        SignalBatch.of_signals([Signal("BTC", 1, Action.BUY, 5.0, features={"x": x})]) for x in (0.0, -0.0)
    )
    assert one.content[0] == other.content[0]


def test_a_name_whose_digest_is_beyond_63_bits_is_a_name_like_any_other() -> None:
    names = [f"feature {i}" for i in range(64)]
    batch = SignalBatch.of_signals(
        [Signal("BTC", 1, Action.BUY, 5.0, features={name: 1.0}) for name in names]
    )
    assert len(set(batch.content.tolist())) == 64


def test_a_batch_of_nothing_is_a_batch() -> None:
    empty = SignalBatch.of_signals([])
    assert len(empty) == len(empty.in_time()) == len(SignalBatch.decode(empty.encode())) == 0
    assert len(empty.take(np.empty(0, np.int64))) == 0
    assert SignalBatch.concat([empty, SignalBatch.of_signals(SIGNALS)]).signal(1).signal_id == "own"


def test_features_without_any_value_are_dropped() -> None:
    batch = SignalBatch.of(
        timestamp_us=np.array([1]), action=np.array([1], np.int8), price=np.array([5.0]),
        symbol=np.array([0], np.int32), symbols=["BTC"], source=np.array([0], np.int32), sources=["desk"],
        numbers={"x": np.array([np.nan])}, texts={"y": TextColumn.empty(1)},
    )  # fmt: skip
    assert (batch.numbers, batch.texts) == ({}, {})


def test_in_time_is_stable_and_leaves_what_is_in_time() -> None:
    batch = SignalBatch.of_signals(SIGNALS)
    assert batch.in_time().row.tolist() == [1, 2, 3, 0]
    assert batch.in_time().in_time() is not batch
    ordered = batch.in_time()
    assert ordered.in_time() is ordered


def test_without_features_the_rest_is_decoded() -> None:
    batch = SignalBatch.decode(SignalBatch.of_signals(SIGNALS).encode(), features=False)
    assert (batch.numbers, batch.texts) == ({}, {})
    assert batch.signal(1) == Signal("ETH", 1_000_000, Action.SELL, 2_500.0, "desk", "own", {})


def test_long_texts_are_packed_and_come_back() -> None:
    text = "the same again and " * 500
    batch = SignalBatch.of_signals(
        [Signal("BTC", i, Action.BUY, 5.0, features={"t": text}) for i in range(20)]
    )
    data = batch.encode()
    assert len(data) < 20 * len(text) / 4
    again = SignalBatch.decode(memoryview(data))
    assert again.texts["t"].to_list() == [text] * 20
    assert again.encode() == data


def test_bytes_of_another_format_are_refused() -> None:
    data = bytearray(SignalBatch.of_signals(SIGNALS).encode())
    data[5] = 99
    with pytest.raises(ValueError, match="format 99"):
        SignalBatch.decode(bytes(data))


def test_a_batch_travels_between_processes() -> None:
    batch = SignalBatch.of_signals(SIGNALS)
    assert pickle.loads(pickle.dumps(batch)).encode() == batch.encode()


def test_bytes_are_the_same_however_the_texts_lie_in_memory() -> None:
    rows = "\n".join(
        f'{{"timestamp": {json.dumps(f"2025-01-01T00:{row:02d}:00Z")}, "price": 1, "signal": 1, '
        f'"b": "{row} {"x" * 900}", "a": "{row} {"y" * 900}", "c": "{"z" * (row % 2)}"}}'
        for row in range(60)
    )
    together = read_batch(rows.encode(), "application/x-ndjson", Reading()).batch
    apart = together.take(np.arange(len(together)))
    mixed = replace(together, texts=dict(together.texts, b=apart.texts["b"]))
    turned = replace(
        together,
        texts={
            name: TextColumn(column.data.copy(), column.offsets) for name, column in together.texts.items()
        },
    )

    assert [each.encode() for each in (apart, mixed, turned)] == [together.encode()] * 3
    for name, column in SignalBatch.decode(together.encode()).texts.items():
        assert column.to_list() == together.texts[name].to_list()
    some = together.take(np.arange(0, 60, 7))
    part = replace(together, texts={name: together.texts[name] for name in ("b", "c")})
    for batch in (some, part):
        again = SignalBatch.decode(batch.encode())
        assert {name: column.to_list() for name, column in again.texts.items()} == {
            name: column.to_list() for name, column in batch.texts.items()
        }
