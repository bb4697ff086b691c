"""The kinds of streams, and the policies, under which the verdict is tried.

`CELLS` is a design over the axes of the generator and of the policy in which each pair of levels meets at least once
(a covering array of strength 2), since the full product would have 576 cells. `OTHERS` are streams of other shapes than
the generator's (`experiments.validation.shapes`), under both sides and several costs and fills.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from raysignal.data.generator import GeneratorSpec, generate
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.policy import Policy
from raysignal.engine.intake import Reading, read_batch
from raysignal.experiments.validation.shapes import SHAPES, shaped

SYMBOLS = ("BTC", "ETH", "SOL", "XRP")


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of stream under one policy.

    Attributes:
        name: of it, unique.
        policy: of every arm's portfolio.
        make: the stream of a seed, of so many rows, with a planted effect or without one.
        breaker: whether the agent has its breaker, which turns it off after losses.
    """

    name: str
    policy: Policy
    make: Callable[[int, int, bool], SignalBatch]
    breaker: bool = True


@dataclass(frozen=True, slots=True)
class Cell:
    """A level of each axis: the policy's side and fee, the stream's drift a year, symbols, share of BUY, tails and
    bars, and whether the agent has its breaker.
    """

    side: str
    fee_bps: float
    drift: float
    symbols: int
    buy_share: float
    tails: float
    bar: str
    breaker: bool

    @property
    def case(self) -> Case:
        """The case of these levels."""
        name = (
            f"{self.side} {self.fee_bps:g} bp, drift {self.drift:+.0%}, {self.symbols} symbol"
            f"{'s' if self.symbols > 1 else ''}, {self.buy_share:.0%} BUY, t({self.tails:g}), {self.bar}"
            f"{'' if self.breaker else ', no breaker'}"
        )
        policy = Policy.from_dict({"side": self.side, "fee_bps": self.fee_bps})
        return Case(name, policy, partial(generated, self), self.breaker)


STANDARD = Cell("long-short", 10.0, 0.0, 1, 0.5, 4.0, "10m", breaker=True)
"""The generator's standard stream under long-short: the effect must be found here."""

CELLS = (
    STANDARD,
    Cell("long-flat", 10.0, 0.0, 1, 0.5, 4.0, "10m", breaker=True),
    Cell("long-flat", 30.0, 0.0, 1, 0.5, 4.0, "10m", breaker=True),
    Cell("long-short", 0.0, 0.2, 4, 0.7, 4.0, "1d", breaker=True),
    Cell("long-flat", 30.0, -0.2, 4, 0.7, 2.5, "10m", breaker=True),
    Cell("long-short", 0.0, -0.2, 1, 0.5, 2.5, "1d", breaker=False),
    Cell("long-flat", 30.0, 0.0, 4, 0.5, 2.5, "1d", breaker=False),
    Cell("long-flat", 10.0, 0.2, 4, 0.7, 2.5, "10m", breaker=True),
    Cell("long-short", 30.0, 0.2, 1, 0.5, 4.0, "10m", breaker=True),
    Cell("long-short", 10.0, -0.2, 1, 0.7, 4.0, "1d", breaker=False),
    Cell("long-flat", 0.0, 0.0, 4, 0.7, 2.5, "10m", breaker=False),
    Cell("long-flat", 0.0, 0.2, 1, 0.5, 4.0, "1d", breaker=False),
)

_POLICIES = (
    Policy(side="long-flat", fee_bps=10.0),
    Policy(side="long-short", fee_bps=10.0),
    Policy(side="long-flat", fee_bps=30.0, slippage_bps=5.0, fill="next"),
    Policy(side="long-short", fee_bps=0.0, fill="next"),
)
"""Each shape is tried under two of these, a long-flat and a long-short one, in turns."""

OTHERS = tuple(
    Case(f"{shape}: {policy.side} {policy.fee_bps:g} bp, fill {policy.fill}", policy, partial(shaped, shape))
    for number, shape in enumerate(SHAPES)
    for policy in _POLICIES[2 * (number % 2) : 2 * (number % 2) + 2]
)


def generated(cell: Cell, seed: int, rows: int, effect: bool) -> SignalBatch:
    """A stream of the generator's, as it would be read from its file."""
    spec = GeneratorSpec(
        rows=rows, seed=seed, regime_effect=effect, texts="none", symbols=SYMBOLS[: cell.symbols], bar=cell.bar,
        buy_share=cell.buy_share, drift=cell.drift, tails=cell.tails,
    )  # fmt: skip
    text = generate(spec).to_csv(lineterminator="\r\n").encode()
    return read_batch(text, "text/csv", Reading(bar_us=spec.bar_us, label="open")).batch.in_time()
