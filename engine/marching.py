"""Eight accounts side by side through rows of prices, in the lanes of the processor.

What follows from prices while nobody trades (`engine.kernel` has it row by row for one account: level, return, sums,
peak and trough), for eight accounts at once in each step. Each lane does the same operations in the same order, so its
bits are those of the kernel. A trough is lowest level over peak: as long as the peak stays, the lowest level is enough,
and it is divided once when the peak rises.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8

(CASH, QUANTITY, ANCHOR, LEVEL, LEVELS, TOTAL, SQUARES, LOSSES, PEAK, LOWEST, TROUGH, RETURN, BEFORE) = range(
    13
)
"""The rows of a state, float64[ROWS, LANES]; the first three are as they are while the others go along.

`LEVEL`, `BEFORE` and `RETURN` are of the last row; sums, peak and troughs are of those before it.
"""

ROWS = 13
_FIXED = 3

_DOUBLE = ir.DoubleType()
_VECTOR = ir.VectorType(_DOUBLE, LANES)
_WORD = ir.IntType(32)


@intrinsic  # type: ignore[untyped-decorator]
def march(
    _context: Any, state: types.Array, prices: types.Array, begin: types.Integer, end: types.Integer
) -> tuple[Any, Callable[..., Any]]:
    """Take rows `begin` to `end` of the prices in. Looks at no bounds: the caller has."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        table = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        column = context.make_array(signature.args[1])(context, builder, arguments[1]).data
        index = ir.IntType(64)
        first = builder.bitcast(table, _VECTOR.as_pointer())
        places = [builder.gep(first, [index(row)]) for row in range(ROWS)]
        fixed = [builder.load(places[row], align=8) for row in range(_FIXED)]
        slots = {row: cgutils.alloca_once(builder, _VECTOR) for row in range(_FIXED, ROWS)}
        for row, slot in slots.items():
            builder.store(builder.load(places[row], align=8), slot)
        at = cgutils.alloca_once(builder, index)
        builder.store(arguments[2], at)

        test, body, done = (builder.append_basic_block(name) for name in ("test", "body", "done"))
        builder.branch(test)
        builder.position_at_end(test)
        builder.cbranch(builder.icmp_signed("<", builder.load(at), arguments[3]), body, done)

        builder.position_at_end(body)
        _row(
            builder, fixed, slots, _everywhere(builder, builder.load(builder.gep(column, [builder.load(at)])))
        )
        builder.store(builder.add(builder.load(at), index(1)), at)
        builder.branch(test)

        builder.position_at_end(done)
        for row, slot in slots.items():
            builder.store(builder.load(slot), places[row], align=8)
        return context.get_dummy_value()

    return types.void(state, prices, begin, end), generate


def _row(builder: ir.IRBuilder, fixed: list[Any], slots: dict[int, Any], price: Any) -> None:
    """One row; strict IEEE, in the order of `engine.kernel`."""
    cash, quantity, anchor = fixed
    nothing, one = ir.Constant(_VECTOR, [0.0] * LANES), ir.Constant(_VECTOR, [1.0] * LANES)

    def add(row: int, value: Any) -> None:
        builder.store(builder.fadd(builder.load(slots[row]), value), slots[row])

    # The row before is over: its level and return are added.
    last, change = builder.load(slots[LEVEL]), builder.load(slots[RETURN])
    away = builder.fsub(change, anchor)
    below = builder.select(builder.fcmp_ordered("<", change, nothing), change, nothing)
    add(LEVELS, last)
    add(TOTAL, away)
    add(SQUARES, builder.fmul(away, away))
    add(LOSSES, builder.fmul(below, below))

    peak = builder.load(slots[PEAK])
    higher = builder.fcmp_ordered(">", last, peak)
    any_higher = builder.icmp_unsigned("!=", builder.bitcast(higher, ir.IntType(LANES)), ir.IntType(LANES)(0))
    with builder.if_then(any_higher, likely=False):
        lowest, trough = builder.load(slots[LOWEST]), builder.load(slots[TROUGH])
        share = builder.fdiv(lowest, peak)
        builder.store(builder.select(builder.fcmp_ordered("<", share, trough), share, trough), slots[TROUGH])
        builder.store(builder.select(higher, last, peak), slots[PEAK])
        builder.store(builder.select(higher, last, lowest), slots[LOWEST])
    lowest = builder.load(slots[LOWEST])
    builder.store(builder.select(builder.fcmp_ordered("<", last, lowest), last, lowest), slots[LOWEST])

    # This row is the last one.
    level = builder.fadd(cash, builder.fmul(quantity, price))
    earned = builder.fsub(builder.fdiv(level, last), one)
    earned = builder.select(builder.fcmp_ordered(">", last, nothing), earned, nothing)
    builder.store(earned, slots[RETURN])
    builder.store(last, slots[BEFORE])
    builder.store(level, slots[LEVEL])


