"""In how many shards a store is kept, which says where each portfolio's journal lies: `state/layout.json`."""

import json
import zlib
from collections.abc import Callable

from engine.errors import JournalDamaged, SettingsError
from engine.journal.blobs import BlobStore

LAYOUT = "state/layout.json"


def stored_shards(blobs: BlobStore, store: str) -> int | None:
    """The number of shards of a store; None: it has not been made yet.

    Args:
        blobs: of the store.
        store: its address, for the sentence.

    Raises:
        JournalDamaged: the file does not say it.
    """
    data = blobs.get(LAYOUT)
    if data is None:
        return None
    try:
        shards = json.loads(data)["shards"]
    except (ValueError, KeyError, TypeError):
        shards = None
    if not isinstance(shards, int) or isinstance(shards, bool) or shards < 1:
        raise JournalDamaged(
            f'{store.rstrip("/")}/{LAYOUT} is {data[:80]!r}; expected {{"shards": N}}, with as many as there are '
            f"folders shard=… in {store.rstrip('/')}/journal. Write it anew so",
            file=LAYOUT,
        )
    return shards


def check_layout(blobs: BlobStore, shards: int, store: str) -> None:
    """Hold the settings against the store; one that has not been made yet is none to differ from.

    Raises:
        SettingsError: it was made with another number of shards.
        JournalDamaged: see `stored_shards`.
    """
    stored = stored_shards(blobs, store)
    if stored is not None and stored != shards:
        raise SettingsError(
            f"RAYSIGNAL_SHARDS is {shards}, but the store {store} was made with {stored}, which says where each "
            f"portfolio's journal lies; expected {stored}, or another store"
        )


def write_layout(blobs: BlobStore, shards: int, store: str) -> None:
    """Write down in how many shards a store is kept; raises what `check_layout` does if it says otherwise already."""
    if blobs.get(LAYOUT) is None:
        blobs.put(LAYOUT, json.dumps({"shards": shards}).encode())
    check_layout(blobs, shards, store)


def shard_of(portfolio: str, shards: int) -> int:
    """The shard that a portfolio belongs to."""
    return zlib.crc32(portfolio.encode()) % shards


def owner(shard: int, shards: int) -> Callable[[str], bool]:
    """Whether a portfolio belongs to a shard, as a function of its name."""
    return lambda portfolio: shard_of(portfolio, shards) == shard
