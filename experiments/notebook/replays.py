"""One portfolio over signals, in this process: the kernel that a live portfolio has."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.ledger_rows import CloseReason, LedgerRows, Outcome, reason
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.performance import Performance
from raysignal.experiments.formats import FILLED, percent, total_return
from raysignal.experiments.notebook.frames import Signals
from raysignal.experiments.notebook.study import Study, figures_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WORDS = pa.array([outcome.name for outcome in Outcome])
_CLOSED = pa.array([None, *(by.name for by in CloseReason if by != CloseReason.SIGNAL)])
_REASONS = pa.array([reason(outcome) for outcome in Outcome], pa.string())
_MONEY, _RATIO, _WHOLE = "{:,.2f}".format, "{:.4f}".format, "{:,d}".format
_SHOWN: dict[str, Any] = {
    "equity": _MONEY, "total_return": "{:+.4%}".format, "max_drawdown": "{:.2%}".format, "sharpe": _RATIO,
    "sortino": _RATIO, "calmar": _RATIO, "sharpe_per_period": _RATIO, "sortino_per_period": _RATIO,
    "return_over_drawdown": _RATIO, "periods": _WHOLE, "periods_per_year": "{:,.6g}".format, "calendar": str,
    "trades": _WHOLE, "win_rate": "{:.2%}".format, "profit_factor": _RATIO, "fees": _MONEY, "exposure": "{:.2%}".format,
    "turnover": _RATIO,
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Replay(Study):
    """What a portfolio became: `frame` has a row a signal, in the words of the history.

    `summary` has the figures of `GET /performance`.

    Attributes:
        signals: what it was given.
        policy: its policy.
        rows: what each signal did.
        performance: the figures.
    """

    signals: Signals
    policy: Policy
    rows: LedgerRows
    performance: Performance

    @property
    def table(self) -> pa.Table:
        signals = self.signals.table.select(["timestamp", "symbol", "signal", "price"])
        rows = self.rows.columns()
        outcome = rows.pop("outcome")
        columns = {name: signals[name] for name in signals.column_names}
        columns["outcome"] = _WORDS.take(pa.array(outcome))
        columns["reason"] = _REASONS.take(pa.array(outcome))
        columns |= {name: pa.array(values) for name, values in rows.items()}
        columns["executed"] = _WORDS.take(pa.array(rows["executed"]))
        columns["closed_by"] = _CLOSED.take(pa.array(rows["closed_by"]))
        columns["exit_price"] = pa.array(rows["exit_price"], mask=rows["exit_price"] == 0.0)
        columns["fill_price"] = pa.array(rows["fill_price"], mask=np.isnan(rows["fill_price"]))
        return pa.table(columns)

    @property
    def summary(self) -> dict[str, Any]:
        return self.performance.as_dict()

    @property
    def sentences(self) -> tuple[str, ...]:
        found = self.summary
        policy = self.policy
        ruined = "RUINED: equity was not above zero at some time. " if found["ruined"] else ""
        earned = f"{total_return(found)} in {found['trades']:,d} trades"
        held = f"holding {total_return(found['buy_and_hold'])}"
        costs = f"fee {policy.fee_bps:g} bp, slippage {policy.slippage_bps:g} bp"
        began = f"{policy.side}, from {policy.initial_cash:,.2f}, weight {policy.weight:g}"
        return (
            f"{ruined}{earned}, {held}; largest drawdown {percent(found['max_drawdown'])}.",
            f"{began}, {costs}, filled {FILLED[policy.fill]}.",
        )

    def _figures(self) -> list[tuple[str, str]]:
        return figures_of(self.summary, _SHOWN)

    def _draw(self, figure: "Figure") -> None:
        from raysignal.experiments.notebook.pictures import draw_account  # noqa: PLC0415 - matplotlib is slow to import

        batch = self.signals.batch
        held = None
        if len(np.unique(batch.symbol)) == 1:
            held = self.policy.initial_cash * batch.price / batch.price[0]
        at = batch.timestamp_us.astype("datetime64[us]")
        draw_account(figure, at, self.rows.equity, self.rows.drawdown, held)


def replay(signals: Any, policy: Policy | Mapping[str, Any] | None = None, **reading: Any) -> Replay:
    """What one portfolio makes of the signals, from its first to its last; no Ray, and nothing is kept.

    Args:
        signals: what `read` takes or gives.
        policy: `Policy`, its members as a dict, or None for its defaults.
        reading: options of `read`.

    Raises:
        InvalidField: a policy that cannot be, and what `read` raises.
    """
    given = Signals.of(signals, **reading)
    own = policy_of(policy)
    batch, rows = given.batch, LedgerRows.empty(len(given))
    ledger = Ledger(own)
    ledger.ensure_symbols(len(batch.symbols))
    ledger.run(batch.timestamp_us, batch.symbol, batch.action, batch.price, rows, terms=batch.order_terms())
    return Replay(given, own, rows, Performance.of(ledger.account, own))


def policy_of(policy: Policy | Mapping[str, Any] | None) -> Policy:
    """The policy itself, or of its members."""
    return policy if isinstance(policy, Policy) else Policy.from_dict(policy_members(policy))


def policy_members(policy: Mapping[str, Any] | None) -> dict[str, Any]:
    """Members of a policy as plain values; `InvalidField` if it is no mapping."""
    if policy is not None and not isinstance(policy, Mapping):
        raise InvalidField("policy", policy, 'a dict of its members, such as {"fee_bps": 5}')
    return {
        str(name): value.item() if isinstance(value, np.generic) else value
        for name, value in (policy or {}).items()
    }
