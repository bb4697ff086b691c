"""The paper accounts of a pipeline in several processes, held against the journal of the side that decides.

The journal is the truth. An account differs where its database or the journal's store was lost, or comes from an older
copy: then a person looks at the difference, and lets the account hold what the portfolio does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from raysignal.engine.core.errors import NotFound
from raysignal.engine.core.events import OrderEnded, OrderFill, PlannedOrder
from raysignal.engine.core.listings import Listing
from raysignal.engine.core.market_events import Instrument
from raysignal.engine.database.database import Database
from raysignal.engine.execution.holdings import Holdings
from raysignal.engine.execution.paper_state import PaperState
from raysignal.engine.execution.paper_store import PaperStore
from raysignal.engine.journal.stores import Stores
from raysignal.engine.pipeline.durable_stage import read_records
from raysignal.engine.pipeline.ends import decide_group
from raysignal.engine.pipeline.paper_venue import PaperVenue
from raysignal.runtime.pipeline import CURRENCY, build
from raysignal.runtime.pipeline_config import PipelineConfig


def account_name(pipeline: str, venue: str) -> str:
    """Of a pipeline's paper account at a venue, in the database."""
    return f"pipeline:{pipeline}:{venue}"


@dataclass(frozen=True, slots=True)
class AccountDifference:
    """A figure of an account that is another one in the journal.

    Attributes:
        account: its name.
        what: `cash`, a symbol of the venue, or `last fill`.
        journal, found: what it is in the journal, and in the account.
    """

    account: str
    what: str
    journal: Decimal
    found: Decimal


def reconcile(
    config: PipelineConfig, instruments: Mapping[str, Instrument], listings: Mapping[str, Listing], stores: Stores,
    database: Database, *, accept: bool = False,
) -> list[AccountDifference]:  # fmt: skip
    """What differs between the paper accounts of a pipeline and its journal; neither of its processes may run.

    Args:
        config: of the pipeline.
        instruments: of each symbol.
        listings: what the venue asks of orders.
        stores: where the journal is.
        database: where the accounts are.
        accept: whether each account that differs is to hold what the journal says.

    Raises:
        NotFound: there is no journal, or the pipeline has no paper venue.
        Fenced: a process runs an account, and it was not changed.
        JournalDamaged, StoreUnavailable: the journal cannot be read.
    """
    venue = build(config, instruments, listings=listings).venue
    if venue is None:
        raise NotFound(f"{config.name} has no account: its venue is none, and its portfolio fills by itself")
    if not _followed(venue, stores, config.name):
        raise NotFound(
            f"the store holds no journal of {config.name}; expected the RAYSIGNAL_STORE of its decide stage"
        )
    found: list[AccountDifference] = []
    for name in dict.fromkeys(each.venue for each in instruments.values()):
        expected, last_fill = venue.account(name)
        store = PaperStore(database, account_name(config.name, name))
        state = store.open(name, CURRENCY, Holdings(Decimal(repr(config.policy.initial_cash))))
        differences = _compared(store.account, expected, last_fill, state)
        if differences and accept:
            store.adjust(state, expected, max(last_fill, state.last_fill))
        found += differences
    return found


def _followed(venue: PaperVenue, stores: Stores, name: str) -> bool:
    """Let the accounts hold what the journal's fills made of them; whether there is a journal."""
    found = False
    for record in read_records(stores, decide_group(name)):
        found = True
        for event in (*(each.event for each in record.taken), *(each.event for each in record.said)):
            if isinstance(event, OrderFill | OrderEnded | PlannedOrder):
                venue.follow(event)
    return found


def _compared(
    account: str, expected: Holdings, last_fill: int, state: PaperState
) -> Sequence[AccountDifference]:
    symbols = sorted({*expected.positions, *state.holdings.positions})
    pairs = [
        ("cash", expected.cash, state.holdings.cash),
        *((symbol, expected.quantity(symbol), state.holdings.quantity(symbol)) for symbol in symbols),
        ("last fill", Decimal(last_fill), Decimal(state.last_fill)),
    ]
    return [AccountDifference(account, *pair) for pair in pairs if pair[1] != pair[2]]
