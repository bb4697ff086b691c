"""Where texts end and what they are, whatever their place in the runs of bytes that are read at once."""

import json

import pytest

from raysignal.engine.core.errors import UnreadableInput
from raysignal.engine.intake import Reading, read_batch
from raysignal.engine.intake.json_rows import line_blocks
from raysignal.engine.intake.source import as_bytes
from raysignal.engine.intake.tables import take_in

READING = Reading()
LONGEST = 100
ROW = {"timestamp": "2025-02-24T00:00:00Z", "price": 1.0, "signal": 1}


def lines(notes: list[str], *, ascii_only: bool = True) -> bytes:
    rows = [ROW | {"symbol": f"S{number}", "note": note} for number, note in enumerate(notes)]
    return "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows).encode()


def notes_of(body: bytes) -> list[str]:
    intake = read_batch(body, "application/x-ndjson", READING)
    assert intake.errors == []
    return intake.batch.texts["note"].to_list()


def test_a_text_of_any_length_ends_at_its_quote():
    notes = ["x" * length for length in range(1, LONGEST)]

    assert notes_of(lines(notes)) == notes


@pytest.mark.parametrize("mark", ['"', "\\", "\n", "ñ", "😀", "~", "!"])
def test_a_mark_is_found_wherever_it_stands_in_a_text(mark: str):
    notes = ["x" * place + mark + "y" * (LONGEST - place) for place in range(LONGEST)]

    assert notes_of(lines(notes)) == notes
    assert notes_of(lines(notes, ascii_only=False)) == notes


@pytest.mark.parametrize("control", [1, 9, 10, 31])
def test_a_control_character_is_refused_wherever_it_stands_in_a_text(control: int):
    bodies = [lines(["x" * place + "|" + "y" * 40]).replace(b"|", bytes([control])) for place in range(70)]

    for body in bodies:
        assert read_batch(body, "application/x-ndjson", READING).batch.texts == {}


def test_names_that_differ_in_any_one_character_are_different_features():
    names = ["n" * length for length in range(1, 40)]
    names += ["n" * place + "m" + "n" * (20 - place) for place in range(20)]
    row = ROW | {name: float(number) for number, name in enumerate(names)}
    body = "\n".join([json.dumps(row), json.dumps(dict(reversed(row.items())))]).encode()

    numbers = read_batch(body.replace(b"00:00Z", b"00:01Z", 1), "application/x-ndjson", READING).batch.numbers

    assert {name: values.tolist() for name, values in numbers.items()} == {
        name: [number, number] for number, name in enumerate(names)
    }


@pytest.mark.parametrize("blanks", [0, 1, 8, 9, 10, 40])
@pytest.mark.parametrize(
    ("written", "number"), [("nan", None), ("NaN", None), ("12", 12.0), ("-1e3", -1000.0), ("", None)]
)
def test_blanks_behind_a_word_do_not_make_it_a_text(written: str, number: float | None, blanks: int):
    body = lines([written + " " * blanks, " " * blanks + written + " " * blanks])

    batch = read_batch(body, "application/x-ndjson", READING).batch

    assert batch.texts == {}
    assert [values.tolist() for values in batch.numbers.values()] == (
        [] if number is None else [[number] * 2]
    )


@pytest.mark.parametrize("infinite", ["inf", "-Infinity"])
def test_an_infinite_feature_with_blanks_behind_it_is_refused(infinite: str):
    body = lines([infinite + " " * 40, "x" * 60])

    assert [error.fields["row"] for error in read_batch(body, "application/x-ndjson", READING).errors] == [0]


@pytest.mark.parametrize("row", [0, 5, 11])
def test_a_byte_that_is_not_unicode_is_found_in_any_window(row: int):
    body = lines(["x" * 50] * 12)
    at = body.replace(b"\n", b" ", row).find(b"\n") - 5 if row < 11 else len(body) - 5
    damaged = body[:at] + b"\xe9" + body[at + 1 :]

    with pytest.raises(UnreadableInput, match=f"byte {at} is 0xe9"):
        take_in(line_blocks(as_bytes(damaged), window=200), READING)
