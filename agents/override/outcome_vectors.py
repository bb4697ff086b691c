"""Settled outcomes as Chroma is fed with them, from a thread of its own that nobody waits for."""

import hashlib
import io
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raysignal.agents.override.follower import Follower
from raysignal.agents.override.situation_vectors import SLOTS
from raysignal.agents.override.situations import REGIMES
from raysignal.agents.vectors import VectorIndex, VectorRows
from raysignal.agents.verdicts import Verdict
from raysignal.engine.core.arrays import Float32Array, Int64Array
from raysignal.engine.core.errors import AgentUnavailable, ChromaUnavailable, NotFound, RaysignalError

EVERY_S = 3.0
"""How often what was settled meanwhile is put into the index."""
PIECE = 512
"""Outcomes that are put in together. One takes Chroma 0.4 ms of a processor, several times what deciding takes."""
_RESTS = 19.0
_LONGEST_NAME = 63
_LITTLE = 64_000_000  # bytes of a disk


class SettledRows:
    """The outcomes of a follower as `agents.vectors.OutcomeRows`, and the signals that it has decided.

    A follower that takes another's place knows as much.
    """

    def __init__(self) -> None:
        self._follower: Follower | None = None

    def follow(self, follower: Follower | None) -> None:
        """Read this one from now on; None: there is none to read."""
        self._follower = follower

    @property
    def ready(self) -> bool:
        """Whether there is something to be read."""
        return self.count() > 0

    def count(self) -> int:
        """Outcomes so far."""
        return 0 if self._follower is None else self._follower.shown.settled

    def origin(self) -> str:
        """Which store's they are."""
        return self._living().origin

    def symbols(self) -> list[str]:
        """The symbols as they are called now; new ones come behind."""
        return [] if self._follower is None else self._follower.decider.agent.encoder.symbols()

    def read(self, start: int, stop: int) -> VectorRows:
        """See `agents.vectors.OutcomeRows.read`."""
        return self._rows(np.arange(start, stop))

    def select(self, ordinals: Sequence[int]) -> VectorRows:
        """Some outcomes, in this order; those that are not settled are left out."""
        settled = self.count()
        return self._rows(np.array([each for each in ordinals if 0 <= each < settled], np.int64))

    def signal(self, signal_id: str) -> tuple[Float32Array, int]:
        """The vector of a signal that was decided, and its instant, UTC microseconds; `NotFound` if there is none."""
        follower = self._living()
        known = follower.shown.rows
        ordinal = follower.decider.ids.find(signal_id)
        if ordinal is None or ordinal >= known:
            raise NotFound(
                f"the agent knows no signal {signal_id!r} among the {known} that it has decided",
                field="signal_id", value=signal_id,
            )  # fmt: skip
        vector: Float32Array = follower.past.vectors.of(np.array([ordinal]))[0]
        return vector, int(follower.decider.agent.memory.timestamp_us[ordinal])

    def _living(self) -> Follower:
        if self._follower is None:
            raise AgentUnavailable("the agent is not ready: it learns what was decided before")
        return self._follower

    def _rows(self, ordinals: Int64Array) -> VectorRows:
        follower = self._living()
        decider, past, memory = follower.decider, follower.past, follower.decider.agent.memory
        at = memory.queue[ordinals]
        symbols, sources = decider.agent.encoder.symbols(), past.source.labels()
        places, side = at.tolist(), memory.side[at].astype(np.int64)
        columns = {
            "signal_id": [decider.ids[place] for place in places],
            "symbol": [symbols[code] for code in memory.symbol[at].tolist()],
            "source": [sources.names[code] for code in sources.codes[at].tolist()],
            "side": ["BUY" if each > 0 else "SELL" for each in side.tolist()],
            "regime": [REGIMES[code] for code in past.regime.values[at].tolist()],
            "decided_at_us": memory.timestamp_us[at].tolist(),
            "known_at_us": memory.known_at_us[at].tolist(),
            "gross_bps": (side * memory.move_bps[at]).tolist(),
            "net_approve_bps": memory.net_bps[at, Verdict.APPROVE].tolist(),
            "net_flip_bps": memory.net_bps[at, Verdict.FLIP].tolist(),
            "net_hold_bps": memory.net_bps[at, Verdict.HOLD].tolist(),
            "right": (side * memory.move_bps[at] > 0.0).tolist(),
        }
        facts = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        first = int(ordinals[0]) if len(ordinals) else 0
        return VectorRows(first, past.vectors.of(at), [past.texts[place] for place in places], facts)


