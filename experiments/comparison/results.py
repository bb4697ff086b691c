"""What an experiment hands to its evaluation: the stream that every arm saw, and what each arm made of it.

Rows are signals in the order in which they were decided. Columns of the stream and of every arm run over the
same n rows. Returns are shares, `*_bps` basis points of the traded notional.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from raysignal.agents.labels import CategoryColumn
from raysignal.agents.verdicts import DecidedBy, Verdict, decided
from raysignal.engine.core.arrays import BoolArray, Float64Array, Int8Array, Int32Array, Int64Array
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Action
from raysignal.engine.core.terms import SignalTerms

Kind = Literal["baseline", "memory", "model", "control"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FILLS = ("signal", "next")
"""At which price an arm's portfolio was filled: the signal's own, or the next bar's."""


@dataclass(frozen=True, slots=True, eq=False)
class SignalStream:
    """The n signals that every arm saw, and what they turned out to be worth.

    Attributes:
        signal_id: n ids.
        timestamp_us: int64[n], not falling.
        symbol, symbols: int32[n] into names.
        source, sources: int32[n] into names.
        action: int8[n], an `Action` each.
        price: float64[n].
        regime: a short label a row; a list of texts is taken too, see `regimes`.
        category: the enum features, by name.
        net_bps: float64[n, 3] by `Verdict`, after fees and slippage; NaN where the signal is not judged.
        gross_bps: float64[n, 3], the same before costs.
        right: bool[n], the move over the horizon had the sign of the action.
        judged: bool[n], the outcome is known; a HOLD never is.
        known_at_us: int64[n], when it became known.
        horizon: as it was asked for, such as `6b`, `5400s` or `close`.
        policy: under whose side, fees and slippage the outcomes were scored.
        ranges: the third of its range that each number lies in, by name.
        words: int64[m], the rows whose texts have a word, or two of them beside each other, by name.
        terms: what the signals say beside their action; None: nothing.

    Raises:
        ValueError: a column of another length, time that falls, or a judged signal without an outcome.
    """

    signal_id: Sequence[str]
    timestamp_us: Int64Array
    symbol: Int32Array
    symbols: Sequence[str]
    source: Int32Array
    sources: Sequence[str]
    action: Int8Array
    price: Float64Array
    regime: CategoryColumn | Sequence[str]
    category: Mapping[str, CategoryColumn]
    net_bps: Float64Array
    gross_bps: Float64Array
    right: BoolArray
    judged: BoolArray
    known_at_us: Int64Array
    horizon: str
    policy: Policy
    ranges: Mapping[str, CategoryColumn] = field(default_factory=dict)
    words: Mapping[str, Int64Array] = field(default_factory=dict)
    terms: SignalTerms | None = None

    def __post_init__(self) -> None:
        n = len(self.signal_id)
        for name in ("timestamp_us", "symbol", "source", "action", "price", "regime", "right", "judged"):
            _check_length("the stream", name, getattr(self, name), n)
        _check_length("the stream", "known_at_us", self.known_at_us, n)
        for name, labels in self.category.items():
            _check_length("the stream", f"category[{name!r}]", labels, n)
        for name, labels in self.ranges.items():
            _check_length("the stream", f"ranges[{name!r}]", labels, n)
        for name in ("net_bps", "gross_bps"):
            values: Float64Array = getattr(self, name)
            if values.shape != (n, len(Verdict)):
                raise ValueError(f"{name} of the stream is {values.shape}; expected {(n, len(Verdict))}")
            if not np.isfinite(values[self.judged]).all():
                row = int(np.flatnonzero(self.judged)[~np.isfinite(values[self.judged]).all(axis=1)][0])
                raise ValueError(f"row {row}: {name} is {values[row]}; expected numbers for a judged signal")
        if n and (falls := np.flatnonzero(np.diff(self.timestamp_us) < 0)).size:
            raise ValueError(f"row {falls[0] + 1}: timestamp_us falls; expected signals in time order")

    def __len__(self) -> int:
        return len(self.signal_id)

    @property
    def side(self) -> Int8Array:
        """int8[n], 1 for BUY, -1 for SELL, 0 for what takes no side."""
        return np.where(self.action == Action.CLOSE, np.int8(0), self.action)

    @property
    def regimes(self) -> CategoryColumn:
        """The regime of every row."""
        return labels_of(self.regime)


@dataclass(frozen=True, slots=True)
class Approximation:
    """What an approximate search found of what an exact one does, and what that changed.

    Attributes:
        of_memory: mean share of the memory's own neighbours that were found; None where it had none.
        of_vectors: mean share of the nearest by the same vectors; None where there were none.
        differ: decisions that are not those of the arm `memory`.
        decisions: signals with a side.
    """

    of_memory: float | None
    of_vectors: float | None
    differ: int
    decisions: int


