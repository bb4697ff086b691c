"""An adaptive search through a space too big for a grid: Ray Tune asks Optuna what to try next.

What it tries becomes a sweep of its own (`ChosenConfigurations`), so that the verdict knows of every trial. Trials on
several workers end in no fixed order, and what Optuna proposes next depends on it: with one worker, equal seeds make
equal trials.
"""

import logging
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import optuna
import ray
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from raysignal.engine.core.errors import InvalidField
from raysignal.experiments.sweeps.chunks import Marks, run_chunk
from raysignal.experiments.sweeps.market import Market
from raysignal.experiments.sweeps.space import ChosenConfigurations, Space, single
from raysignal.experiments.sweeps.sweep import SweepSpec
from raysignal.experiments.sweeps.tables import RAW, worst_score

MOST_TRIALS = 100_000
_SENSELESS = -1e12  # worse than any figure; infinity would be no number to Optuna
_WORST = -1e11  # of one that is ruined or has no figure, which was tried all the same
_SCORE = "score"


def search(
    markets: Sequence[Market],
    spec: SweepSpec,
    trials: int,
    *,
    workers: int,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> ChosenConfigurations:
    """Try `trials` places of the sweep's space, on this process's Ray; those that make sense, each once.

    The score is the sweep's objective on the market where it is worst: a mean of ratios is no ratio of anything, and
    one market where it is very good would make up for all others.

    Args:
        markets: what to run over.
        spec: the space, the objective and the seed.
        trials: how many to try.
        workers: at once.
        progress: called with trials done and in all.

    Raises:
        InvalidField: no trials, or nothing that makes sense among what was tried.
    """
    if not 1 <= trials <= MOST_TRIALS:
        raise InvalidField("search", trials, f"a number of trials from 1 to {MOST_TRIALS:,d}")
    space = spec.space
    assert isinstance(space, Space)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    dials = {
        axis.name: tune.choice(range(len(axis.values)))
        if any(isinstance(value, str) for value in axis.values)
        else tune.randint(0, len(axis.values))
        for axis in space.axes
    }
    shared = [ray.put(market) for market in markets]
    with tempfile.TemporaryDirectory(prefix="raysignal-search-") as folder:
        found = tune.Tuner(
            tune.with_resources(tune.with_parameters(_try, markets=shared, spec=spec), {"cpu": 1}),
            param_space=dials,
            tune_config=tune.TuneConfig(
                metric=_SCORE,
                mode="max",
                search_alg=OptunaSearch(seed=spec.seed),
                num_samples=trials,
                max_concurrent_trials=workers,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=folder, verbose=0, callbacks=[_Told(progress, trials)], log_to_file=False
            ),
        ).fit()
        rows = []
        for place in range(len(found)):
            result = found[place]
            if result.error is not None:
                raise result.error
            if result.metrics is not None and result.metrics[_SCORE] > _SENSELESS:
                rows.append(_row(space, result.config))
    if not rows:
        raise InvalidField("search", f"{trials} trials", "at least one combination that makes sense")
    return ChosenConfigurations(space.strategy, space.axes, space.fixed, tuple(dict.fromkeys(rows)))


class _Told(tune.Callback):
    def __init__(self, progress: Callable[[int, int], None], trials: int) -> None:
        self._progress, self._trials, self._done = progress, trials, 0

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune writes down what it runs; who watches stays here.
        return _Told, (_nobody, self._trials)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """One more."""
        del iteration, trials, trial, info
        self._done += 1
        self._progress(self._done, self._trials)


def _nobody(_done: int, _all: int) -> None:
    pass


def _row(space: Space, dials: Any) -> tuple[Any, ...]:
    return tuple(axis.values[int(dials[axis.name])] for axis in space.axes)


def _try(dials: dict[str, int], markets: list[Any], spec: SweepSpec) -> None:
    """One trial, where Tune has put it."""
    assert isinstance(spec.space, Space)
    try:
        one = single(spec.space, _row(spec.space, dials))
    except InvalidField:
        tune.report({_SCORE: _SENSELESS})
        return
    tables = []
    for reference in markets:
        market = ray.get(reference)
        n = len(market.bars) - market.start
        tables.append(run_chunk(market, one, 0, 1, Marks.ends(n), spec.trial))
    # One figure for all trials: whether a history is long enough for an annual one hangs on what a trial earned.
    objective = RAW.get(spec.objective, spec.objective)
    tune.report({_SCORE: max(_WORST, worst_score(tables, objective))})
