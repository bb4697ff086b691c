"""Whether the best of many trials beats a benchmark, with what was chosen taken into account.

White's reality check (Econometrica 68, 2000) and Hansen's test of superior predictive ability (J. of Business &
Economic Statistics 23, 2005) by `arch`: the null is that no trial is better than the benchmark. The stationary
bootstrap keeps what is dependent in time, and the trials are resampled together, so that those that are alike count as
what they are.
"""

from dataclasses import dataclass

import numpy as np

from raysignal.engine.core.arrays import Float64Array
from raysignal.engine.core.errors import InvalidField
from raysignal.experiments.selection.deflated import varies

RESAMPLES = 1_000


@dataclass(frozen=True, slots=True)
class Reality:
    """P-values of the null that nothing beats the benchmark.

    Attributes:
        spa: Hansen's, consistent.
        white: White's reality check, the upper bound of it.
        block: mean length of the bootstrap's blocks, in periods.
    """

    spa: float
    white: float
    block: float


def reality_check(
    returns: Float64Array, benchmark: Float64Array, *, seed: int, resamples: int = RESAMPLES
) -> Reality:
    """Of float64[periods, trials] against float64[periods].

    Raises:
        InvalidField: fewer than 8 periods, or lengths that differ.
    """
    from arch.bootstrap import SPA, optimal_block_length  # noqa: PLC0415 - a second to import

    periods = len(returns)
    if periods < 8:
        raise InvalidField("periods", periods, "at least 8")
    if len(benchmark) != periods:
        raise InvalidField("benchmark", len(benchmark), f"{periods} returns, one a period")
    # Losses: less is better. Trials that never differ from the benchmark have no variance to be tested by.
    moving = returns[:, varies(returns - benchmark[:, None])]
    if not moving.shape[1]:
        return Reality(1.0, 1.0, 1.0)
    excess = moving - benchmark[:, None]
    best = excess[:, int(np.argmax(excess.mean(axis=0) / excess.std(axis=0)))]
    block = float(np.clip(optimal_block_length(best)["stationary"].iloc[0], 1.0, periods / 4.0))
    test = SPA(
        -benchmark,
        -moving,
        block_size=max(1, round(block)),
        reps=resamples,
        bootstrap="stationary",
        seed=seed,
    )
    test.compute()
    found = test.pvalues
    return Reality(float(found["consistent"]), float(found["upper"]), block)
