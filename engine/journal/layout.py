"""In how many shards a store is kept, which says where each portfolio's journal lies: `state/layout.json`; and which
store it is: `state/epoch.json`.
"""

import json
import secrets
import zlib
from collections.abc import Callable

from raysignal.engine.core.errors import JournalDamaged, SettingsError, StoreError, StoreUnavailable
from raysignal.engine.journal.blobs import BlobStore
from raysignal.engine.journal.stores import Stores

LAYOUT = "state/layout.json"
EPOCH = "state/epoch.json"


def stored_shards(stores: Stores) -> int | None:
    """The number of shards of a store, as its layout says; where that was removed, one for each journal that is there.

    None: the store has not been made yet.

    Raises:
        JournalDamaged: the file does not say it.
    """
    data = stores.blobs.get(LAYOUT)
    if data is None:
        return max(stores.journal_numbers(), default=-1) + 1 or None
    try:
        shards = json.loads(data)["shards"]
    except (ValueError, KeyError, TypeError, RecursionError):
        shards = None
    if not isinstance(shards, int) or isinstance(shards, bool) or shards < 1:
        store = stores.url.rstrip("/")
        raise JournalDamaged(
            f'{store}/{LAYOUT} is {data[:80]!r}; expected {{"shards": N}}, with as many as there are '
            f"folders shard=… in {store}/journal. Write it anew so",
            file=LAYOUT,
        )
    return shards


def check_layout(stores: Stores, shards: int) -> None:
    """Hold the settings against the store; one that has not been made yet is none to differ from.

    Raises:
        SettingsError: it was made with another number of shards.
        JournalDamaged: see `stored_shards`.
    """
    stored = stored_shards(stores)
    if stored is None or stored == shards:
        return
    store = stores.url.rstrip("/")
    if stores.blobs.get(LAYOUT) is None:
        raise SettingsError(
            f"RAYSIGNAL_JOURNAL__SHARDS is {shards}, but {store}/journal holds the journals of {stored}, and {LAYOUT}, "
            f"which says how many there are, was removed; expected {stored}. If the store was made with {shards}, "
            f'write {{"shards": {shards}}} to {store}/{LAYOUT}'
        )
    raise SettingsError(
        f"RAYSIGNAL_JOURNAL__SHARDS is {shards}, but the store {stores.url} was made with {stored}, which says where "
        f"each portfolio's journal lies; expected {stored}, or another store"
    )


def write_layout(stores: Stores, shards: int) -> None:
    """Write down in how many shards a store is kept, and give it an id where it has none.

    Raises what `check_layout` does if the store says otherwise already.
    """
    check_layout(stores, shards)
    if stores.blobs.get(LAYOUT) is None:
        stores.blobs.put(LAYOUT, json.dumps({"shards": shards}).encode())
    if stores.blobs.get(EPOCH) is None:
        try:
            stores.blobs.put(EPOCH, json.dumps({"epoch": secrets.token_hex(8)}).encode())
        except StoreUnavailable:
            raise
        except StoreError:
            pass  # another shard was quicker: a blob is written once


def store_epoch(blobs: BlobStore) -> str:
    """The id of a store, made once with it: sequences of a broadcast are those of one store alone.

    Raises:
        StoreUnavailable: nobody has opened the store yet.
        JournalDamaged: the file does not say it.
    """
    data = blobs.get(EPOCH)
    if data is None:
        raise StoreUnavailable(f"the store has no {EPOCH} yet; it is written when the store is opened")
    try:
        epoch = json.loads(data)["epoch"]
    except (ValueError, KeyError, TypeError, RecursionError):
        epoch = None
    if not isinstance(epoch, str) or not epoch:
        raise JournalDamaged(
            f'{EPOCH} is {data[:80]!r}; expected {{"epoch": "…"}}. Remove it, and the store gets another id when it is '
            "opened: clients of the stream are told so",
            file=EPOCH,
        )
    return epoch


def shard_of(portfolio: str, shards: int) -> int:
    """The shard that a portfolio belongs to."""
    return zlib.crc32(portfolio.encode()) % shards


def owner(shard: int, shards: int) -> Callable[[str], bool]:
    """Whether a portfolio belongs to a shard, as a function of its name."""
    return lambda portfolio: shard_of(portfolio, shards) == shard
