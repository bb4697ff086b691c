"""`raysignal serve` told to end at any moment of its life: it ends, once, and nothing stays behind."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from raysignal.engine.portfolio.shard import ShardLimits
from raysignal.runtime.ports import free_port
from tests.e2e.test_cli_service import ROOT, environment, family, still_alive
from tests.unit.engine.portfolio.test_shard import Place, some

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(200)]


class Starting:
    """A `raysignal serve` that has just been started, and what can be seen of it from outside."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "log"
        self.seen: dict[int, str] = {}
        with self.log.open("w") as stderr:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "raysignal.cli", "serve", "--port", str(port),
                    "--store", (folder / "store").as_uri(),
                ],
                stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=ROOT,
                env=environment(RAYSIGNAL_HTTP__REPLICAS="1"),
            )  # fmt: skip

    def until(self, reached: Callable[["Starting"], bool]) -> None:
        """Wait for a moment; the test's own time-out bounds it."""
        pause = threading.Event()
        while not reached(self):
            if self.process.poll() is not None:
                pytest.fail(f"it ended by itself: {self.log.read_text()[-3000:]}")
            pause.wait(0.01)

    def ended_by(self, *numbers: signal.Signals) -> tuple[int, str]:
        """Its exit status after these signals in a row, and what it printed."""
        self.seen |= family(self.process.pid)
        for number in numbers:
            self.process.send_signal(number)
        shown, _ = self.process.communicate(timeout=60)
        return self.process.returncode, shown


def has_said_that_it_starts(serving: Starting) -> bool:
    return "starting on" in serving.log.read_text()


def runs(program: str) -> Callable[[Starting], bool]:
    def runs(serving: Starting) -> bool:
        for pid in family(serving.process.pid):
            try:
                if program in Path(f"/proc/{pid}/cmdline").read_text():
                    return True
            except OSError:
                continue
        return False

    return runs


def answers_that_it_is_ready(serving: Starting) -> bool:
    try:
        return httpx.get(f"{serving.url}/readyz", timeout=5.0).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize(
    ("moment", "numbers", "statuses"),
    [
        pytest.param(
            has_said_that_it_starts,
            [signal.SIGINT],
            {130},
            id="right after the start",
            marks=pytest.mark.long,
        ),
        pytest.param(runs("ServeController"), [signal.SIGTERM], {143}, id="while the service starts"),
        # Ready for its callers may be a moment before ready in its own eyes.
        pytest.param(
            answers_that_it_is_ready,
            [signal.SIGINT, signal.SIGINT],
            {0, 130},
            id="twice when first ready",
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_service_told_to_end_ends_and_leaves_no_process(
    tmp_path: Path,
    moment: Callable[[Starting], bool],
    numbers: list[signal.Signals],
    statuses: set[int],
) -> None:
    serving = Starting(tmp_path)
    try:
        serving.until(moment)
        status, shown = serving.ended_by(*numbers)
    finally:
        serving.process.kill()
        serving.process.communicate()
    assert status in statuses, serving.log.read_text()
    assert ("stopped;" in shown) == (status == 0)
    assert still_alive(serving.seen) == []
    assert not list(Path("/tmp").glob(f"rs-*/ray/session_*_{serving.process.pid}"))


# Starts that cannot be


def ended_by_itself(serving: Starting) -> tuple[int, str]:
    """Its exit status, and the errors that its user reads."""
    serving.process.communicate(timeout=90)
    lines = serving.log.read_text().splitlines()
    return serving.process.returncode, "\n".join(line for line in lines if line.startswith("error:"))


def test_a_journal_that_cannot_be_opened_is_what_its_user_reads(tmp_path: Path) -> None:
    place = Place(tmp_path, ShardLimits())
    place.send(some(3))
    place.shard.journal.close()
    (segment,) = (tmp_path / "store" / "journal").rglob("*.segment")
    data = bytearray(segment.read_bytes())
    data[data.index(b"baseline")] ^= 1
    segment.write_bytes(data)
    status, said = ended_by_itself(Starting(tmp_path))
    assert status == 1
    assert segment.name in said
    assert "Edge" not in said
