"""The ways to the portfolios: through the HTTP of a running service, or straight to their actors."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.policy import Policy


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of rows that were sent; what was accepted is durable.

    Attributes:
        accepted, replayed, refused: rows.
        errors: the first refused rows, as `error_entry` shows them; `row` is the place in the caller's file.
    """

    accepted: int = 0
    replayed: int = 0
    refused: int = 0
    errors: Sequence[dict[str, Any]] = field(default_factory=tuple)


class PortfolioGateway(Protocol):
    """A way to the portfolios. Every method may raise a `RaysignalError`."""

    async def standing(self, portfolio: str | None) -> dict[str, Any]:
        """A portfolio as `GET /performance/{portfolio}` shows it; None: the primary one."""

    async def trade_summary(self, portfolio: str) -> dict[str, Any]:
        """What a portfolio's trades come to, as `GET /v1/trades/summary` shows it."""

    async def ensure(self, portfolio: str, policy: Policy | None) -> tuple[dict[str, Any], bool]:
        """Create a portfolio where it does not exist; its standing, and whether it is new.

        Args:
            portfolio: its name.
            policy: what it is to have; None: what it has, or the default policy for a new one.

        Raises:
            PortfolioConflict: it exists with another policy.
        """

    async def send_one(
        self, portfolio: str, batch: SignalBatch, index: int, *, accept_price_jump: bool
    ) -> SendResult:
        """Send one row of a batch on its own."""

    async def send_batch(
        self, portfolio: str, batch: SignalBatch, *, skip: bool, accept_price_jump: bool
    ) -> SendResult:
        """Send a batch; with `skip`, its good rows are taken in although others are refused."""


def placed(entry: dict[str, Any], row: int) -> dict[str, Any]:
    """A row's error with its place in the caller's file, in the sentence as well."""
    detail = str(entry["detail"])
    stated = f"row {entry.get('row')}: "
    return entry | {"row": row, "detail": f"row {row}: {detail.removeprefix(stated)}"}
