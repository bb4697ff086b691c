import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson
import pytest

from raysignal.engine.core.plain_values import from_plain, plain_values


class Side(StrEnum):
    BUY = "buy"


@dataclass(frozen=True)
class Inner:
    side: Side
    value: float
    maybe: float | None = None


@dataclass(frozen=True)
class Outer:
    inner: tuple[Inner, ...]
    pair: tuple[int, str]
    by_level: Mapping[float, int]
    free: Mapping[str, Any]
    later: int = 7


OUTER = Outer((Inner(Side.BUY, 1.5), Inner(Side.BUY, 2.0, 0.5)), (1, "a"), {0.25: 3}, {"any": [1, None]})


def test_a_dataclass_is_read_back_from_json_as_it_was():
    assert from_plain(Outer, orjson.loads(orjson.dumps(plain_values(OUTER)))) == OUTER


def test_no_number_is_null_in_json_and_no_number_again():
    plain = plain_values(Inner(Side.BUY, math.inf, math.nan))
    assert plain == {"side": "buy", "value": None, "maybe": None}
    read = from_plain(Inner, plain)
    assert math.isnan(read.value)
    assert read.maybe is None


def test_what_an_earlier_version_did_not_write_has_its_default():
    plain = plain_values(OUTER)
    del plain["later"]
    assert from_plain(Outer, plain | {"gone": 1}) == OUTER


def test_a_name_of_no_member_of_an_enumeration_is_refused():
    with pytest.raises(ValueError, match="sell"):
        from_plain(Inner, {"side": "sell", "value": 1.0})
