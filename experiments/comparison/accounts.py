"""What the accounts of the arms came to, in sentences: beside the verdict, which speaks of the choice alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from raysignal.experiments.comparison.earnings import Earnings
from raysignal.experiments.comparison.evaluation import ArmFigures, Evaluation
from raysignal.experiments.comparison.paired import CLAIMS
from raysignal.experiments.formats import FILLED, bp, horizon_words, is_ruined, listed, total_return

_NEARLY_ALL = -0.99


def account_sentence(evaluation: Evaluation) -> str:
    """Total returns of the claims and the baseline under every fill, and of holding; empty without accounts."""
    arms = [arm for arm in evaluation.arms if arm.kind in CLAIMS]
    arms += [arm for arm in evaluation.arms if arm.kind == "baseline"]
    fills = [fill for fill in ("next", "signal") if all(fill in arm.performance for arm in arms)]
    if not fills:
        return ""
    said = [_under(fill, arms, with_names=not place) for place, fill in enumerate(fills)]
    return f"{_in_short(arms, fills[0])}: {'; '.join(said)}."


def fee_sentence(evaluation: Evaluation) -> str:
    """What the trades of each claim bring, and the fee at which its account would earn; of the baseline without "
    "claims.
    """
    arms = [arm for arm in evaluation.arms if arm.kind in CLAIMS and "next" in arm.performance]
    arms = arms or [arm for arm in evaluation.arms if arm.kind == "baseline" and "next" in arm.performance]
    alike: dict[tuple[Earnings, bool], list[ArmFigures]] = {}
    for arm in arms:
        alike.setdefault((arm.earnings, _earned(arm)), []).append(arm)
    return " ".join(_fee_sentence(evaluation, group) for group in alike.values())


def held_return(arm: ArmFigures, fill: str) -> Mapping[str, Any] | None:
    """What buying and holding came to beside an account; None where that is not known."""
    return arm.performance.get(fill, {}).get("buy_and_hold")


def _under(fill: str, arms: Sequence[ArmFigures], *, with_names: bool) -> str:
    ends = [f"{arm.name} {total_return(arm.performance[fill])}" for arm in arms]
    held = held_return(arms[-1], fill)
    if held is not None and with_names:
        ends.append(f"buying and holding {total_return(held)}")
    return f"filled {FILLED[fill]}, {', '.join(ends)}"


def _in_short(arms: Sequence[ArmFigures], fill: str) -> str:
    """Who earned and who lost."""
    ends = {arm.name: arm.performance[fill] for arm in arms}
    lost = [name for name, figures in ends.items() if (figures.get("total_return") or 0.0) < 0.0]
    other = [
        name for name, arm in zip(ends, arms, strict=True) for figures in arm.performance.values()
        if ((figures.get("total_return") or 0.0) < 0.0) is not (name in lost)
    ]  # fmt: skip
    if other:
        return "Whether an account loses depends on its fills"
    if len(lost) == len(ends):
        every = {1: "The account loses", 2: "Both accounts lose"}.get(len(ends), "All accounts lose")
        if ruined := [name for name, figures in ends.items() if is_ruined(figures)]:
            return f"{every}, and {listed(ruined)} {'is' if len(ruined) == 1 else 'are'} ruined"
        nearly = all((figures.get("total_return") or 0.0) <= _NEARLY_ALL for figures in ends.values())
        return f"{every} {'nearly everything' if nearly else 'money'}"
    if lost:
        earned = [name for name in ends if name not in lost]
        return f"The account of {listed(earned)} does not lose, that of {listed(lost)} does"
    return {1: "The account does not lose", 2: "Neither account loses"}.get(
        len(ends), "No account loses"
    ) + " money"


def _fee_sentence(evaluation: Evaluation, arms: Sequence[ArmFigures]) -> str:
    """Of arms that earn the same."""
    earns, policy, names = arms[0].earnings, evaluation.policy, listed([arm.name for arm in arms])
    if not (arms[0].performance["next"].get("trades") or earns.trades):
        return f"The account of {names} trades nothing."
    fee = earns.account_break_even_fee_bps
    slippage = f" beside {policy.slippage_bps:g} bp of slippage" if policy.slippage_bps else ""
    here = f"here it is {policy.fee_bps:g} bp{slippage}"
    if fee is None:
        said = "its account would not earn at a fee of 0 either"
    elif _earned(arms[0]):
        said = f"its account would earn up to a fee of {fee:,.2f} bp a fill ({here})"
    else:
        said = f"to earn, its account would need a fee below {fee:,.2f} bp a fill ({here})"
    if not earns.trades:
        return f"{names} has no judged trade; {said}."
    return (
        f"Followed {horizon_words(evaluation.horizon)}, a trade of {names} brings {bp(earns.gross_bps)} bp before "
        f"costs and {bp(earns.net_bps)} bp after; {said}."
    )


def _earned(arm: ArmFigures) -> bool:
    return (arm.performance["next"].get("total_return") or 0.0) > 0.0
