"""`metrics.json` read back: the evaluation that it was written from, so that it can be shown again."""

from collections.abc import Mapping
from typing import Any

from raysignal.agents.override.accuracy import Accuracy, Cohort
from raysignal.agents.override.intervals import Interval
from raysignal.engine.core.errors import RaysignalError
from raysignal.engine.core.policy import Policy
from raysignal.experiments.comparison.calibration import Bin, Calibration
from raysignal.experiments.comparison.earnings import Earnings, HoldGain
from raysignal.experiments.comparison.evaluation import ArmFigures, Evaluation
from raysignal.experiments.comparison.paired import Assessment, Judgment
from raysignal.experiments.comparison.power_plan import PowerPlan, Reach
from raysignal.experiments.comparison.results import Approximation
from raysignal.experiments.comparison.uplift import Decomposition

_NAN = float("nan")


def evaluation_of(metrics: Mapping[str, Any]) -> Evaluation:
    """The evaluation whose `as_dict` this is; a number that was not there is NaN again.

    Raises:
        RaysignalError: an earlier version wrote it.
    """
    if "hold_gains" not in metrics:
        raise RaysignalError(
            "metrics.json of this run lacks hold_gains; expected what this version writes: compare the file again"
        )
    accuracy = metrics["accuracy"]
    return Evaluation(
        **{name: metrics[name] for name in ("horizon", "signals", "judged", "blind", "alpha")},
        policy=Policy.from_dict(metrics["policy"]),
        hold_gains=tuple(HoldGain(**each) for each in metrics["hold_gains"]),
        arms=tuple(_arm(each) for each in metrics["arms"]),
        assessments=tuple(_assessment(each) for each in metrics["assessments"]),
        plan=_plan(metrics["plan"]),
        accuracy=Accuracy(
            **_numbers(accuracy, "up_share", "down_share")
            | {"cohorts": tuple(Cohort(**_numbers(each, *_COHORT)) for each in accuracy["cohorts"])}
        ),
        calibration={
            name: Calibration(
                **found
                | {"bins": tuple(Bin(**_numbers(each, "share_low", "share_high")) for each in found["bins"])}
            )
            for name, found in metrics["calibration"].items()
        },
    )


_COHORT = tuple(name for name, kind in Cohort.__annotations__.items() if kind in {float, "float"})
_INTERVAL = ("estimate", "low", "high", "se")


def _arm(values: Mapping[str, Any]) -> ArmFigures:
    found = values.get("approximation")
    return ArmFigures(
        **{
            **values,
            "model_tokens": tuple(values["model_tokens"]),
            "earnings": Earnings(**values["earnings"]),
            "approximation": None if found is None else Approximation(**found),
        }
    )


def _assessment(values: Mapping[str, Any]) -> Assessment:
    return Assessment(
        **{
            name: values[name]
            for name in (
                "arm",
                "kind",
                "signals",
                "judged",
                "overridden",
                "p_greater",
                "p_less",
                "detectable_bps",
            )
        },
        parts=Decomposition(**values["parts"]),
        uplift=_interval(values["uplift"]),
        selection=_interval(values["selection"]),
        judgment=Judgment(values["judgment"]),
        returns_bps={fill: _interval(each) for fill, each in values["returns_bps"].items()},
    )


def _interval(values: Mapping[str, Any]) -> Interval:
    numbers = _numbers(values, *_INTERVAL)
    return Interval(**{name: numbers[name] for name in Interval.__annotations__})  # earlier runs wrote more


def _plan(values: Mapping[str, Any]) -> PowerPlan:
    reach = tuple(
        Reach(**row | {"signals_for": {float(bps): count for bps, count in row["signals_for"].items()}})
        for row in values["reach"]
    )
    return PowerPlan(**{**values, "reach": reach})


def _numbers(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The values, with NaN where one of these names has none."""
    return {name: _NAN if value is None and name in names else value for name, value in values.items()}
