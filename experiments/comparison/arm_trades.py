"""The trades of each arm's account, under the policy of the comparison."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from raysignal.agents.verdicts import decided
from raysignal.engine.core.columns import TextColumn
from raysignal.engine.portfolio.trade_summary import trade_summary
from raysignal.engine.portfolio.trades import TRADES, trades_of
from raysignal.experiments.comparison.results import ArmResult, SignalStream
from raysignal.experiments.result_files import LABEL
from raysignal.experiments.trades import SHOWN

TRADE_COLUMNS = pa.schema([pa.field("arm", LABEL, nullable=False), *TRADES])
"""One row an arm and trade, arm by arm; then those that ended with the file, without an `exit_ordinal`."""

ArmTrades = Mapping[str, tuple[pa.Table, pa.Table]]
"""By arm the closed trades, and those that ended with the file."""


def trades_of_arms(stream: SignalStream, arms: Sequence[ArmResult]) -> ArmTrades:
    """The trades of every arm."""
    ids = TextColumn.of(stream.signal_id)
    found = {}
    for arm in arms:
        action = decided(stream.action, arm.verdict)
        terms = None if stream.terms is None else stream.terms.done(stream.action, action)
        found[arm.name] = trades_of(
            stream.policy,
            stream.timestamp_us,
            stream.symbol,
            stream.symbols,
            action,
            stream.price,
            ids,
            terms,
        )
    return found


def trades_table(trades: ArmTrades) -> pa.Table:
    """All of them in `TRADE_COLUMNS`."""
    parts = [TRADE_COLUMNS.empty_table()]
    for arm, found in trades.items():
        rows = pa.concat_tables(found)
        name = pa.DictionaryArray.from_arrays(np.zeros(len(rows), np.int32), [arm])
        parts.append(pa.table([name, *rows.columns], schema=TRADE_COLUMNS))
    return pa.concat_tables(parts).unify_dictionaries()


def trade_summaries(trades: ArmTrades) -> dict[str, dict[str, Any]]:
    """By arm what they come to."""
    return {arm: trade_summary(*found, shown=SHOWN) for arm, found in trades.items()}
