"""The kernel: the only place where money moves.

One compiled step (`engine.portfolio.kernel`) turns signals into fills, cash, positions and the figures of
`engine.portfolio.performance`. A live actor calls it with one signal, a replay with an array, a sweep with an array per
configuration: the same step each time, so that all of them end on the same bytes.

What a row does, in this order:

0. What is held meets its bracket, if it has one: `fills.crossed` says which level the row met, and the position is
   closed there, with fee and slippage as in any fill. Stop and target are the signal's own, else the policy's, as far
   from the price of the row that opened the position; what is trailed is the best price of the rows since then. The
   range of a row's bar (`high`, `low`) counts where it is known: the bar was before the row's own order.
1. The order is the row's own action (policy fill `signal`), or the action that the symbol's previous row left
   waiting (fill `next`), with its size and bracket. A signal whose confidence is below the policy's is a HOLD; an
   order that waits and has expired is dropped. CLOSE closes, whatever the side, and opens nothing. The order is
   executed at the row's price, made worse by slippage. Under `next` the row's fill therefore belongs to the decision
   of the row before.
2. A side already held is left alone. Otherwise the position on the other side is closed and pays its fee. A
   BUY, or under `long-short` a SELL, then opens with `budget = min(weight * equity, free)` (the
   signal's `size` in place of the weight, if it has one) and
   `quantity = budget / (fill_price * (1 + fee))`, so that a buy spends its budget exactly, fee included.
   `free` is cash less twice what the other symbols' shorts are worth: the money that a short brought in, and
   as much again, stays behind to cover it. So positions never open beyond equity; without shorts `free` is
   the cash.
3. Equity is cash plus every position at its symbol's last price, summed anew on each row.
4. The figures take the row in, and buy-and-hold beside it. All rows of one stamp are one instant and one period:
   its return is that of the equity after its last row on the equity before its first. A row whose stamp is not
   later than every one before it belongs to the last instant.

No margin call is simulated: a short whose price explodes takes equity below zero. Nothing opens then (closing
stays possible), returns count as zero until equity is above zero again, and the account is ruined for good.

Timestamps never decrease within a symbol; that is checked where signals are taken in, not here.
"""

import struct
import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from raysignal.engine.core.arrays import Float64Array, Int8Array, Int32Array, Int64Array
from raysignal.engine.core.errors import InvalidField, JournalDamaged
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.terms import TERMS, SignalTerms
from raysignal.engine.portfolio import account as at
from raysignal.engine.portfolio.account import ACCOUNT_SIZE, BRACKET_SIZE, POSITION_SIZE, new_account
from raysignal.engine.portfolio.policy_columns import policy_vector

_NO_ROWS = LedgerRows.empty(0).arrays()
_NO_ACCOUNTS = np.empty((0, ACCOUNT_SIZE))
_NO_TERMS, _NO_PRICES = np.empty((0, len(TERMS))), np.empty(0)


