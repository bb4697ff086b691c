"""Whole lines of the cache at a time, for compiled code.

Columns that do not fit into the caches are written in stretches, and a stretch begins with a wait for memory
at every line of it. Asked for some microseconds before, the lines are there. And a short stretch of one value
is set fastest without asking how short it is.
"""

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from raysignal.engine.core.arrays import Float64Array

LINE = 8  # doubles in a line of the cache

_BYTE, _WORD = ir.IntType(8), ir.IntType(32)
_DOUBLES = ir.VectorType(ir.DoubleType(), LINE)


@intrinsic  # type: ignore[untyped-decorator]
def splat(_context: Any, column: types.Array, row: types.Integer, value: types.Float) -> tuple[Any, Any]:
    """Set eight rows of a column to one value. Looks at no bounds: the caller has."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), _DOUBLES.as_pointer())
        nothing = ir.Constant(_DOUBLES, ir.Undefined)
        first = builder.insert_element(nothing, arguments[2], _WORD(0))
        everywhere = ir.Constant(ir.VectorType(_WORD, LINE), [0] * LINE)
        builder.store(builder.shuffle_vector(first, nothing, everywhere), place, align=8)
        return context.get_dummy_value()

    return types.void(column, row, value), generate


@intrinsic  # type: ignore[untyped-decorator]
def _prefetch(_context: Any, column: types.Array, row: types.Integer) -> tuple[Any, Any]:
    """Ask for the line of one row, into the second-level cache."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        byte = _BYTE.as_pointer()
        hint = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, _WORD, _WORD, _WORD]), "llvm.prefetch.p0"
        )
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), byte)
        reading, second_level, of_data = _WORD(0), _WORD(2), _WORD(1)
        builder.call(hint, [place, reading, second_level, of_data])
        return context.get_dummy_value()

    return types.void(column, row), generate


def _fetch(column: Float64Array, begin: int, rows: int) -> None:
    """Ask for so many rows of a column, from `begin` on, as far as it goes. Changes no value."""
    for row in range(begin, min(begin + rows, len(column)), LINE):
        _prefetch(column, row)


fetch = njit(cache=True, nogil=True, error_model="numpy", _nrt=False)(_fetch)
