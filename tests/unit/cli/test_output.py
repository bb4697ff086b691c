"""Tables that fit where they are shown."""

import io

import pytest
from rich.console import Console

from raysignal.cli.asking import _COLUMNS, _LEAST
from raysignal.cli.output import Output, rows_table

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
