"""Settled outcomes as Chroma is fed with them, from a thread of its own that nobody waits for."""

import hashlib
import threading
import time
from dataclasses import asdict
from typing import Any

import numpy as np

from raysignal.agents.override.follower import Follower
from raysignal.agents.override.signal_columns import SLOTS
from raysignal.agents.vectors import VectorIndex, VectorRows
from raysignal.agents.verdicts import Verdict
from raysignal.engine.core.errors import RaysignalError

EVERY_S = 3.0
"""How often what was settled meanwhile is put into the index."""
PIECE = 512
"""Outcomes that are put in together. One takes Chroma 0.4 ms of a processor, several times what deciding takes."""
_RESTS = 19.0


class SettledRows:
    """The outcomes of a follower as `agents.vectors.OutcomeRows`. A follower that takes another's place knows
    as much.
    """

    def __init__(self) -> None:
        self._follower: Follower | None = None

    def follow(self, follower: Follower | None) -> None:
        """Read this one from now on; None: there is none to read."""
        self._follower = follower

    @property
    def ready(self) -> bool:
        """Whether there is something to be read."""
        return self._follower is not None and self._follower.shown.settled > 0

    def count(self) -> int:
        """Outcomes so far."""
        return 0 if self._follower is None else self._follower.shown.settled

    def digest(self, upto: int) -> str:
        """Of places, instants and worth of the first outcomes."""
        assert self._follower is not None
        memory = self._follower.decider.agent.memory
        at = memory.queue[:upto]
        found = hashlib.blake2b(digest_size=16)
        for column in (at, memory.timestamp_us[at], memory.known_at_us[at], memory.net_bps[at]):
            found.update(column.tobytes())
        return found.hexdigest()

    def read(self, start: int, stop: int) -> VectorRows:
        """See `agents.vectors.OutcomeRows.read`."""
        assert self._follower is not None
        decider, past = self._follower.decider, self._follower.past
        memory = decider.agent.memory
        at = memory.queue[start:stop].copy()
        symbols, source = decider.agent.encoder.symbols(), past.source.labels()
        side = memory.side[at].astype(np.int64)
        return VectorRows(
            start,
            past.vectors(at),
            {
                "signal_id": [decider.ids[ordinal] for ordinal in at.tolist()],
                "symbol": [symbols[code] for code in memory.symbol[at].tolist()],
                "source": [source.names[code] for code in source.codes[at].tolist()],
                "action": side,
                "decided_at_us": memory.timestamp_us[at],
                "known_at_us": memory.known_at_us[at],
                "gross_bps": side * memory.move_bps[at],
                "net_approve_bps": memory.net_bps[at, Verdict.APPROVE],
                "net_flip_bps": memory.net_bps[at, Verdict.FLIP],
                "right": side * memory.move_bps[at] > 0.0,
            },
        )


def pause_s(took_s: float, *, left: int, quiet_s: float, every_s: float = EVERY_S) -> float:
    """How long Chroma rests after a piece: while signals come in it gets a twentieth of the time at most.

    So it falls behind under load, and makes that good as soon as nothing comes in.

    Args:
        took_s: seconds that the piece took.
        left: outcomes that are not in the index yet.
        quiet_s: seconds since one was settled.
        every_s: the pause when there is nothing to do; it is quiet after as long.
    """
    if left and quiet_s >= every_s:
        return 0.0
    return max(every_s, _RESTS * took_s)


class Feeder:
    """Keeps a vector index equal to what is settled. Nothing that happens to Chroma is felt by anybody else.

    Args:
        place: a directory, or the address of a Chroma server.
        rows: what is settled.
        name: of the collection.
        every_s: seconds between two looks.
    """

    def __init__(self, place: str, rows: SettledRows, *, name: str, every_s: float = EVERY_S) -> None:
        self._place, self._rows, self._name, self._every_s = place, rows, name, every_s
        self._index: VectorIndex | None = None
        self._seen, self._seen_at = 0, time.monotonic()
        self._reason = "no outcome is settled yet"
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chroma", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def status(self) -> dict[str, Any]:
        """How the index stands, in plain values; answers at once."""
        index = self._index
        if index is None:
            return {
                "place": self._place, "state": "unavailable", "count": 0, "behind": self._rows.count(),
                "reason": self._reason, "rebuilt": "",
            }  # fmt: skip
        told = asdict(index.status())
        return told | {"state": told["state"].value}

    def close(self, patience_s: float) -> None:
        """Bring the index up to date and end it in order, if that does not take longer than so many seconds."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(patience_s)

    def _run(self) -> None:
        pause = self._every_s
        while not self._ending.wait(pause):
            pause = self._look(PIECE)
        self._look(None)
        if self._index is not None:
            self._index.close()

    def _look(self, most: int | None) -> float:
        """Put at most so many outcomes in (None: all); seconds until the next look."""
        if not self._rows.ready:
            return self._every_s
        began, settled = time.monotonic(), self._rows.count()
        if settled != self._seen:
            self._seen, self._seen_at = settled, began
        try:
            left = settled - self._put(settled, most)
        except (RaysignalError, ImportError, OSError) as error:
            self._reason = str(error)
        except Exception as error:  # noqa: BLE001 - Chroma may fail in any way, and nobody else shall notice
            self._reason = repr(error)
        else:
            took = time.monotonic() - began
            return pause_s(took, left=left, quiet_s=began - self._seen_at, every_s=self._every_s)
        return self._every_s

    def _put(self, settled: int, most: int | None) -> int:
        """How many outcomes the index holds then; all that are settled if it cannot take any now."""
        if self._index is None:
            self._index = VectorIndex.open(
                self._place, self._rows, dimensions=SLOTS, name=self._name, patience_s=0.0
            )
        elif most is None or self._index.status().reason:
            self._index.heal()
        elif (held := self._index.count()) < settled:
            self._index.append(self._rows.read(held, min(held + most, settled)))
        return settled if self._index.status().reason else self._index.count()
