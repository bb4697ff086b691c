"""A hint to the processor, for compiled code: these rows of a column are written soon.

Columns that do not fit into the caches are written in stretches, and a stretch begins with a wait for memory
at every line of it. Asked for some microseconds before, the lines are there. A hint changes no value.
"""

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

_LINE = 8  # doubles in a line of the caches


@intrinsic  # type: ignore[untyped-decorator]
def _prefetch(_context: Any, column: Any, row: Any) -> Any:
    """Ask for the line of one row, into the second-level cache."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        hint = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, word, word, word]), "llvm.prefetch.p0"
        )
        place = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        reading, second_level, of_data = word(0), word(2), word(1)
        builder.call(hint, [place, reading, second_level, of_data])
        return context.get_dummy_value()

    return types.void(column, row), generate


def _fetch(column: NDArray[np.float64], begin: int, end: int) -> None:
    for row in range(begin, min(end, len(column)), _LINE):
        _prefetch(column, row)


fetch = njit(cache=True, nogil=True, error_model="numpy", _nrt=False)(_fetch)
