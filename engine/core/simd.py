"""Vector instructions for compiled loops: which of 64 rows is a loop to look at? Machine code, for numba.

None of these looks at bounds: the caller has.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

LANES = 8
"""Values of float64 in one vector."""
VECTOR = ir.VectorType(ir.DoubleType(), LANES)

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
        by = broadcast(builder, arguments[3])
        bits = ir.Constant(_BITS, 0)
        for part in range(ACTIONS // LANES):
            at = builder.add(arguments[2], ir.IntType(64)(part * LANES))
            first, second = (
                builder.load(builder.bitcast(builder.gep(column, [at]), VECTOR.as_pointer()), align=8)
                for column in columns
            )
            above = builder.fcmp_ordered(">", builder.fsub(first, second), builder.fmul(by, second))
            here = builder.zext(builder.bitcast(builder.not_(above), ir.IntType(LANES)), _BITS)
            bits = builder.or_(bits, builder.shl(here, _BITS(part * LANES)))
        return bits

    return types.uint64(left, right, row, types.float64), generate


def broadcast(builder: ir.IRBuilder, value: Any) -> Any:
    """A vector that holds the value in every lane."""
    nothing = ir.Constant(VECTOR, ir.Undefined)
    one = builder.insert_element(nothing, value, ir.IntType(32)(0))
    return builder.shuffle_vector(
        one, nothing, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    )
