"""What is varied: the axes of a grid, and the configuration at each of its places.

    Space.of("sma", ["fee_bps=0:20:1", "sma_fast=5:50:5", "sma_slow=20,50,100,200"], fixed=["weight=0.5"])

A name is a member of the policy (`fee_bps`), a parameter of the strategy with the strategy's name before it
(`sma_fast`), or of the agent's gate (`gate_against`, only for the signals of a file). Values are `start:stop:step`,
both ends included, or a list with commas.

A configuration's number is its place: strategies that make sense first, in the order of their axes, the last the
fastest; then gates; then policies. So neighbours in number share their strategy. A strategy that makes no sense (a
fast window that is not shorter than the slow one) is left out and counted.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any

from raysignal.agents.override.gate import GateRules
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.policy import Policy
from raysignal.engine.strategies import registry
from raysignal.engine.strategies.strategy import Strategy

Value = int | float | str

SIGNALS = "signals"
"""The strategy that does what the file's own signals say."""

MOST = 2_000_000
"""Configurations of one sweep; a larger space is for a search."""

GATE = {"against": "against", "least_evidence": "least", "neighbours": "neighbours"}
"""The agent's dials, as on the command line and as in its rules."""

_GATE = "gate_"
_CALENDAR = ("calendar", "periods_per_year")
_POLICY = (
    "initial_cash", "fee_bps", "slippage_bps", "side", "weight", "fill", "min_confidence", "stop_bps", "take_bps",
    "trail_bps", *_CALENDAR,
)  # fmt: skip
_MOST_VALUES = 1_000_000


@dataclass(frozen=True, slots=True)
class Axis:
    """One thing that is varied: its name and its values, each once."""

    name: str
    values: tuple[Value, ...]

    @classmethod
    def parse(cls, text: str) -> "Axis":
        """From `name=start:stop:step` or `name=value,value,…`; `InvalidField` says what is wrong with it."""
        name, equals, said = text.partition("=")
        name, said = name.strip(), said.strip()
        if not equals or not name or not said:
            raise InvalidField(
                "grid", text, "name=start:stop:step or name=value,value,…, such as fee_bps=0:20:1"
            )
        values = (
            _steps(text, said) if ":" in said else tuple(_value(part.strip()) for part in said.split(","))
        )
        return cls(name, values)

    def __post_init__(self) -> None:
        if not self.values:
            raise InvalidField("grid", self.name, "at least one value")
        if len(set(self.values)) != len(self.values):
            twice = next(value for place, value in enumerate(self.values) if value in self.values[:place])
            raise InvalidField("grid", f"{self.name} with {twice} twice", "each value once")


@dataclass(frozen=True, slots=True)
class Configuration:
    """One place of a space.

    Attributes:
        number: the place.
        parameters: every axis by name.
        strategy: None: the file's own signals.
        gate: members of the agent's rules that overrule signals; None: no agent.
        policy: of the portfolio.
    """

    number: int
    parameters: dict[str, Value]
    strategy: Strategy | None
    gate: dict[str, Value] | None
    policy: Policy


