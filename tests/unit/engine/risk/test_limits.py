"""Limits as a file gives them."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.risk.limits import DecisionLimits, RiskLimits

REFERENCE = (Path(__file__).parents[4] / "docs" / "risk.md").read_text()


def test_the_reference_has_every_limit_and_its_example_is_read():
    rows = re.findall(
        r"^\| `(\w+)` \| ", REFERENCE.split("## Limits")[1].split("## Breaker")[0], re.MULTILINE
    )
    assert sorted(rows) == sorted(each.name for each in fields(RiskLimits))
    (example,) = re.findall(r"```yaml\n(.*?)```", REFERENCE, re.DOTALL)
    read = RiskLimits.from_mapping(yaml.safe_load(example))
    assert read.of_symbol("BTC-USDT").position_notional == 40_000.0
    assert read.strategies == {"sma": DecisionLimits(position_notional=5_000.0)}


def test_no_limit_is_set_until_it_is_said():
    assert RiskLimits.from_mapping({}) == RiskLimits()
    assert RiskLimits.from_mapping({"leverage": None, "symbols": None}) == RiskLimits()


def test_limits_are_read_under_the_names_of_their_fields():
    read = RiskLimits.from_mapping(
        {
            "position_quantity": 5,
            "orders_per_minute": 10,
            "daily_loss_share": 0.02,
            "flatten": True,
            "symbols": {"BTC-USDT": {"position_quantity": 1}},
            "strategies": {"sma": {"stale_model_s": 300}},
        }
    )
    assert read == RiskLimits(
        position_quantity=5.0,
        orders_per_minute=10,
        daily_loss_share=0.02,
        flatten=True,
        symbols={"BTC-USDT": DecisionLimits(position_quantity=1.0)},
        strategies={"sma": DecisionLimits(stale_model_s=300.0)},
    )
    assert isinstance(read.position_quantity, float)


@pytest.mark.parametrize(
    ("values", "field", "expected"),
    [
        ({"leverge": 2}, "leverge", "one of position_quantity, position_notional, concentration, "),
        ({"leverage": -1}, "leverage", "a number from 0, or null: off"),
        ({"leverage": "2"}, "leverage", "a number from 0, or null: off"),
        ({"leverage": True}, "leverage", "a number from 0, or null: off"),
        ({"leverage": float("nan")}, "leverage", "a number from 0, or null: off"),
        ({"leverage": float("inf")}, "leverage", "a number from 0, or null: off"),
        ({"position_quantity": 10**400}, "position_quantity", "a number from 0, or null: off"),
        ({"concentration": 0}, "concentration", "a number above 0 to 1, or null: off"),
        ({"concentration": 50}, "concentration", "a number above 0 to 1, or null: off"),
        ({"orders_per_minute": 0}, "orders_per_minute", "a whole number from 1 to 1e+06, or null: off"),
        ({"orders_per_minute": 2.5}, "orders_per_minute", "a whole number from 1 to 1e+06, or null: off"),
        ({"daily_loss_share": 2}, "daily_loss_share", "a number above 0 to 1, or null: off"),
        ({"daily_loss_money": 0}, "daily_loss_money", "a number above 0, or null: off"),
        ({"drawdown_share": 0}, "drawdown_share", "a number above 0 to 1, or null: off"),
        ({"price_collar_bps": -1}, "price_collar_bps", "a number from 0, or null: off"),
        ({"stale_market_s": 0}, "stale_market_s", "a number above 0, or null: off"),
        ({"stale_model_s": 0}, "stale_model_s", "a number above 0, or null: off"),
        ({"flatten": "yes"}, "flatten", "true or false"),
        ({"flatten": True}, "flatten", "daily_loss_share, daily_loss_money or drawdown_share beside it"),
        ({"reduce_from_share": 0.5}, "reduce_from_share", "daily_loss_share, daily_loss_money or drawdown"),
        ({"symbols": ["BTC"]}, "symbols", "a mapping of names to limits"),
        ({"symbols": {7: {}}}, "symbols", "a mapping of names to limits"),
        ({"symbols": {"BTC": 5}}, "symbols.BTC", "a mapping of position_quantity, position_notional, "),
        ({"symbols": {"BTC": {"leverage": 2}}}, "symbols.BTC.leverage", "one of position_quantity, "),
        ({"strategies": {"sma": {"stale_model_s": -1}}}, "strategies.sma.stale_model_s", "a number above 0"),
        (None, "risk", "a mapping of position_quantity, "),
        (["leverage"], "risk", "a mapping of position_quantity, "),
    ],
)  # fmt: skip
def test_what_cannot_be_a_limit_is_refused_by_its_name(values, field, expected):
    with pytest.raises(InvalidField) as refused:
        RiskLimits.from_mapping(values)
    assert refused.value.fields["field"] == field
    assert refused.value.fields["expected"].startswith(expected)


def test_limits_are_checked_however_they_are_made():
    with pytest.raises(InvalidField, match="leverage is -1"):
        RiskLimits(leverage=-1)


def test_what_a_symbol_sets_counts_instead_of_the_portfolios():
    limits = RiskLimits(
        position_quantity=5,
        price_collar_bps=50,
        orders_per_minute=10,
        symbols={"BTC": DecisionLimits(position_quantity=70, orders_per_minute=2)},
    )
    assert limits.of_symbol("BTC") == DecisionLimits(
        position_quantity=70, price_collar_bps=50, orders_per_minute=10
    )
    assert limits.of_symbol("ETH") == DecisionLimits(
        position_quantity=5, price_collar_bps=50, orders_per_minute=10
    )
