from dataclasses import replace

import pytest

from raysignal.engine.core.policy import Policy
from raysignal.experiments.comparison.accounts import account_sentence, fee_sentence
from raysignal.experiments.comparison.earnings import Earnings
from raysignal.experiments.comparison.evaluation import evaluate
from tests.support.experiment_streams import a_stream, an_arm


@pytest.fixture(scope="module")
def evaluation():
    stream = a_stream(60)
    arms = [an_arm(stream, "baseline", "baseline"), an_arm(stream, "memory", "memory")]
    return evaluate(stream, arms)


def came_to(evaluation, *, held=0.1234, earnings=None, policy=None, **returns):
    """The same evaluation with these total returns by arm: one at the next bar, one at the signal's price."""
    arms = []
    for arm in evaluation.arms:
        following, signal = returns[arm.name]
        performance = {
            "signal": {"total_return": signal, "trades": 9, "buy_and_hold": {"total_return": held}},
            "next": {"total_return": following, "trades": 9, "buy_and_hold": {"total_return": held}},
        }
        arms.append(replace(arm, performance=performance, earnings=earnings or arm.earnings))
    return replace(evaluation, arms=tuple(arms), horizon="6b", policy=policy or evaluation.policy)


def test_accounts_that_lose_are_said_to_lose_under_both_fills_and_beside_holding(evaluation):
    assert account_sentence(came_to(evaluation, baseline=(-0.885, -0.889), memory=(-0.702, -0.68))) == (
        "Both accounts lose money: filled at the next bar, memory -70.2%, baseline -88.5%, buying and holding +12.3%; "
        "filled at the signal's own price, memory -68.0%, baseline -88.9%."
    )


def test_an_account_that_loses_under_one_fill_alone_is_not_said_to_lose_nothing(evaluation):
    found = account_sentence(came_to(evaluation, baseline=(0.0, -0.001), memory=(0.0, -0.001)))
    assert found.startswith(
        "Whether an account loses depends on its fills: filled at the next bar, memory 0.0%"
    )


@pytest.mark.parametrize(
    ("memory", "baseline", "begins"),
    [
        (-0.9999999, -0.99999999, "Both accounts lose nearly everything: filled at the next bar, memory < -99.9%"),
        (0.2, 0.1, "Neither account loses money: "),
        (0.2, -0.1, "The account of memory does not lose, that of baseline does: "),
        (-0.2, 0.1, "The account of baseline does not lose, that of memory does: "),
        (-0.2, -1.5, "Both accounts lose, and baseline is ruined: filled at the next bar, memory -20.0%, base"),
        (-1.0, -1.5, "Both accounts lose, and memory and baseline are ruined: "),
    ],
)  # fmt: skip
def test_what_the_accounts_came_to_is_said_first_in_short(evaluation, memory, baseline, begins):
    found = came_to(evaluation, baseline=(baseline, baseline), memory=(memory, memory))
    assert account_sentence(found).startswith(begins)


def test_without_claims_the_baseline_speaks_alone(evaluation):
    alone = replace(evaluation, arms=evaluation.arms[:1])
    found = came_to(alone, baseline=(-0.2, -0.1), held=None)
    assert account_sentence(found) == (
        "The account loses money: filled at the next bar, baseline -20.0%, buying and holding —; filled at the "
        "signal's own price, baseline -10.0%."
    )
    assert "a trade of baseline" in fee_sentence(found)


def test_without_accounts_nothing_is_said_of_them(evaluation):
    found = replace(evaluation, arms=tuple(replace(arm, performance={}) for arm in evaluation.arms))
    assert account_sentence(found) == fee_sentence(found) == ""


@pytest.mark.parametrize(
    ("earnings", "total_return", "says"),
    [
        (
            Earnings(1_138, 2.61, -17.4, 1.31, 0.17), -0.7,
            ("Followed over 6 bars, a trade of memory brings +2.61 bp before costs and -17.4 bp after; to earn, its "
            "account would need a fee below 0.17 bp a fill (here it is 10 bp)."),
        ),
        (
            Earnings(1_138, -4.1, -24.1, None, None), -0.7,
            ("Followed over 6 bars, a trade of memory brings -4.10 bp before costs and -24.1 bp after; its account "
            "would not earn at a fee of 0 either."),
        ),
        (
            Earnings(1_138, 62.5, 42.4, 31.14, 20.63), 0.7,
            ("Followed over 6 bars, a trade of memory brings +62.5 bp before costs and +42.4 bp after; its account "
            "would earn up to a fee of 20.63 bp a fill (here it is 10 bp)."),
        ),
        (
            Earnings(0, None, None, None, 3.0), -0.7,
            ("memory has no judged trade; to earn, its account would need a fee below 3.00 bp a fill (here it is 10 "
            "bp)."),
        ),
    ],
)  # fmt: skip
def test_what_it_would_take_to_earn_is_the_fee_of_the_account(evaluation, earnings, total_return, says):
    found = came_to(
        evaluation, baseline=(-0.8, -0.8), memory=(total_return, total_return), earnings=earnings,
        policy=Policy(fee_bps=10.0),
    )  # fmt: skip
    assert fee_sentence(found) == says


def test_slippage_is_told_beside_the_fee(evaluation):
    found = came_to(
        evaluation, baseline=(-0.8, -0.8), memory=(-0.7, -0.7), earnings=Earnings(9, 2.0, -20.0, 1.0, 0.5),
        policy=Policy(fee_bps=10.0, slippage_bps=2.0),
    )  # fmt: skip
    assert fee_sentence(found).endswith("(here it is 10 bp beside 2 bp of slippage).")


def test_arms_that_earn_the_same_are_told_together(evaluation):
    twin = replace(evaluation.arms[1], name="model", kind="model")
    found = came_to(
        replace(evaluation, arms=(*evaluation.arms, twin)), baseline=(-0.8, -0.8), memory=(-0.7, -0.7),
        model=(-0.7, -0.7), earnings=Earnings(9, 2.0, -20.0, 1.0, None),
    )  # fmt: skip
    assert fee_sentence(found) == (
        "Followed over 6 bars, a trade of memory and model brings +2.00 bp before costs and -20.0 bp after; its "
        "account would not earn at a fee of 0 either."
    )