@dataclass(frozen=True)
class Space:
    """All combinations of the values of some axes.

    Attributes:
        strategy: a name of `engine.strategies.registry`, or `SIGNALS`.
        axes: what is varied, each name once.
        fixed: what is not, by the same names.
        most: configurations at most; None: any number, for a search that does not go through them.

    Raises:
        InvalidField: a name that is not known here, a value that cannot be, no combination that makes sense, or
            too many of them.
    """

    strategy: str
    axes: tuple[Axis, ...]
    fixed: dict[str, Value] = field(default_factory=dict)
    most: int | None = MOST

    @classmethod
    def of(
        cls, strategy: str | None, grid: Sequence[str], fixed: Sequence[str] = (), *, most: int | None = MOST
    ) -> "Space":
        """From texts; a strategy that is not named is told from the names of its parameters."""
        alone = [Axis.parse(text) for text in fixed]
        for axis in alone:
            if len(axis.values) != 1:
                raise InvalidField("set", axis.name, "one value; several belong to --grid")
        values = {axis.name: axis.values[0] for axis in alone}
        return cls.of_axes(strategy, [Axis.parse(text) for text in grid], values, most=most)

    @classmethod
    def of_axes(
        cls, strategy: str | None, axes: Sequence[Axis], fixed: dict[str, Value], *, most: int | None = MOST
    ) -> "Space":
        """From axes; a strategy that is not named is told from the names of its parameters."""
        return cls(strategy or _told_by([*(axis.name for axis in axes), *fixed]), tuple(axes), fixed, most)

    def __post_init__(self) -> None:
        if self.strategy != SIGNALS and self.strategy not in registry.NAMES:
            raise InvalidField("strategy", self.strategy, f"{SIGNALS}, {', '.join(registry.NAMES)}")
        names = [axis.name for axis in self.axes] + [*self.fixed]
        known = self._known()
        for name in names:
            if name not in known:
                raise InvalidField("grid", name, f"for {self.strategy}: {', '.join(known)}")
            if names.count(name) > 1:
                raise InvalidField("grid", f"{name} given twice", "each name once")
        if self.most is not None and self.combinations > self.most:
            raise InvalidField(
                "grid",
                f"of {self.combinations:,d} configurations",
                f"at most {self.most:,d}; or a search, --search N, of a larger space",
            )
        for axis in self.axes:
            self._try_axis(axis)
        for name, value in self.fixed.items():
            self._try(name, value)
        if self.most is not None:
            _ = self.size

    @property
    def combinations(self) -> int:
        """Of all values, those that make no sense among them."""
        return math.prod(len(axis.values) for axis in self.axes)

    @property
    def size(self) -> int:
        """Configurations that make sense."""
        return len(self._strategies) * len(self._gates) * self._policies

    @property
    def senseless(self) -> int:
        """Combinations that were left out."""
        return self.combinations - self.size

    @property
    def varied(self) -> tuple[str, ...]:
        """Names with more than one value."""
        return tuple(axis.name for axis in self.axes if len(axis.values) > 1)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a manifest."""
        return {
            "strategy": self.strategy,
            "axes": [{"name": axis.name, "values": list(axis.values)} for axis in self.axes],
            "fixed": dict(self.fixed),
        }

    def __reduce__(self) -> tuple[Any, ...]:
        # What was worked out stays here.
        return Space, (self.strategy, self.axes, self.fixed, self.most)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, number: int) -> Configuration:
        if not 0 <= number < self.size:
            raise InvalidField("configuration", number, f"a number from 0 to {self.size - 1}")
        rest, policy = divmod(number, self._policies)
        strategy, gate = divmod(rest, len(self._gates))
        of_strategy, made = self._strategies[strategy]
        of_policy = self._policy_at(policy)
        of_gate = self._gates[gate]
        values = of_strategy | of_gate | of_policy
        rules = {name.removeprefix(_GATE): value for name, value in values.items() if name.startswith(_GATE)}
        parameters = {axis.name: values[axis.name] for axis in self.axes}
        return Configuration(number, parameters, made, rules or None, Policy.from_dict(of_policy))

    def columns(self) -> dict[str, list[Value]]:
        """The value of every axis at every place."""
        gates, policies = len(self._gates), self._policies
        found, inner = {}, policies
        for axis in self.axes:
            if axis.name in _POLICY:
                inner //= len(axis.values)
                own = [value for value in axis.values for _ in range(inner)]
                found[axis.name] = own * (len(self) // len(own))
            elif axis.name.startswith(_GATE):
                of_gates = [values[axis.name] for values in self._gates for _ in range(policies)]
                found[axis.name] = of_gates * len(self._strategies)
            else:
                found[axis.name] = [
                    values[axis.name] for values, _ in self._strategies for _ in range(gates * policies)
                ]
        return found

    def _known(self) -> tuple[str, ...]:
        if self.strategy == SIGNALS:
            return (*_POLICY, *(_GATE + name for name in GATE))
        # A strategy says no confidence.
        members = (name for name in _POLICY if name != "min_confidence")
        return (*members, *(f"{self.strategy}_{name}" for name in registry.parameters(self.strategy)))

    def _try_axis(self, axis: Axis) -> None:
        if axis.name in _CALENDAR:
            raise InvalidField("grid", axis.name, "it as one value, with --set: a year is as long for all")
        for value in axis.values:
            self._try(axis.name, value)

    def _try(self, name: str, value: Value) -> None:
        """Refuse a value that can be in no configuration."""
        if name in _POLICY:
            Policy.from_dict({name: value})
        elif name.startswith(_GATE):
            _check_dial(name, value)

    def _combinations(self, belongs: Any) -> list[dict[str, Value]]:
        axes = [axis for axis in self.axes if belongs(axis.name)]
        fixed = {name: value for name, value in self.fixed.items() if belongs(name)}
        return [
            fixed | dict(zip([axis.name for axis in axes], values, strict=True))
            for values in itertools.product(*(axis.values for axis in axes))
        ]

    @cached_property
    def _strategies(self) -> list[tuple[dict[str, Value], Strategy | None]]:
        if self.strategy == SIGNALS:
            return [({}, None)]
        start = f"{self.strategy}_"
        made: list[tuple[dict[str, Value], Strategy | None]] = []
        refusal: InvalidField | None = None
        for values in self._combinations(lambda name: name.startswith(start)):
            own = {name.removeprefix(start): value for name, value in values.items()}
            try:
                made.append((values, registry.make(self.strategy, own)))
            except InvalidField as error:
                refusal = refusal or _of_axis(error, start, own)
        if not made:
            assert refusal is not None
            raise refusal
        return made

    @cached_property
    def _gates(self) -> list[dict[str, Value]]:
        return self._combinations(lambda name: name.startswith(_GATE))

    @cached_property
    def _policies(self) -> int:
        """How many there are: each value was tried by itself, and they go with each other."""
        return math.prod(len(axis.values) for axis in self.axes if axis.name in _POLICY)

    def _policy_at(self, place: int) -> dict[str, Value]:
        """The members that are given of the policy at a place, the last axis the fastest."""
        values = {name: value for name, value in self.fixed.items() if name in _POLICY}
        for axis in reversed([axis for axis in self.axes if axis.name in _POLICY]):
            place, own = divmod(place, len(axis.values))
            values[axis.name] = axis.values[own]
        return values


@dataclass(frozen=True)
class ChosenConfigurations:
    """Configurations that a search has chosen: some places of a space that need not be small.

    Attributes:
        strategy, axes, fixed: as in `Space`.
        rows: the parameters of each, its values in the order of the axes; each once.
    """

    strategy: str
    axes: tuple[Axis, ...]
    fixed: dict[str, Value]
    rows: tuple[tuple[Value, ...], ...]

    senseless = 0

    @property
    def varied(self) -> tuple[str, ...]:
        """Names with more than one value."""
        return tuple(axis.name for axis in self.axes if len(axis.values) > 1)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a manifest."""
        axes = [{"name": axis.name, "values": list(axis.values)} for axis in self.axes]
        rows = [list(row) for row in self.rows]
        return {"strategy": self.strategy, "axes": axes, "fixed": dict(self.fixed), "tried": rows}

    def columns(self) -> dict[str, list[Value]]:
        """The value of every axis at every place."""
        return {axis.name: [row[place] for row in self.rows] for place, axis in enumerate(self.axes)}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Configuration:
        if not 0 <= number < len(self.rows):
            raise InvalidField("configuration", number, f"a number from 0 to {len(self.rows) - 1}")
        return replace(single(self, self.rows[number])[0], number=number)


