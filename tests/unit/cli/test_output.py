"""Tables that fit where they are shown."""

import io
import json

import pytest
from rich.console import Console

from raysignal.cli.output import Output, escape, rows_table
from raysignal.cli.portfolios import _COLUMNS, _LEAST

ROW = {
    "timestamp": "2025-01-01T00:00:00.123456Z", "symbol": "BTCUSDT", "signal": "SELL", "price": 84250.512345,
    "executed": "SELL", "outcome": "closed_and_opened", "fill_quantity": -0.118693251, "fill_price": 84250.512345,
    "fee": 10.0012345, "equity": 1_234_567.891234, "signal_return": -0.00123456789,
}  # fmt: skip


def output_of(width: int) -> tuple[Output, io.StringIO]:
    stream = io.StringIO()
    return Output(out=Console(file=stream, width=width)), stream


@pytest.mark.parametrize("width", [70, 80, 120, 200])
def test_history_is_readable_however_narrow_it_is_shown(width):
    output, stream = output_of(width)
    shown = output.fitting(_COLUMNS, [ROW] * 3, _LEAST)
    output.table(rows_table(shown, [[ROW[name] for name in shown]] * 3))
    lines = [line for line in stream.getvalue().splitlines() if "2025-01-01T00:00:00.123456Z" in line]
    assert len(lines) == 3  # nothing is folded
    assert all(len(line) <= width for line in stream.getvalue().splitlines())
    assert {"timestamp", "signal", "executed", "equity"} <= set(shown)
    if width == 200:
        assert tuple(shown) == _COLUMNS


def test_what_matters_least_goes_first():
    kept = {width: output_of(width)[0].fitting(_COLUMNS, [ROW], _LEAST) for width in (90, 110, 130)}
    assert len(kept[90]) < len(kept[110]) < len(kept[130])
    assert "price" in kept[90]
    assert "fill_quantity" not in kept[130]


def shown(text: str) -> str:
    stream = io.StringIO()
    Console(file=stream, force_terminal=True, color_system=None, width=200).print(escape(text))
    return stream.getvalue()


def test_a_text_from_outside_neither_moves_the_cursor_nor_colours_the_line():
    text = "[red]bar 7[/red]\x1b]0;title\x07\x1b[2J\r\x9b1m\tof\n8"
    assert shown(text).split() == [r"[red]bar", r"7[/red]\x1b]0;title\x07\x1b[2J\x0d\x9b1m", "of", "8"]


@pytest.mark.parametrize(
    "code", [0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xDCFF]
)
def test_a_text_from_outside_neither_turns_the_line_round_nor_stops_it(code: int) -> None:
    assert shown(f"a{chr(code)}b") == f"a\\u{code:04x}b\n"
    assert shown("שלום é €") == "שלום é €\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_is_json_in_every_encoding_of_a_terminal(encoding):
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding)
    Output(as_json=True, out=Console(file=stream)).json({"symbol": "Clôture ₿"})
    stream.flush()
    assert json.loads(written.getvalue().decode(encoding)) == {"symbol": "Clôture ₿"}
