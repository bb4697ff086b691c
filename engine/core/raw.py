"""Bytes eight at a time, and runs of them at once, for compiled code; and how such code is compiled.

numba reads and writes arrays an element at a time and the optimiser does not always put eight bytes together;
these two say it outright. Neither looks at bounds: the caller has.
"""

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

# Without numba's counting of references to arrays. What is compiled so must not allocate: it is handed all its
# arrays by Python, which holds them. Counting them at every call made the scanners five times slower.
compiled = njit(cache=True, nogil=True, _nrt=False)


def compiled_as(signature: Any) -> Any:
    """As `compiled`, for one signature: compiled (or taken from the cache) at import, never at a call."""
    return njit(signature, cache=True, nogil=True, _nrt=False)


_WORD, _HALF_WORD = ir.IntType(64), ir.IntType(32)
_RUN_BYTES = 32
_RUN = ir.VectorType(ir.IntType(8), _RUN_BYTES)


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
def text_marks(_context: Any, data: types.Array, at: types.Integer) -> tuple[Any, Any]:
    """Which of the 32 bytes of `data` from `at` on are quotes, backslashes or control characters.

    uint32, the lowest bit for the first byte. Written for vectors, which the optimiser makes of no loop that
    ends where it finds something.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        run = builder.load(builder.bitcast(place, _RUN.as_pointer()), align=1)
        quotes = builder.icmp_unsigned("==", run, ir.Constant(_RUN, [34] * _RUN_BYTES))
        slashes = builder.icmp_unsigned("==", run, ir.Constant(_RUN, [92] * _RUN_BYTES))
        controls = builder.icmp_unsigned("<", run, ir.Constant(_RUN, [32] * _RUN_BYTES))
        hits = builder.or_(builder.or_(quotes, slashes), controls)
        return builder.bitcast(hits, _HALF_WORD)

    return types.uint32(data, at), generate


@intrinsic  # type: ignore[untyped-decorator]
def lowest_bit(_context: Any, _word: types.Integer) -> tuple[Any, Any]:
    """The position of the lowest bit that is set in a word that is not zero."""

    def generate(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        return builder.zext(builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1)), _WORD)

    return types.int64(types.uint32), generate


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
