"""Text of many rows at once: every field a matrix of bytes, one line a row, padded with NUL."""

import numpy as np

from raysignal.engine.core.arrays import Int64Array, UInt8Array
from raysignal.engine.core.instants import MICROSECONDS


def joined(pieces: list[bytes | UInt8Array], rows: int) -> bytes:
    """The pieces side by side in every row, without the NULs that pad them."""
    widths = [len(piece) if isinstance(piece, bytes) else piece.shape[1] for piece in pieces]
    matrix = np.empty((rows, sum(widths)), np.uint8)
    at = 0
    for piece, width in zip(pieces, widths, strict=True):
        matrix[:, at : at + width] = np.frombuffer(piece, np.uint8) if isinstance(piece, bytes) else piece
        at += width
    flat = matrix.ravel()
    text: bytes = flat[flat != 0].tobytes()
    return text


def _matrix(choices: tuple[str, ...]) -> UInt8Array:
    """ASCII words as uint8[n, longest], padded with NUL."""
    encoded = [word.encode("ascii") for word in choices]
    width = max(len(word) for word in encoded)
    whole = b"".join(word.ljust(width, b"\0") for word in encoded)
    return np.frombuffer(whole, np.uint8).reshape(len(choices), width)


_FOUR_DIGITS = _matrix(tuple(f"{number:04}" for number in range(10_000)))
_TIMES_OF_DAY = _matrix(
    tuple(f"T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}" for second in range(86_400))
)


def words(codes: Int64Array, choices: tuple[str, ...]) -> UInt8Array:
    """`choices[code]` for every code; ASCII."""
    texts: UInt8Array = _matrix(choices)[codes]
    return texts


def digits(values: Int64Array, width: int) -> UInt8Array:
    """Whole numbers of at most `width` digits, with leading zeros: uint8[n, width]."""
    groups = -(-width // 4)
    parts = [_FOUR_DIGITS[values // 10_000**group % 10_000] for group in reversed(range(groups))]
    return np.hstack(parts)[:, -width:]


def decimal(values: Int64Array, *, whole: int, places: int) -> UInt8Array:
    """`values` / 10**places with `whole` digits before the point."""
    figures = digits(values, whole + places)
    point = np.full((len(values), 1), ord("."), np.uint8)
    return np.hstack([figures[:, :whole], point, figures[:, whole:]])


def without_leading_zeros(figures: UInt8Array) -> UInt8Array:
    """Leading zeros made NUL; a lone zero stays."""
    leading = np.logical_and.accumulate(figures == ord("0"), axis=1)
    leading[:, -1] = False
    return np.where(leading, np.uint8(0), figures)


def stamps(instant_us: Int64Array, *, in_seconds: bool) -> UInt8Array:
    """ISO 8601 with Z, in seconds or else with milliseconds."""
    second = instant_us // MICROSECONDS
    day = second // 86_400
    first = int(day[0])
    dates = np.arange(first, int(day[-1]) + 1).astype("datetime64[D]").astype(str)
    parts = [_matrix(tuple(dates.tolist()))[day - first], _TIMES_OF_DAY[second % 86_400]]
    if not in_seconds:
        milliseconds = instant_us // 1_000 % 1_000
        parts += [words(np.zeros_like(day), (".",)), digits(milliseconds, 3)]
    return np.hstack([*parts, words(np.zeros_like(day), ("Z",))])
