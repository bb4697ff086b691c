"""Many configurations over the same bars at once, on one core: what a sweep is made of.

A configuration is a strategy and a policy. Its account ends on the same bytes as that of a `Ledger` which is given
the strategy's actions one by one; memory does not grow with the bars. The work is done in
`engine.portfolio.simd.advance`, eight configurations at a time.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from raysignal.engine.core.arrays import Float64Array, Int8Array
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.instants import format_instant
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Action
from raysignal.engine.core.terms import TERMS, SignalTerms
from raysignal.engine.portfolio import account as at
from raysignal.engine.portfolio.account import ACCOUNT_SIZE, new_account
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.policy_columns import POLICY_SIZE, policy_vector
from raysignal.engine.portfolio.simd import marching as to
from raysignal.engine.strategies.strategy import Bars, Family, Strategy, family

_NO_ACTIONS, _NO_TERMS, _NO_PRICES = np.empty(0, np.int8), np.empty((0, len(TERMS))), np.empty(0)
BLOCK, _LEAST = 4096, 512  # bars that are worked on at once
_LARGEST = 2 * 1024 * 1024  # bytes of actions at once: they stay near the core


class Sweep:
    """Configurations on their way through the bars of one symbol.

    Args:
        strategies: whose actions; as many as policies, or a family of so many.
        policies: one a configuration.
        follows: whether the actions are those of signals, which `advance` is told then.
    """

    def __init__(
        self, strategies: Sequence[Strategy] | Family, policies: Sequence[Policy], *, follows: bool = False
    ) -> None:
        if isinstance(strategies, Sequence):
            if len(strategies) != len(policies):
                raise InvalidField("strategies", len(strategies), f"as many as policies, {len(policies)}")
            strategies = family(strategies)
        self._family = strategies
        self._follows = follows
        count = len(policies)
        self._block = max(_LEAST, min(BLOCK, _LARGEST // max(1, count)))
        self._policies = _vectors(policies)
        self._accounts = (
            np.stack([new_account(one.initial_cash) for one in policies]) if count else _nothing()
        )
        self._held = np.zeros((count, _lanes().HELD))
        self._states = to.new_state(self._accounts[:, at.INITIAL_CASH])
        # Buy-and-hold is the same for all, and clock and checks are a ledger's.
        self._shared = Ledger(Policy())
        self._shared.ensure_symbols(1)
        self._actions: Int8Array = np.zeros((count, self._block), np.int8)

    def advance(self, bars: Bars, signals: Int8Array | None = None, terms: SignalTerms | None = None) -> None:
        """Take the next bars in.

        Args:
            bars: n of them.
            signals: int8[n], the signals that are followed, where there are any: a stop or target of theirs counts
                where a configuration does what they ask for.
            terms: what they say beside their action, and the ranges of the bars where those of `bars` do not count.

        Raises:
            InvalidField: a close that is not finite and above 0, or an instant that is not after the one before, by
                its row; nothing has changed.
        """
        stamps, close = np.ascontiguousarray(bars.known_at_us), np.ascontiguousarray(bars.close)
        if not len(stamps):
            return
        self._check(stamps)
        before = int(self._shared.account[at.SIGNALS])
        nothing = np.zeros(len(stamps), np.int8)
        self._shared.run(stamps, nothing.astype(np.int32), nothing, close)
        terms = SignalTerms(None, bars.high, bars.low) if terms is None else terms
        if (
            not self._follows
            or signals is None
            or (
                terms.values is None
                and int(signals.max()) <= Action.BUY
                and not (self._held[:, _lanes().WAITING] > Action.BUY).any()  # a CLOSE of the bars before
            )
        ):
            signals, terms = None, SignalTerms(None, terms.high, terms.low)
        named = _NO_ACTIONS if signals is None else np.ascontiguousarray(signals, np.int8)
        columns = [named] + [
            none if column is None else np.ascontiguousarray(column)
            for column, none in ((terms.values, _NO_TERMS), (terms.high, _NO_PRICES), (terms.low, _NO_PRICES))
        ]
        for start in range(0, len(stamps), self._block):
            stop = min(start + self._block, len(stamps))
            actions = self._actions if stop - start == self._block else np.zeros(
                (len(self._policies), stop - start), np.int8
            )  # fmt: skip
            self._family.advance(bars.slice(start, stop), actions)
            _lanes().advance(
                self._policies, self._accounts, self._held, self._states, stamps[start:stop], actions,
                close[start:stop], *(column[start:stop] for column in columns), before + start,
            )  # fmt: skip

    def accounts(self) -> Float64Array:
        """float64[configurations, ACCOUNT_SIZE], see `engine.portfolio.account`; for
        `engine.portfolio.performance.performance_table`.
        """
        accounts, shared = self._accounts.copy(), self._shared.account
        signals = shared[at.SIGNALS]
        if not len(accounts) or signals == 0.0:
            return accounts
        lanes = self._states.transpose(0, 2, 1).reshape(-1, to.ROWS)[: len(accounts)]
        for place, row in _LANES_OF.items():
            accounts[:, place] = lanes[:, row]
        accounts[:, at.TROUGH] = np.minimum(lanes[:, to.TROUGH], lanes[:, to.LOWEST] / lanes[:, to.PEAK])
        price = float(self._shared.positions[0, at.PRICE])
        module = _lanes()
        quantity, basis = self._held[:, module.QUANTITY], self._held[:, module.BASIS]
        accounts[:, at.UNREALISED] = 0.0 + (quantity * price - basis)
        accounts[:, at.SIGNALS], accounts[:, at.PERIODS] = signals, shared[at.PERIODS]
        accounts[:, at.FIRST_US], accounts[:, at.LAST_US] = shared[at.FIRST_US], shared[at.LAST_US]
        open_ = accounts[:, at.OPEN] != 0.0
        accounts[open_, at.EXPOSED_US] += shared[at.LAST_US] - self._held[open_, module.SINCE]
        accounts[:, at.HOLD_VALUE :] = shared[at.HOLD_VALUE :]  # the layout ends with buy-and-hold
        return accounts

    def _check(self, stamps: Any) -> None:
        last = self._shared.last_timestamp_us(0)
        late = np.flatnonzero(np.diff(stamps, prepend=stamps[0] - 1 if last is None else last) <= 0)
        if len(late):
            row = int(late[0])
            raise InvalidField(
                "timestamp",
                format_instant(int(stamps[row])),
                "an instant after that of the bar before",
                row=row,
            )


_LANES_OF = {
    at.EQUITY: to.LEVEL, at.BEFORE: to.BEFORE, at.EQUITY_SUM: to.LEVELS, at.RETURN_ANCHOR: to.ANCHOR,
    at.RETURN_SUM: to.TOTAL, at.RETURN_SQUARES: to.SQUARES, at.DOWNSIDE: to.LOSSES, at.PEAK: to.PEAK,
    at.LAST_RETURN: to.RETURN,
}  # fmt: skip


def warm() -> None:
    """Load the compiled loop, compiling it where no cache holds it yet."""
    _lanes()


def _nothing() -> Float64Array:
    return np.zeros((0, ACCOUNT_SIZE))


def _vectors(policies: Sequence[Policy]) -> Float64Array:
    if not policies:
        return np.zeros((0, POLICY_SIZE))
    made: dict[Policy, Float64Array] = {}
    for one in policies:
        if one not in made:
            made[one] = policy_vector(one)
    return np.stack([made[one] for one in policies])


@cache
def _lanes() -> Any:
    # Imports numba, and compiles or loads; paid at first use.
    from raysignal.engine.portfolio.simd import advance  # noqa: PLC0415

    return advance
