"""Many configurations over the same bars at once, on one core: what a sweep is made of.

A configuration is a strategy and a policy. Its account ends on the same bytes as that of a `Ledger` which is given
the strategy's actions one by one; memory does not grow with the bars.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from engine.account import ACCOUNT_SIZE, Floats
from engine.errors import InvalidField
from engine.ledger import Ledger
from engine.policy import Policy
from engine.strategies.strategy import Bars, Family, Strategy, family

BLOCK = 4096  # bars that are worked on at once


class Sweep:
    """Configurations on their way through the bars of one symbol.

    Args:
        strategies: whose actions; as many as policies, or a family of so many.
        policies: one a configuration.
    """

    def __init__(self, strategies: Sequence[Strategy] | Family, policies: Sequence[Policy]) -> None:
        if isinstance(strategies, Sequence):
            if len(strategies) != len(policies):
                raise InvalidField("strategies", len(strategies), f"as many as policies, {len(policies)}")
            strategies = family(strategies)
        self._family = strategies
        self._ledgers = [Ledger(policy) for policy in policies]
        for ledger in self._ledgers:
            ledger.ensure_symbols(1)

    def advance(self, bars: Bars) -> None:
        """Take the next bars in: `InvalidField` names the row of a price that is not finite and above 0."""
        edges = [*range(0, len(bars), BLOCK), len(bars)]
        for start, stop in pairwise(edges):
            part = bars.slice(start, stop)
            actions = np.zeros((len(self._ledgers), len(part)), dtype=np.int8)
            self._family.advance(part, actions)
            symbol = np.zeros(len(part), dtype=np.int32)
            for ledger, row in zip(self._ledgers, actions, strict=True):
                ledger.run(part.known_at_us, symbol, row, part.close)

    def accounts(self) -> Floats:
        """float64[configurations, ACCOUNT_SIZE], see `engine.account`; for `engine.performance.performance_table`."""
        if not self._ledgers:
            return np.empty((0, ACCOUNT_SIZE))
        return np.stack([ledger.account for ledger in self._ledgers])
