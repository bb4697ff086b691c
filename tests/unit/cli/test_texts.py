from io import StringIO

import pytest
from rich.console import Console

from raysignal.cli.texts import escape


def shown(text: str) -> str:
    stream = StringIO()
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