@dataclass(frozen=True, slots=True, eq=False)
class ArmResult:
    """What one arm decided about every signal of a stream, and what its portfolios became.

    Attributes:
        name: unique in the experiment.
        kind: `baseline` approves everything; `memory` and `model` are what is claimed to help; a `control`
            tells whether the experiment can see at all.
        verdict: int8[n], see `Verdict`.
        by: int8[n], who decided, see `DecidedBy`.
        reason: why, a name a row (see `agents.verdicts.Reason`); a list of texts is taken too, see `reasons`.
        p_right: float64[n], the posterior mean before the decision; NaN where there was none.
        model_usd: what the model cost; None where it is not known, or no model was asked.
        model_calls: questions that were asked; not those that budget, rate or a dead server kept back.
        model_tokens: (in, out).
        equity: by fill, float64[n], the portfolio's equity after each signal.
        signal_return: by fill, float64[n], shares.
        performance: by fill, `Performance.as_dict()`.
        approximation: of an arm whose neighbours were searched approximately; None: of any other.

    Raises:
        ValueError: a column of another length, an unknown kind or an unknown verdict.
    """

    name: str
    kind: Kind
    verdict: Int8Array
    by: Int8Array
    reason: CategoryColumn | Sequence[str]
    p_right: Float64Array
    model_usd: float | None = None
    model_calls: int = 0
    model_tokens: tuple[int, int] = (0, 0)
    equity: Mapping[str, Float64Array] = field(default_factory=dict)
    signal_return: Mapping[str, Float64Array] = field(default_factory=dict)
    performance: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    approximation: Approximation | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name of an arm is ''; expected at least one character")
        if self.kind not in KINDS:
            raise ValueError(
                f"kind of arm {self.name!r} is {self.kind!r}; expected one of {', '.join(KINDS)}"
            )
        n = len(self.verdict)
        for name in ("by", "reason", "p_right"):
            _check_length(f"arm {self.name!r}", name, getattr(self, name), n)
        for name in ("equity", "signal_return"):
            for fill, values in getattr(self, name).items():
                _check_length(f"arm {self.name!r}", f"{name}[{fill!r}]", values, n)
        for name in ("equity", "signal_return", "performance"):
            # In one order, so that what was read back is shown as what was just made.
            object.__setattr__(self, name, _in_order(getattr(self, name)))
        for name, codes, known in (("verdict", self.verdict, Verdict), ("by", self.by, DecidedBy)):
            if n and not 0 <= int(codes.min()) <= int(codes.max()) < len(known):
                raise ValueError(
                    f"{name} of arm {self.name!r} is from {codes.min()} to {codes.max()}; "
                    f"expected 0 to {len(known) - 1}"
                )

    def __len__(self) -> int:
        return len(self.verdict)

    @property
    def reasons(self) -> CategoryColumn:
        """The reason of every row."""
        return labels_of(self.reason)

    def decision(self, stream: SignalStream) -> Int8Array:
        """The actions after the verdicts, int8[n]."""
        return decided(stream.action, self.verdict)

    def initial_equity(self, fill: str) -> float:
        """What the portfolio began with: its initial cash where the performance tells, else its first equity."""
        cash = self.performance.get(fill, {}).get("initial_cash")
        if cash is not None:
            return float(cash)
        return float(self.equity[fill][0]) if len(self) else float("nan")


def labels_of(values: CategoryColumn | Sequence[str]) -> CategoryColumn:
    """The same names as codes."""
    return values if isinstance(values, CategoryColumn) else CategoryColumn.of(values)


def check_arms(stream: SignalStream, arms: Sequence[ArmResult]) -> None:
    """Refuse arms that do not belong together.

    Raises:
        ValueError: an arm of another length than the stream, two of one name, or not exactly one baseline.
    """
    for arm in arms:
        if len(arm) != len(stream):
            raise ValueError(
                f"arm {arm.name!r} has {len(arm)} rows; expected the {len(stream)} of the stream"
            )
    names = [arm.name for arm in arms]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"names of arms occur twice: {', '.join(twice)}; expected each once")
    baselines = [arm.name for arm in arms if arm.kind == "baseline"]
    if len(baselines) != 1:
        raise ValueError(f"arms of kind baseline: {', '.join(baselines) or 'none'}; expected exactly one")


def baseline_of(arms: Sequence[ArmResult]) -> ArmResult:
    """The arm that all others are compared with."""
    return next(arm for arm in arms if arm.kind == "baseline")


def drawdowns(equity: Float64Array, initial: float) -> Float64Array:
    """1 - equity / highest equity so far, the initial one included; at most 1, where all is lost. float64[n]."""
    if not len(equity):
        return equity
    peak = np.maximum.accumulate(np.maximum(equity, initial))
    return np.asarray(np.minimum(1.0 - equity / peak, 1.0), np.float64)


def _in_order(by_fill: Mapping[str, Any]) -> dict[str, Any]:
    names = [*(fill for fill in FILLS if fill in by_fill), *sorted(by_fill.keys() - set(FILLS))]
    return {name: by_fill[name] for name in names}


def _check_length(owner: str, name: str, values: Any, n: int) -> None:
    if len(values) != n:
        raise ValueError(f"{name} of {owner} has {len(values)} rows; expected {n}")
