from io import StringIO

from rich.console import Console

from cli.texts import escape


def test_a_text_from_outside_neither_moves_the_cursor_nor_colours_the_line():
    shown = StringIO()
    Console(file=shown, force_terminal=True, color_system=None, width=200).print(
        escape("[red]bar 7[/red]\x1b]0;title\x07\x1b[2J\r\x9b1m\tof\n8")
    )
    assert shown.getvalue().split() == [r"[red]bar", r"7[/red]\x1b]0;title\x07\x1b[2J\x0d\x9b1m", "of", "8"]