class Ledger:
    """The state of one portfolio.

    `account` is float64[ACCOUNT_SIZE], `positions` float64[symbols, POSITION_SIZE], `brackets` float64[symbols,
    BRACKET_SIZE], laid out in `engine.portfolio.account`; a symbol is its row's number. Not for use from two threads
    at once.
    """

    __slots__ = ("_room", "_vector", "_work", "account", "brackets", "policy", "positions")

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.account = new_account(policy.initial_cash)
        self.positions = np.zeros((0, POSITION_SIZE))
        self.brackets = np.zeros((0, BRACKET_SIZE))
        self._vector: Float64Array | None = None
        self._work: Float64Array | None = None
        self._room = 0  # rows that `_work` has room for

    def ensure_symbols(self, count: int) -> None:
        """Make room for symbols 0 to count - 1; never takes room away."""
        missing = count - len(self.positions)
        if missing > 0:
            self.positions = np.concatenate([self.positions, np.zeros((missing, POSITION_SIZE))])
            self.brackets = np.concatenate([self.brackets, np.zeros((missing, BRACKET_SIZE))])

    def run(
        self,
        timestamp_us: Int64Array,
        symbol: Int32Array,
        action: Int8Array,
        price: Float64Array,
        rows: LedgerRows | None = None,
        accounts: Float64Array | None = None,
        *,
        terms: SignalTerms | None = None,
        hold: bool = True,
    ) -> None:
        """Take n signals in, in their order. However they are cut into calls, the bytes end the same.

        Args:
            timestamp_us: UTC microseconds, before the year 2255.
            symbol: codes below the count given to `ensure_symbols`.
            action: 1 buy, 0 hold, -1 sell, 2 close.
            price: finite, above 0.
            rows: filled with what each row did, if given; of length n.
            accounts: float64[n, ACCOUNT_SIZE], filled with the account after each row, if given.
            terms: what the signals say beside their action, and the ranges of their bars; None: nothing.
            hold: whether to keep the figures of buy-and-hold, which are the same for every policy.

        Raises:
            InvalidField: a row that cannot be taken in, by its position; nothing has changed.
            ValueError: arrays of different lengths.
        """
        inputs = (
            np.ascontiguousarray(timestamp_us, dtype=np.int64),
            np.ascontiguousarray(symbol, dtype=np.int32),
            np.ascontiguousarray(action, dtype=np.int8),
            np.ascontiguousarray(price, dtype=np.float64),
        )
        n = len(inputs[0])
        outputs = _NO_ROWS if rows is None else rows.arrays()
        lengths = {len(column) for column in inputs}
        lengths |= set() if rows is None else {len(column) for column in outputs}
        lengths |= set() if accounts is None else {len(accounts)}
        more: tuple[Float64Array, ...] = (_NO_TERMS, _NO_PRICES, _NO_PRICES)
        if terms is not None:
            told = (terms.values, terms.high, terms.low)
            lengths |= {len(column) for column in told if column is not None}
            more = tuple(
                none if column is None else np.ascontiguousarray(column)
                for column, none in zip(told, more, strict=True)
            )
        if lengths != {n}:
            raise ValueError(f"signals, rows and accounts differ in length: {sorted(lengths)}")
        if n == 0:
            return
        kernel = _kernel()
        if self._vector is None:
            self._vector = policy_vector(self.policy)
        if self._room < n and self._room < kernel.BLOCK:
            self._room = min(n, kernel.BLOCK)
            self._work = kernel.block.workspace(self._room)
        before = self.copy() if n > kernel.CHECKED else None
        refused = kernel.advance(
            self._vector, self.account, self.positions, self.brackets, *inputs, *more, *outputs,
            _NO_ACCOUNTS if accounts is None else accounts, self._work, hold,
        )  # fmt: skip
        if refused >= 0:
            if before is not None:
                self.account[:], self.positions[:] = before.account, before.positions
                self.brackets[:] = before.brackets
            raise _refusal(refused, len(self.positions), *(column[refused].item() for column in inputs))

    def copy(self) -> "Ledger":
        """The same state, independent of this one."""
        twin = Ledger(self.policy)
        twin.account = self.account.copy()
        twin.positions = self.positions.copy()
        twin.brackets = self.brackets.copy()
        return twin

    @property
    def equity(self) -> float:
        """Cash and every position at its symbol's last price."""
        return float(self.account[at.EQUITY])

    @property
    def cash(self) -> float:
        """Money not in positions; what shorts brought in is part of it."""
        return float(self.account[at.CASH])

    def last_price(self, symbol: int) -> float | None:
        """The price of the symbol's last signal; None before the first."""
        price = float(self.positions[symbol, at.PRICE]) if symbol < len(self.positions) else 0.0
        return price or None

    def last_timestamp_us(self, symbol: int) -> int | None:
        """The instant of the symbol's last signal, its high-water mark; None before the first."""
        return None if self.last_price(symbol) is None else int(self.positions[symbol, at.STAMP])

    def to_bytes(self) -> bytes:
        """Header (magic, version, sizes), account and positions as little-endian float64, CRC-32 of all
        before. Where there are brackets, they stand behind the positions, and the version is the next.
        """
        bracketed = bool(self.brackets.any())
        version = _BRACKETED if bracketed else _VERSION
        header = _HEADER.pack(_MAGIC, version, ACCOUNT_SIZE, POSITION_SIZE, len(self.positions))
        body = header + self.account.astype("<f8").tobytes() + self.positions.astype("<f8").tobytes()
        body += self.brackets.astype("<f8").tobytes() if bracketed else b""
        return body + struct.pack("<I", zlib.crc32(body))

    @staticmethod
    def is_current(data: bytes) -> bool:
        """Whether such bytes are of this version; those of one before are read, but counted in another way."""
        return data[4:6] in {struct.pack("<H", _VERSION), struct.pack("<H", _BRACKETED)}

    @staticmethod
    def is_bracketed(data: bytes) -> bool:
        """Whether such bytes hold brackets."""
        return data[4:6] == struct.pack("<H", _BRACKETED)

    @classmethod
    def from_bytes(cls, policy: Policy, data: bytes) -> "Ledger":
        """The ledger that `to_bytes` wrote, in this version or one before.

        Before version 3 every row counted as a period; rows that are in such a ledger go on doing so.

        Raises:
            JournalDamaged: not such bytes, another version, or of a portfolio with other initial cash.
        """
        numbers = _numbers(data)
        symbols = _HEADER.unpack_from(data)[-1]
        ledger = cls(policy)
        ledger.ensure_symbols(symbols)
        ledger.account = numbers[:ACCOUNT_SIZE].copy()
        positions, brackets = np.split(numbers[ACCOUNT_SIZE:], [symbols * POSITION_SIZE])
        ledger.positions = positions.reshape(-1, POSITION_SIZE).copy()
        if len(brackets):
            ledger.brackets = brackets.reshape(-1, BRACKET_SIZE).copy()
        if ledger.account[at.INITIAL_CASH] != policy.initial_cash:
            raise JournalDamaged(
                f"a ledger that began with {ledger.account[at.INITIAL_CASH]!r} was stored for a portfolio "
                f"that begins with {policy.initial_cash!r}"
            )
        return ledger