def _of_axis(error: InvalidField, start: str, own: Mapping[str, Value]) -> InvalidField:
    """What is wrong with a parameter of a strategy, under the name that its axis has."""
    name = error.fields["field"]
    return InvalidField(f"{start}{name}", own[name], error.fields["expected"]) if name in own else error


def single(where: "Space | ChosenConfigurations", row: Sequence[Value]) -> Space:
    """The space of one combination; `InvalidField` if it makes no sense."""
    axes = tuple(Axis(axis.name, (value,)) for axis, value in zip(where.axes, row, strict=True))
    return Space(where.strategy, axes, where.fixed)


def _check_dial(name: str, value: Value) -> None:
    """Refuse what the agent's rules would."""
    if isinstance(value, str):
        raise InvalidField(name, value, "a number")
    member = GATE[name.removeprefix(_GATE)]
    if member == "neighbours":
        if not (isinstance(value, int) and 1 <= value <= 10_000):
            raise InvalidField(name, value, "a whole number from 1 to 10000")
    elif member == "against":
        GateRules(against=float(value), grey=0.5)
    else:
        GateRules(least=float(value))


def _told_by(names: list[str]) -> str:
    """The strategy whose parameters are among the names, else the file's own signals."""
    for name in names:
        for strategy in registry.NAMES:
            if name.startswith(f"{strategy}_"):
                return strategy
    return SIGNALS


def _steps(text: str, said: str) -> tuple[Value, ...]:
    try:
        start, stop, step = (Decimal(part) for part in said.split(":"))
    except (InvalidOperation, ValueError):
        raise InvalidField("grid", text, "start:stop:step, three numbers such as 0:20:1") from None
    if not (start.is_finite() and stop.is_finite() and step.is_finite() and step > 0 and stop >= start):
        raise InvalidField("grid", text, "a stop that is not below the start, and a step above 0")
    count = int((stop - start) / step) + 1
    if count > _MOST_VALUES:
        raise InvalidField("grid", text, f"at most {_MOST_VALUES:,d} values, not {count:,d}")
    return tuple(_plain(start + place * step) for place in range(count))


def _value(text: str) -> Value:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    return _plain(number) if number.is_finite() else text


def _plain(number: Decimal) -> int | float:
    return int(number) if number == number.to_integral_value() else float(number)
