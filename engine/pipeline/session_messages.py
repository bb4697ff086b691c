"""What a pipeline's session is told of: messages of a broadcast, made of its events as these are logged.

Each is a function of the events before it, so a session that is played again, as at every start, makes the same
messages with the same sequences. They lie in a file without a name, which goes with the process.
"""

import secrets
import tempfile
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import orjson

from raysignal.engine.core.events import Candle, Command, FundingPayment, OrderFill, StrategySignal
from raysignal.engine.core.instants import format_instant
from raysignal.engine.pipeline.portfolio import VenuePortfolio
from raysignal.engine.portfolio.stream_messages import sequence_of

_ID = "stream-id"
_OF_RISK = frozenset({"verdict", "alarm", "command"})
_STATES = {
    "halt": "halted", "flatten": "halted", "reset": "active", "risk_halted": "halted", "risk_reducing": "reducing",
}  # fmt: skip
"""What may be traded after a person's command, or the breaker's alarm."""


@dataclass(frozen=True, slots=True)
class SessionTail:
    """Messages of a session, as they are asked for.

    Attributes:
        shard: the session's name in the stream: the pipeline's, a dot, and an id that is made once with the session.
        end: how many messages there are.
        texts: those that were asked for, JSON.
    """

    shard: str
    end: int
    texts: tuple[str, ...]


class SessionMessages:
    """An `EventLog` of the messages of a session, counted from 0. A context manager: at its end they are gone.

    Args:
        name: of the pipeline.
        folder: of its session, which gets an id where it has none.
        portfolio: as it begins; fills and prices are booked in it.
        news: called whenever there is a new message.

    Attributes:
        shard: see `SessionTail`.
    """

    def __init__(self, name: str, folder: Path, portfolio: VenuePortfolio, news: Callable[[], None]) -> None:
        self.shard = f"{name}.{_session_id(folder)}"
        self._name = name
        self._portfolio = portfolio
        self._news = news
        self._state = "active"
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - as long as this
        self._ends = array("q", (0,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def end(self) -> int:
        """How many messages there are."""
        return len(self._ends) - 1

    def read(self, first: int, limit: int) -> tuple[str, ...]:
        """Messages from a place on."""
        last = min(first + limit, self.end)
        if first >= last:
            return ()
        self._file.seek(self._ends[first])
        data = self._file.read(self._ends[last] - self._ends[first])
        return tuple(data.decode().split("\n")[:-1])

    def tell(self, what: str, values: Mapping[str, Any]) -> None:
        """Add a message; a verdict, an alarm and a command are of risk, with what may be traded after it.

        Args:
            what: its type, or what of risk it is.
            values: of it, with the instant `at` and the symbol that it is about; empty: about none.
        """
        told = {"type": "risk" if what in _OF_RISK else what, "sequence": sequence_of(self.end, 0)}
        told |= {"shard": self.shard, "pipeline": self._name, "symbol": values["symbol"] or None}
        told["timestamp"] = values["at"]
        if what in _OF_RISK:
            self._state = _STATES.get(values.get("code") or values.get("command", ""), self._state)
            told |= {"what": what, "state": self._state}
        told |= {name: value for name, value in values.items() if name not in {"at", "symbol"}}
        self._file.seek(self._ends[-1])
        self._ends.append(self._ends[-1] + self._file.write(orjson.dumps(told) + b"\n"))
        self._news()

    def input(self, event: Any) -> None:
        """See `engine.pipeline.driver.EventLog`."""
        self.output(event)

    def output(self, event: Any) -> None:
        """See `engine.pipeline.driver.EventLog`."""
        if isinstance(event, Candle | FundingPayment):
            self._portfolio.on(event)
        elif isinstance(event, StrategySignal):
            self.tell("signal", _signal(event))
        elif isinstance(event, OrderFill):
            self._portfolio.on(event)
            self.tell("position_update", self._position(event))
        elif isinstance(event, Command):
            self.tell("command", _command(event))

    def _position(self, fill: OrderFill) -> dict[str, Any]:
        return {
            "at": format_instant(fill.at_us), "symbol": fill.symbol,
            "quantity": self._portfolio.positions.get(fill.symbol, 0.0), "cash": self._portfolio.cash,
            "equity": self._portfolio.equity,
        }  # fmt: skip


def _signal(signal: StrategySignal) -> dict[str, Any]:
    return {
        "at": format_instant(signal.at_us), "symbol": signal.symbol, "strategy": signal.strategy, "side": signal.side,
        "price": signal.price, "confidence": signal.confidence, "signal_id": signal.identity,
        "features": signal.features,
    }  # fmt: skip


def _command(command: Command) -> dict[str, Any]:
    return {
        "at": format_instant(command.at_us), "symbol": command.symbol, "command": command.command.value,
        "who": command.who, "reason": command.reason,
    }  # fmt: skip


def _session_id(folder: Path) -> str:
    """Made once: sequences are those of one session alone."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / _ID
    if not path.is_file():
        begun = path.with_name(f"{_ID}.tmp")
        begun.write_text(secrets.token_hex(4), encoding="utf-8")
        begun.replace(path)
    return path.read_text(encoding="utf-8")