def sweep(
    policies: Sequence[Policy],
    timestamp_us: Int64Array,
    symbol: Int32Array,
    action: Int8Array,
    price: Float64Array,
    terms: SignalTerms | None = None,
) -> Float64Array:
    """The accounts after the last row, float64[len(policies), ACCOUNT_SIZE]: each policy on the same signals.

    Serial, on one core; memory does not grow with the rows. Raises as `Ledger.run` does.
    """
    accounts = np.empty((len(policies), ACCOUNT_SIZE))
    count = int(np.max(symbol, initial=-1)) + 1
    for index, policy in enumerate(policies):
        ledger = Ledger(policy)
        ledger.ensure_symbols(count)
        ledger.run(timestamp_us, symbol, action, price, terms=terms, hold=index == 0)
        accounts[index] = ledger.account
    accounts[1:, at.HOLD_VALUE :] = accounts[:1, at.HOLD_VALUE :]  # the layout ends with buy-and-hold
    return accounts


def warm() -> None:
    """Load the compiled step, compiling it (some seconds) where no cache holds it yet."""
    _kernel()


_MAGIC = b"RSLG"
_VERSION, _BRACKETED = 3, 4
_SIZES = {
    1: (32, 6), 2: (34, 6), _VERSION: (ACCOUNT_SIZE, POSITION_SIZE), _BRACKETED: (ACCOUNT_SIZE, POSITION_SIZE),
}  # fmt: skip
"""Of account and position, by stored version."""
_HEADER = struct.Struct("<4sHHHI")
_CRC_SIZE = 4


def _numbers(data: bytes) -> Float64Array:
    if len(data) < _HEADER.size + _CRC_SIZE:
        raise JournalDamaged(f"a stored ledger of {len(data)} bytes is shorter than its header")
    magic, version, account_size, position_size, symbols = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise JournalDamaged(f"a stored ledger begins with {magic!r}; expected {_MAGIC!r}")
    if _SIZES.get(version) != (account_size, position_size):
        raise JournalDamaged(
            f"a stored ledger has version {version} ({account_size} by {position_size}); this program reads "
            f"versions 1 to {_BRACKETED} ({ACCOUNT_SIZE} by {POSITION_SIZE})"
        )
    each = position_size + (BRACKET_SIZE if version == _BRACKETED else 0)
    expected = _HEADER.size + 8 * (account_size + symbols * each) + _CRC_SIZE
    if len(data) != expected:
        raise JournalDamaged(
            f"a stored ledger of {symbols} symbols has {len(data)} bytes; expected {expected}"
        )
    body, (crc,) = data[:-_CRC_SIZE], struct.unpack("<I", data[-_CRC_SIZE:])
    if zlib.crc32(body) != crc:
        raise JournalDamaged("a stored ledger does not match its checksum")
    numbers = np.frombuffer(body, dtype="<f8", offset=_HEADER.size).astype(np.float64)
    if version == 1:
        numbers = _second_version(numbers)
    return _third_version(numbers) if version < _VERSION else numbers


def _second_version(numbers: Float64Array) -> Float64Array:
    """Version 1 kept mean and squared distances of returns by Welford: sums about the mean, so their sum is 0."""
    return np.insert(numbers, (16, 28), 0.0)


def _third_version(numbers: Float64Array) -> Float64Array:
    """Version 2 had the return of every row in its sums. The last instant of this one begins with nothing earned, and
    its return of 0 is taken out of the sums beforehand, so that count, mean and variance stay as they were.
    """
    signals, equity, held = numbers[at.SIGNALS], numbers[at.EQUITY], numbers[25]
    found = np.insert(numbers, (13, 13, 26), (max(signals - 1.0, 0.0), equity, held))
    if signals > 0.0:
        found[at.EQUITY_SUM] -= equity
        for anchor in (at.RETURN_ANCHOR, at.HOLD_ANCHOR):
            found[anchor + 1] += found[anchor]
            found[anchor + 2] -= found[anchor] ** 2
    return found


def _refusal(
    row: int, symbols: int, timestamp_us: int, symbol: int, action: int, price: float
) -> InvalidField:
    if not 0.0 < price < float("inf"):
        return InvalidField("price", price, "a finite number above 0", row=row)
    if action not in {-1, 0, 1, 2}:
        return InvalidField("action", action, "-1, 0, 1 or 2", row=row)
    if not 0 <= symbol < symbols:
        return InvalidField("symbol", symbol, f"a code from 0 to {symbols - 1}", row=row)
    return InvalidField(
        "timestamp_us", timestamp_us, "microseconds since 1970, before the year 2255", row=row
    )


@cache
def _kernel() -> Any:
    from raysignal.engine.portfolio import kernel  # noqa: PLC0415 - imports numba, half a second; paid at first use

    return kernel
