"""Eight accounts side by side through rows of prices, in the lanes of the processor.

What follows from prices while nobody trades (`engine.portfolio.kernel` has it row by row for one account: level,
return, sums, peak and trough), for eight accounts at once in each step. Each lane does the same operations in the
same order, so its bits are those of the kernel. A trough is lowest level over peak: as long as the peak stays, the
lowest level is enough, and it is divided once when the peak rises.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from raysignal.engine.core.simd import LANES, VECTOR, broadcast

(CASH, QUANTITY, ANCHOR, LEVEL, LEVELS, TOTAL, SQUARES, LOSSES, PEAK, LOWEST, TROUGH, RETURN, BEFORE) = range(
    13
)
"""The rows of a state, float64[ROWS, LANES]; the first three are as they are while the others go along.

`LEVEL`, `BEFORE` and `RETURN` are of the last row; sums, peak and troughs are of those before it.
"""

ROWS = 13
_FIXED = 3


@intrinsic  # type: ignore[untyped-decorator]
def march(
    _context: Any, state: types.Array, prices: types.Array, begin: types.Integer, end: types.Integer
) -> tuple[Any, Callable[..., Any]]:
    """Take rows `begin` to `end` of the prices in. Looks at no bounds: the caller has."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        table = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        column = context.make_array(signature.args[1])(context, builder, arguments[1]).data
        index = ir.IntType(64)
        first = builder.bitcast(table, VECTOR.as_pointer())
        places = [builder.gep(first, [index(row)]) for row in range(ROWS)]
        fixed = [builder.load(places[row], align=8) for row in range(_FIXED)]
        slots = {row: cgutils.alloca_once(builder, VECTOR) for row in range(_FIXED, ROWS)}
        for row, slot in slots.items():
            builder.store(builder.load(places[row], align=8), slot)
        at = cgutils.alloca_once(builder, index)
        builder.store(arguments[2], at)

        test, body, done = (builder.append_basic_block(name) for name in ("test", "body", "done"))
        builder.branch(test)
        builder.position_at_end(test)
        builder.cbranch(builder.icmp_signed("<", builder.load(at), arguments[3]), body, done)

        builder.position_at_end(body)
        _row(builder, fixed, slots, broadcast(builder, builder.load(builder.gep(column, [builder.load(at)]))))
        builder.store(builder.add(builder.load(at), index(1)), at)
        builder.branch(test)

        builder.position_at_end(done)
        for row, slot in slots.items():
            builder.store(builder.load(slot), places[row], align=8)
        return context.get_dummy_value()

    return types.void(state, prices, begin, end), generate


def _row(builder: ir.IRBuilder, fixed: list[Any], slots: dict[int, Any], price: Any) -> None:
    """One row; strict IEEE, in the order of `engine.portfolio.kernel`."""
    cash, quantity, anchor = fixed
    nothing, one = ir.Constant(VECTOR, [0.0] * LANES), ir.Constant(VECTOR, [1.0] * LANES)

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
