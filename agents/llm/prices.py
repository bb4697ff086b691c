"""List prices of models: a dated TOML file, `model_prices.toml` beside this module unless another is named."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from raysignal.engine.core.errors import InvalidField

SHIPPED = Path(__file__).with_name("model_prices.toml")
_EXPECTED = (
    'a TOML file with a line such as "gemini-3.5-flash" = { input = 1.5, output = 9.0 } under [models]'
)


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens; thinking is paid as output."""

    usd_in: float
    usd_out: float


@cache
def load_prices(path: Path = SHIPPED) -> Mapping[str, Price]:
    """The price of each model in a file.

    Raises:
        InvalidField: the file is not there, or is none of prices.
    """
    try:
        models = tomllib.loads(path.read_text(encoding="utf-8"))["models"]
        return {
            name: Price(_dollars(price["input"]), _dollars(price["output"])) for name, price in models.items()
        }
    except OSError as error:
        raise InvalidField(
            "model_prices", str(path), f"{_EXPECTED}; it cannot be read: {error.strerror}"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidField("model_prices", str(path), f"{_EXPECTED}; it says otherwise: {error}") from error


def _dollars(value: Any) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not (math.isfinite(value) and value >= 0)
    ):
        raise ValueError(f"{value!r} is no number of dollars")
    return float(value)
