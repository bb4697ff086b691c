"""Who has been seen: the ids of a shard for ever, in bounded memory, so that nothing is processed twice.

Recent ids lie in a compiled hash table. When it is frozen and written it becomes an immutable sorted run in the
blob store, and runs are merged as in a log-structured merge tree, so that few exist. Of a run, memory holds a
Bloom filter (10 bits a key, 1.25 MB a million) and one key of every 128; its records are read from a local file.
"""

from raysignal.engine.journal.dedup.index import Identities
from raysignal.engine.journal.dedup.keys import first_in_batch, portfolio_keys
from raysignal.engine.journal.dedup.window import FrozenIds

__all__ = ["FrozenIds", "Identities", "first_in_batch", "portfolio_keys"]
