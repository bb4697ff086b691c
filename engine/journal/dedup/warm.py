"""Calls every compiled function of the package once, so that nobody waits for the compiler later."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from raysignal.engine.journal.dedup.index import FAN_OUT, Identities
from raysignal.engine.journal.dedup.keys import first_in_batch, portfolio_keys

if TYPE_CHECKING:
    from raysignal.engine.journal.blobs import BlobStore

_MORE_THAN_A_WINDOW = 140_000


def warm(blobs: BlobStore, cache_dir: Path) -> None:
    """Fill, grow, freeze, write, merge and look up an index in a store that is thrown away afterwards."""
    numbers = np.arange(2 * _MORE_THAN_A_WINDOW, dtype=np.uint64).reshape(-1, 2)
    read_only = numbers.view()
    read_only.flags.writeable = False  # as columns are that come out of the journal
    identities = Identities.create(cache_dir)
    for number in range(FAN_OUT):
        some = slice(number * 10, (number + 1) * 10) if number else slice(None)
        for column in (numbers[some], read_only[some]):
            keys = portfolio_keys(column, "warm")
            first_in_batch(keys)
            ordinals = np.arange(len(keys))
            identities.add(keys, ordinals, keys[:, 0].copy())
            contents = keys[:, 0].copy()
            contents.flags.writeable = False
            identities.add(keys, ordinals, contents)
        frozen = identities.freeze()
        identities.lookup(keys)
        identities.write(frozen, blobs, "warm/", 0)
        identities.thaw(frozen)
        identities.lookup(keys)
