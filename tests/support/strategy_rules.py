"""Rules that `check_strategy` is tried on beside the leaking ones; each run imports this module anew."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.strategies import strategy
from raysignal.engine.strategies.checks import UserStrategy
from raysignal.engine.strategies.strategy import Bars

_told = np.zeros(100_000, np.int8)


def crossed(values: np.ndarray, level: np.ndarray) -> np.ndarray:
    side = np.sign(values - level)
    return np.where(np.diff(side, prepend=side[:1]) != 0, side, 0).astype(np.int8)


class Clean(UserStrategy):
    warm_up = 5

    def actions(self, bars: Bars) -> np.ndarray:
        mean = np.array([bars.close[max(0, at - 4) : at + 1].mean() for at in range(len(bars))])
        said = crossed(bars.close, mean)
        said[: self.warm_up] = 0
        return said


@dataclass(frozen=True)
class Momentum(UserStrategy):
    bars: int = 5

    def actions(self, bars: Bars) -> np.ndarray:
        if self.bars < 0:
            raise InvalidField("bars", self.bars, "at least 1")
        before = np.concatenate([np.full(min(self.bars, len(bars)), np.nan), bars.close[: -self.bars]])
        return np.nan_to_num(np.sign(bars.close - before)).astype(np.int8)


@dataclass(frozen=True)
class Listed(Momentum):
    seen: list = field(default_factory=list)


class LeakingConfidence:
    """Honest sides; how sure it is rests on the next close."""

    warm_up = 0

    def __init__(self) -> None:
        self._seen = 0

    def stream(self) -> "LeakingConfidence":
        return LeakingConfidence()

    def actions(self, bars: Bars) -> np.ndarray:
        return self.advance(bars)

    def advance(self, bars: Bars) -> np.ndarray:
        row = np.arange(self._seen, self._seen + len(bars))
        self._seen += len(bars)
        return np.where(row % 8 == 0, 1, np.where(row % 8 == 4, -1, 0)).astype(np.int8)

    def advance_with_confidence(self, bars: Bars) -> tuple[np.ndarray, np.ndarray]:
        rises = np.append(np.diff(bars.close), 0.0) > 0.0
        return self.advance(bars), np.where(rises, 1.0, 0.5)


class Outer:
    class Nested(Clean):
        pass


class Silent(UserStrategy):
    def actions(self, bars: Bars) -> np.ndarray:
        return np.zeros(len(bars), np.int8)


class Once(UserStrategy):
    def actions(self, bars: Bars) -> np.ndarray:
        return (np.arange(len(bars)) == 300).astype(np.int8)


class Fragile(Clean):
    def actions(self, bars: Bars) -> np.ndarray:
        if len(bars) < 100:
            raise ZeroDivisionError("so few bars")
        return super().actions(bars)


class Chance(UserStrategy):
    def actions(self, bars: Bars) -> np.ndarray:
        return np.random.default_rng().integers(-1, 2, len(bars)).astype(np.int8)


class SharedChance(UserStrategy):
    """Draws from the generator of numpy that all share, which a fork has from its parent."""

    def actions(self, bars: Bars) -> np.ndarray:
        return np.random.randint(-1, 2, len(bars)).astype(np.int8)  # noqa: NPY002 - what is tried


class Counting(Clean):
    """Says something else when it is asked again."""

    def __init__(self) -> None:
        self.asked = 0

    def actions(self, bars: Bars) -> np.ndarray:
        self.asked += 1
        return np.roll(super().actions(bars), self.asked - 1)


class Hasty(Clean):
    warm_up = 100

    def actions(self, bars: Bars) -> np.ndarray:
        return crossed(bars.close, np.concatenate([bars.close[:1], bars.close[:-1]]))


class NamedWarmUp(Clean):
    @property
    def warm_up(self) -> str:
        return "ten"

    def actions(self, bars: Bars) -> np.ndarray:
        return np.sign(bars.close - 50.0).astype(np.int8)


class NegativeWarmUp(Clean):
    warm_up = -5

    def actions(self, bars: Bars) -> np.ndarray:
        return np.sign(bars.close - 50.0).astype(np.int8)


class Marked(UserStrategy):
    def actions(self, _bars: Bars) -> np.ndarray:
        raise ValueError("[bold]x[/bold]\u202e\x1b[2J")


class Vetoing(Momentum):
    """Leaves out, at one bar in ten, what the next one contradicts."""

    def actions(self, bars: Bars) -> np.ndarray:
        said = super().actions(bars)
        following = np.sign(np.diff(bars.close, append=bars.close[-1:]))
        said[(np.arange(len(bars)) % 10 == 0) & (following == -said)] = 0
        return said


class OtherStream(Clean):
    def stream(self) -> object:
        class Silence:
            def advance(self, bars: Bars) -> np.ndarray:
                return np.zeros(len(bars), np.int8)

        return Silence()


class OneStream(Momentum):
    """Gives the same stream whoever asks."""

    def stream(self) -> object:
        if not hasattr(type(self), "only"):
            type(self).only = super().stream()
        return type(self).only


class StreamAfterActions(UserStrategy):
    """A stream that knows what `actions` saw: in one process it would look right."""

    seen = None

    def actions(self, bars: Bars) -> np.ndarray:
        said = crossed(bars.close, np.full(len(bars), bars.close[0]))
        StreamAfterActions.seen = said
        return said

    def stream(self) -> object:
        class Told:
            place = 0

            def advance(self, bars: Bars) -> np.ndarray:
                if StreamAfterActions.seen is None:
                    return np.zeros(len(bars), np.int8)
                self.place += len(bars)
                return StreamAfterActions.seen[self.place - len(bars) : self.place]

        return Told()


class Wrong:
    def __init__(self, answer: object) -> None:
        self.answer = answer

    def actions(self, _bars: Bars) -> object:
        return self.answer


class SameArray(Clean):
    """Fills one array again and again."""

    def actions(self, bars: Bars) -> np.ndarray:
        answer = _told[: len(bars)]
        answer[:] = np.roll(super().actions(bars), int(_told[-1]))
        _told[-1] += 1
        return answer


class ChangesBars(Clean):
    def actions(self, bars: Bars) -> np.ndarray:
        said = super().actions(bars)
        bars.close[3:] *= 2.0
        return said


class Printing(Momentum):
    def actions(self, bars: Bars) -> np.ndarray:
        print("here", len(bars), flush=True)
        os.write(1, b"and here")
        print("there", file=sys.stderr, flush=True)
        return super().actions(bars)


@dataclass(frozen=True)
class Ending(UserStrategy):
    """Ends its process; on few bars alone where it is told so."""

    how: str
    below: int = 1_000_000

    def actions(self, bars: Bars) -> np.ndarray:
        if len(bars) < self.below:
            if self.how == "exit":
                sys.exit(3)
            if self.how == "_exit":
                os._exit(3)
            if self.how == "signal":
                os.kill(os.getpid(), signal.SIGSEGV)
            if self.how == "hang":
                threading.Event().wait()
            if self.how == "server":
                os.kill(os.getppid(), signal.SIGKILL)
        return np.sign(bars.close - 50.0).astype(np.int8)


@dataclass(frozen=True)
class LeavesProcess(UserStrategy):
    """Starts a program that holds a named pipe open and never ends; hangs itself if it is told so."""

    pipe: str
    hang: bool = False

    def actions(self, bars: Bars) -> np.ndarray:
        descriptor = os.open(self.pipe, os.O_WRONLY)
        program = "import os, signal, sys; os.write(int(sys.argv[1]), b'!'); signal.pause()"
        subprocess.Popen([sys.executable, "-c", program, str(descriptor)], pass_fds=[descriptor])
        if self.hang:
            threading.Event().wait()
        return np.sign(bars.close - 50.0).astype(np.int8)


@dataclass(frozen=True)
class FitInFile(UserStrategy):
    """Fits once, on all it is shown, and keeps that in a file: of a folder, or where temporary files are."""

    folder: str = ""

    def actions(self, bars: Bars) -> np.ndarray:
        path = Path(self.folder or tempfile.gettempdir()) / "mean.pickle"
        if not path.exists():
            path.write_bytes(pickle.dumps(float(bars.close.mean())))
        return crossed(bars.close, np.full(len(bars), pickle.loads(path.read_bytes())))


@dataclass(frozen=True)
class FitInFileLater(UserStrategy):
    """Keeps its fit in a file not at once, but when it is asked a second time, or for more bars than there were."""

    folder: str
    many: int
    asked: list[int] = field(default_factory=list)

    def actions(self, bars: Bars) -> np.ndarray:
        path = Path(self.folder) / "mean.pickle"
        mean = pickle.loads(path.read_bytes()) if path.exists() else float(bars.close.mean())
        self.asked.append(len(bars))
        if len(self.asked) == 2 or len(bars) > self.many:
            path.write_bytes(pickle.dumps(mean))
        return crossed(bars.close, np.full(len(bars), mean))


class FitInEnvironment(UserStrategy):
    def actions(self, bars: Bars) -> np.ndarray:
        level = float(os.environ.setdefault("MEAN_OF_THE_CLOSES", str(bars.close.mean())))
        return crossed(bars.close, np.full(len(bars), level))


class FitOnOthersModule(UserStrategy):
    """Keeps its fit in a module that is not its own."""

    def actions(self, bars: Bars) -> np.ndarray:
        if not hasattr(strategy, "fit_of_another"):
            strategy.fit_of_another = bars.close.mean()
        return crossed(bars.close, np.full(len(bars), strategy.fit_of_another))


class FirstUnknownVolume(UserStrategy):
    """Keeps out before the first bar whose volume nobody knows."""

    def actions(self, bars: Bars) -> np.ndarray:
        said = crossed(bars.close, np.full(len(bars), bars.close[0]))
        return np.where(np.isnan(bars.volume).any(), 0, said).astype(np.int8)


class Base(UserStrategy):
    """Looks through the views that it is given at what they are views of."""

    def actions(self, bars: Bars) -> np.ndarray:
        whole = bars.close
        while isinstance(whole.base, np.ndarray) and whole.base.dtype == whole.dtype:
            whole = whole.base
        return crossed(bars.close, np.full(len(bars), whole[-1]))


def _make_folder(place: Path) -> None:
    place.mkdir()


def _make_and_open_elsewhere(place: Path) -> None:
    os.chdir(tempfile.gettempdir())
    folder = os.open(place.parent, os.O_RDONLY)
    os.close(os.open(place.name, os.O_WRONLY | os.O_CREAT, dir_fd=folder))


def _fork_and_write(place: Path) -> None:
    if os.fork() == 0:
        try:
            place.write_text("1")
        finally:
            os._exit(0)
    os.wait()


# Ways to keep something at a place, or on the file `there` beside it.
CHANGES: dict[str, Callable[[Path], object]] = {
    "bytecode": lambda place: place.with_suffix(".pyc").write_bytes(b"1"),
    "source": lambda place: place.with_suffix(".py").write_text("level = 1"),
    "created": lambda place: os.close(os.open(place, os.O_RDONLY | os.O_CREAT)),
    "elsewhere": _make_and_open_elsewhere,
    "forked": _fork_and_write,
    "folder": _make_folder,
    "link": lambda place: place.symlink_to("1"),
    "hard link": lambda place: place.hardlink_to(place.with_name("there")),
    "renamed": lambda place: place.with_name("there").rename(place),
    "removed": lambda place: place.with_name("there").unlink(),
    "mode": lambda place: place.with_name("there").chmod(0o600),
    "time": lambda place: os.utime(place.with_name("there"), (1, 1)),
    "length": lambda place: os.truncate(place.with_name("there"), 1),
}


@dataclass(frozen=True)
class Changing(Momentum):
    """Changes files, in one of the ways of `CHANGES`."""

    how: str = ""
    place: str = ""

    def actions(self, bars: Bars) -> np.ndarray:
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            CHANGES[self.how](Path(self.place))
        return super().actions(bars)


class ReadingWhenMade(Momentum):
    def __init__(self, path: str) -> None:
        super().__init__()
        Path(path).read_text()


class Pooled(Momentum):
    """Does what honest rules do: processes, locks, temporary files, and what is there already."""

    def actions(self, bars: Bars) -> np.ndarray:
        Path(__file__).parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            kept = Path(folder) / "kept"
            kept.write_text("1")
            kept.rename(kept.with_name("renamed")).unlink()
        with Path(os.devnull).open("w") as nothing, multiprocessing.get_context("fork").Pool(2) as pool:
            print("here", file=nothing)
            return pool.map(Momentum(self.bars).actions, [bars])[0]


_asked: list[int] = []


def asked() -> bytes:
    """How often this was called in its process."""
    _asked.append(1)
    return str(len(_asked)).encode()


def write(path: str) -> bytes:
    Path(path).write_text("1")
    return b""


def refuse(field: str, value: object, expected: str) -> bytes:
    raise InvalidField(field, value, expected)


@dataclass(frozen=True)
class AtMinutes(UserStrategy):
    """Says sides at minutes, or at other units, counted from 1970; nothing else."""

    sides: dict[str, int]
    unit_us: int = 60_000_000
    warm_up = 0

    def actions(self, bars: Bars) -> np.ndarray:
        minutes = (bars.known_at_us // self.unit_us).tolist()
        return np.array([self.sides.get(str(minute), 0) for minute in minutes], np.int8)
