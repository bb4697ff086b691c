"""List prices are a file that another can stand in for; one that is none is named."""

from pathlib import Path

import pytest

from raysignal.agents.llm.models import ModelSettings
from raysignal.agents.llm.prices import Price, load_prices
from raysignal.engine.core.errors import InvalidField


def test_the_default_model_has_a_shipped_price() -> None:
    assert load_prices()[ModelSettings().model] == Price(1.5, 9.0)


def test_prices_of_another_file_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text('[models]\n"mine-1" = { input = 2, output = 0.5 }\n')
    assert load_prices(file) == {"mine-1": Price(2.0, 0.5)}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "models = 3",
        "[models]\nmine = 3",
        "[models]\nmine = { input = 1.0 }",
        '[models]\nmine = { input = "1", output = 1 }',
        "[models]\nmine = { input = -1, output = 1 }",
        "[models]\nmine = { input = nan, output = 1 }",
        "[models]\nmine = { input = true, output = 1 }",
        "not toml",
        "\x00",
    ],
)
def test_a_file_that_is_none_of_prices_is_refused_by_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(text)
    with pytest.raises(InvalidField, match=r"model_prices is .*expected a TOML file"):
        load_prices(file)


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match="cannot be read: No such file"):
        load_prices(tmp_path / "missing.toml")