ACTIONS = 64
"""So many actions are looked at at once by `told`."""

_BYTES = ir.VectorType(ir.IntType(8), ACTIONS)
_BITS = ir.IntType(ACTIONS)


@intrinsic  # type: ignore[untyped-decorator]
def told(_context: Any, actions: types.Array, row: types.Integer) -> tuple[Any, Callable[..., Any]]:
    """Which of the 64 actions from a row on are not HOLD: a bit each, the lowest the first. Looks at no bounds."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        column = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(column, [arguments[1]]), _BYTES.as_pointer())
        found = builder.icmp_unsigned("!=", builder.load(place, align=1), ir.Constant(_BYTES, [0] * ACTIONS))
        return builder.bitcast(found, _BITS)

    return types.uint64(actions, row), generate


@intrinsic  # type: ignore[untyped-decorator]
def lowest_bit(_context: Any, _bits: types.Integer) -> tuple[Any, Callable[..., Any]]:
    """The number of the lowest bit that is set; one is."""

    def generate(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def not_above(
    _context: Any, left: types.Array, right: types.Array, row: types.Integer, _margin: types.Float
) -> tuple[Any, Callable[..., Any]]:
    """Where in 64 rows `left - right > margin * right` does not hold: a bit each. Looks at no bounds."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        columns = [
            context.make_array(signature.args[place])(context, builder, arguments[place]).data
            for place in (0, 1)
        ]
        by = _everywhere(builder, arguments[3])
        bits = ir.Constant(_BITS, 0)
        for part in range(ACTIONS // LANES):
            at = builder.add(arguments[2], ir.IntType(64)(part * LANES))
            first, second = (
                builder.load(builder.bitcast(builder.gep(column, [at]), _VECTOR.as_pointer()), align=8)
                for column in columns
            )
            above = builder.fcmp_ordered(">", builder.fsub(first, second), builder.fmul(by, second))
            here = builder.zext(builder.bitcast(builder.not_(above), ir.IntType(LANES)), _BITS)
            bits = builder.or_(bits, builder.shl(here, _BITS(part * LANES)))
        return bits

    return types.uint64(left, right, row, types.float64), generate


def _everywhere(builder: ir.IRBuilder, value: Any) -> Any:
    nothing = ir.Constant(_VECTOR, ir.Undefined)
    one = builder.insert_element(nothing, value, _WORD(0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(_WORD, LANES), [0] * LANES))


def new_state(cash: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """States of accounts that hold nothing but cash, float64[accounts]: `float64[groups, ROWS, LANES]`."""
    groups = -(-len(cash) // LANES)
    padded = np.ones(groups * LANES)
    padded[: len(cash)] = cash
    state = np.zeros((groups, ROWS, LANES))
    for row in (CASH, LEVEL, BEFORE, PEAK):
        state[:, row] = padded.reshape(groups, LANES)
    # The first row finds none before it that is over: what it adds for that is taken off here.
    state[:, LEVELS] = -state[:, CASH]
    state[:, TROUGH] = 1.0
    state[:, LOWEST] = np.inf
    return state