def outcomes_parquet(rows: VectorRows) -> bytes:
    """Outcomes with their vectors as a Parquet file: a column a fact, `ordinal`, `texts` and `vector`."""
    ordinal = np.arange(rows.start, rows.start + len(rows.facts))
    columns: dict[str, pa.Array] = {"ordinal": pa.array(ordinal)}
    for field in _FACTS:
        columns[field.name] = pa.array([facts[field.name] for facts in rows.facts], field.type)
    columns["texts"] = pa.array(rows.texts, pa.string())
    columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(rows.vectors.ravel()), SLOTS)
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression="zstd", compression_level=1)
    return sink.getvalue()


_FACTS = (
    *(pa.field(name, pa.string()) for name in ("signal_id", "symbol", "source", "side", "regime")),
    *(pa.field(name, pa.int64()) for name in ("decided_at_us", "known_at_us")),
    *(pa.field(f"{name}_bps", pa.float64()) for name in ("gross", "net_approve", "net_flip", "net_hold")),
    pa.field("right", pa.bool_()),
)


def may_put(took_s: float, *, rested_s: float, quiet_s: float, every_s: float = EVERY_S) -> bool:
    """Whether Chroma is given a piece now: while signals come in it works a twentieth of the time at most.

    So it falls behind under load, and makes that good as soon as nothing comes in.

    Args:
        took_s: seconds that the last piece took.
        rested_s: seconds since it was in.
        quiet_s: seconds since an outcome was settled.
        every_s: seconds after which it is quiet.
    """
    return quiet_s >= every_s or rested_s >= _RESTS * took_s


def collection_of(portfolio: str) -> str:
    """The name of the collection for a portfolio that the agent decides for: `outcomes-<portfolio>`.

    Where that is no name for Chroma, which takes up to 63 characters and a letter or digit as the last one, a hash
    stands for the portfolio behind a dot, which no portfolio's name has.
    """
    name = f"outcomes-{portfolio}"
    if len(name) <= _LONGEST_NAME and name[-1].isalnum():
        return name
    return f"outcomes.{hashlib.blake2b(portfolio.encode(), digest_size=16).hexdigest()}"


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
        self._took_s, self._rested_since = 0.0, self._seen_at
        self._symbols: list[str] = []
        self._trouble = ""
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
                "place": self._place, "collection": self._name, "state": "unavailable", "count": 0,
                "behind": self._rows.count(), "reason": self._why(self._reason()), "rebuilt": "",
            }  # fmt: skip
        told = asdict(index.status())
        reason = self._why(told["reason"])
        return told | {"collection": self._name, "state": told["state"].value, "reason": reason}

    def _reason(self) -> str:
        """Why the index is not open."""
        waits = "it is being opened" if self._rows.ready else "no outcome is settled yet"
        return self._trouble or waits

    def _why(self, reason: str) -> str:
        """A reason, with how much room there is where that is little: Chroma does not say that its disk is full."""
        if not reason or "://" in self._place:
            return reason
        place = Path(self._place).absolute()
        try:
            left = shutil.disk_usage(next(each for each in (place, *place.parents) if each.exists())).free
        except OSError:
            return reason
        return reason if left >= _LITTLE else f"{reason}; {left / 1e6:.1f} MB are left on its disk"

    def index(self) -> VectorIndex:
        """Where outcomes are searched; `ChromaUnavailable` where it was not opened yet."""
        if self._index is None:
            raise ChromaUnavailable(
                f"Chroma at {self._place} is not open yet: {self._reason()}; try again in {EVERY_S:g} s",
                retry_after_s=round(EVERY_S),
            )
        return self._index

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
        quiet_s, rested_s = began - self._seen_at, began - self._rested_since
        if most is not None and not may_put(
            self._took_s, rested_s=rested_s, quiet_s=quiet_s, every_s=self._every_s
        ):
            return self._every_s
        try:
            left = settled - self._put(settled, most)
        except (RaysignalError, ImportError, OSError) as error:
            self._trouble = str(error)
            return self._every_s
        except Exception as error:  # noqa: BLE001 - Chroma may fail in any way, and nobody else shall notice
            self._trouble = repr(error)
            return self._every_s
        finally:
            self._rested_since = time.monotonic()
            self._took_s = self._rested_since - began
        return 0.0 if left and quiet_s >= self._every_s else self._every_s

    def _put(self, settled: int, most: int | None) -> int:
        """How many outcomes the index holds then; all that are settled if it cannot take any now."""
        if self._index is None:
            self._index = VectorIndex.open(
                self._place, self._rows, dimensions=SLOTS, name=self._name, store=self._rows.origin()
            )
        symbols = self._rows.symbols()
        if symbols[: len(self._symbols)] != self._symbols:
            self._index.rebuild("a symbol has another name")
        self._symbols = symbols
        return self._index.status().count if self._index.catch_up(most) else settled
