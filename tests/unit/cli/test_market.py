"""`raysignal market`, against a made-up exchange of this machine."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from raysignal.cli.main import app
from raysignal.engine.market.venues.catalogue import VENUES
from raysignal.loopback.exchanges.exchange import SYMBOLS


def called(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["market", *arguments])
    return result.exit_code, result.stdout, " ".join(result.stderr.split())


def symbols(*arguments: str) -> dict[str, Any]:
    code, said, error = called("symbols", *arguments, "--loopback", "--json")
    assert code == 0, error
    found: dict[str, Any] = json.loads(said)
    return found


@pytest.mark.parametrize("venue", sorted(VENUES))
def test_every_symbol_of_a_venue_is_shown_with_tick_lot_and_kind(venue: str) -> None:
    found = symbols(venue)["symbols"]
    assert [each["symbol"] for each in found] == sorted(SYMBOLS[venue])
    perpetual = venue in {"binance-usdm", "binance-coinm", "bybit-linear"}
    for each in found:
        assert each["kind"] == ("perpetual" if perpetual else "spot")
        assert each["inverse"] is (venue == "binance-coinm")
        assert each["status"] == "trading"
        assert all(
            float(each[name]) > 0 for name in ("price_step", "size_step", "least_size", "contract_size")
        )


def test_symbols_are_chosen_by_a_part_of_their_name() -> None:
    assert [each["symbol"] for each in symbols("okx", "--match", "eth")["symbols"]] == ["ETH-USDT"]
    code, _, error = called("symbols", "okx", "--match", "doge", "--loopback")
    assert (code, error) == (
        1, "error: none of the 2 symbols of okx has 'doge' in its name; expected a part of one, such as BTC",
    )  # fmt: skip


def test_a_venue_that_does_not_exist_is_wrong_usage() -> None:
    code, _, error = called("symbols", "mtgox")
    assert code == 2
    assert error.startswith("error: venue is 'mtgox'; expected one of binance")
