"""The state of a paper account, and where it is kept: in tables (`paper_store`), or in memory for a backtest."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from raysignal.engine.execution.exchange import Fill, OrderReport, PaidFunding
from raysignal.engine.execution.holdings import Holdings
from raysignal.engine.execution.matching import ConsumedLevel, RestingOrder


@dataclass(frozen=True, slots=True)
class PaperState:
    """The state of a paper account: all that its next command depends on, but for the market.

    Attributes:
        orders: those that are not final, by client id.
        eaten: by symbol and side of the book, then price.
        clock_us: the latest instant that it was told of.
        version: the number of commands so far.
    """

    holdings: Holdings
    orders: Mapping[str, RestingOrder] = field(default_factory=dict)
    eaten: Mapping[tuple[str, int], Mapping[int, ConsumedLevel]] = field(default_factory=dict)
    clock_us: int = 0
    last_order: int = 0
    last_fill: int = 0
    version: int = 0


class PaperRecords(Protocol):
    """What a paper exchange writes to, one command at a time, and reads again."""

    @property
    def account(self) -> str:
        """Its name."""

    def open(self, venue: str, currency: str, holdings: Holdings) -> PaperState:
        """What is kept; a new account begins with `holdings`. `InvalidField` if it is another venue's or currency's."""

    def write(
        self, before: PaperState, after: PaperState, changed: Mapping[str, RestingOrder], fills: list[Fill],
        funding: PaidFunding | None = None,
    ) -> None:  # fmt: skip
        """One command, all of it or nothing; `Fenced` if another exchange has written to this account."""

    def report(self, client_id: str) -> OrderReport | None:
        """An order, final or not; None if there is none."""

    def fills(self, after: int) -> list[Fill]:
        """The account's fills with a larger ordinal."""

    def funding(self, from_us: int) -> list[PaidFunding]:
        """What positions paid from an instant on, in time."""


KEPT_ORDERS = 10_000
"""Orders that are over, of a paper account in memory; those of before are forgotten, with their fills."""


class MemoryPaperStore:
    """The records of one account in memory, for a backtest, whose account ends with it. Bounded, see `KEPT_ORDERS`."""

    def __init__(self, account: str, state: PaperState | None = None) -> None:
        """`state`: what it begins with; None: what the exchange says."""
        self.account = account
        self._state = state
        self._orders: dict[str, RestingOrder] = {}
        self._fills: deque[Fill] = deque(maxlen=KEPT_ORDERS)
        self._of_order: dict[str, list[Fill]] = {}
        self._funding: deque[PaidFunding] = deque(maxlen=KEPT_ORDERS)

    def open(self, venue: str, currency: str, holdings: Holdings) -> PaperState:
        """What is kept; a new account begins with `holdings`."""
        del venue, currency
        if self._state is None:
            self._state = PaperState(holdings)
        return self._state

    def write(
        self, before: PaperState, after: PaperState, changed: Mapping[str, RestingOrder], fills: list[Fill],
        funding: PaidFunding | None = None,
    ) -> None:  # fmt: skip
        """One command."""
        del before
        if funding is not None:
            self._funding.append(funding)
        self._state = after
        self._orders.update(changed)
        self._fills.extend(fills)
        for fill in fills:
            self._of_order.setdefault(fill.client_id, []).append(fill)
        while len(self._orders) > KEPT_ORDERS + len(after.orders):
            oldest = next(iter(self._orders))
            order = self._orders.pop(oldest)
            if oldest in after.orders:
                self._orders[oldest] = order  # it rests still
            else:
                self._of_order.pop(oldest, None)

    def report(self, client_id: str) -> OrderReport | None:
        """An order, final or not; None if there is none, or it was over long ago."""
        order = self._orders.get(client_id)
        if order is None:
            return None
        return OrderReport(order.ticket, order.progress, tuple(self._of_order.get(client_id, ())))

    def fills(self, after: int) -> list[Fill]:
        """The fills with a larger ordinal, of those that are kept."""
        newer: list[Fill] = []
        for fill in reversed(self._fills):
            if fill.ordinal <= after:
                break
            newer.append(fill)
        return newer[::-1]

    def funding(self, from_us: int) -> list[PaidFunding]:
        """What positions paid from an instant on, of what is kept."""
        return [each for each in self._funding if each.at_us >= from_us]
