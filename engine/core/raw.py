"""Bytes eight and four at a time for compiled code; and how such code is compiled.

numba reads and writes arrays an element at a time and the optimiser does not always put eight bytes together;
these say it outright. None looks at bounds: the caller has.
"""

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

# Without numba's counting of references to arrays. What is compiled so must not allocate: it is handed all its
# arrays by Python, which holds them. Counting them at every call made scanners five times slower.
compiled = njit(cache=True, nogil=True, _nrt=False)


_WORD, _HALF_WORD = ir.IntType(64), ir.IntType(32)


@intrinsic  # type: ignore[untyped-decorator]
def word_at(_context: Any, data: types.Array, at: types.Integer) -> tuple[Any, Any]:
    """The eight bytes of `data` from `at` on, as uint64 in the machine's order."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        return builder.load(builder.bitcast(place, _WORD.as_pointer()), align=1)

    return types.uint64(data, at), generate


@intrinsic  # type: ignore[untyped-decorator]
def half_word_at(_context: Any, data: types.Array, at: types.Integer) -> tuple[Any, Any]:
    """The four bytes of `data` from `at` on, as uint32 in the machine's order."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        return builder.load(builder.bitcast(place, _HALF_WORD.as_pointer()), align=1)

    return types.uint32(data, at), generate


@intrinsic  # type: ignore[untyped-decorator]
def copy_bytes(
    _context: Any,
    out: types.Array,
    to: types.Integer,
    data: types.Array,
    at: types.Integer,
    count: types.Integer,
) -> tuple[Any, Any]:
    """`out[to:to + count] = data[at:at + count]`; the two may overlap."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        target = context.make_array(signature.args[0])(context, builder, arguments[0])
        source = context.make_array(signature.args[2])(context, builder, arguments[2])
        cgutils.raw_memmove(
            builder,
            builder.gep(target.data, [arguments[1]]),
            builder.gep(source.data, [arguments[3]]),
            arguments[4],
            1,
        )
        return context.get_dummy_value()

    return types.void(out, to, data, at, count), generate
