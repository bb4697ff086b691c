"""The vector index equals the truth after whatever happened to it, in a directory and in a Chroma server."""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from raysignal.agents.vectors import Deadlines, VectorIndex, VectorIndexState
from raysignal.agents.vectors.rows import same_facts
from raysignal.engine.core.errors import InvalidField, StoreUnavailable
from raysignal.runtime.ports import free_port
from tests.contract.vector_owner import HOUR_US, Settled

pytest.importorskip("chromadb_rust_bindings")
pytestmark = pytest.mark.timeout(300)
DISK = 1_100  # Chroma writes its graph out after 1 000


@dataclass(frozen=True, slots=True)
class Backend:
    place: str
    name: str = "outcomes"

    def open(self, settled: Settled, *, patience_s: float = 10.0) -> VectorIndex:
        return VectorIndex.open(
            self.place, settled, dimensions=settled.dimensions, name=self.name, patience_s=patience_s
        )

    def opened(self, settled: Settled) -> closing[VectorIndex]:
        return closing(self.open(settled))


@dataclass(slots=True)
class Server:
    path: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = _chroma_run(self.path, self.port)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def serving(path: Path) -> Iterator[Server]:
    port = free_port()
    server = Server(path, port, _chroma_run(path, port))
    try:
        yield server
    finally:
        server.end()


def _chroma_run(path: Path, port: int) -> subprocess.Popen[bytes]:
    command = [Path(sys.executable).with_name("chroma"), "run", "--path", path, "--host", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return process
        threading.Event().wait(0.02)
    pytest.fail(f"chroma run ended with {process.returncode}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture(params=["folder", "server"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    if request.param == "folder":
        return Backend(str(tmp_path / "memory"))
    return Backend(request.getfixturevalue("server").url, tmp_path.name)


@pytest.fixture
def folder(tmp_path: Path) -> Backend:
    return Backend(str(tmp_path / "memory"))


def assert_equal(index: VectorIndex, settled: Settled) -> None:
    """Same ids, vectors, facts and answers as a fresh build of the truth."""
    status = index.status()
    assert (status.state, status.count, status.behind) == (VectorIndexState.READY, settled.held, 0), status
    assert index._ask("count") == settled.held
    truth = settled.read(0, settled.held)
    for start in range(0, settled.held, 1_000):
        vectors, facts = index._ask("read", start, min(start + 1_000, settled.held))
        assert np.array_equal(vectors, truth.vectors[start : start + 1_000])
        assert same_facts(facts, truth.metadata()[start : start + 1_000])
    for ordinal in range(0, settled.held, max(1, settled.held // 5)):
        as_of_us = (ordinal // 2 + 3) * HOUR_US
        found = index.similar(truth.vectors[ordinal], as_of_us=as_of_us, k=4)
        assert [entry.ordinal for entry in found] == nearest(truth.vectors, ordinal, ordinal // 2 + 1, 4)


def nearest(vectors: np.ndarray, ordinal: int, visible: int, k: int) -> list[int]:
    distances = np.linalg.norm(vectors[:visible] - vectors[ordinal], axis=1)
    return np.argsort(distances, kind="stable")[:k].tolist()


def test_index_grows_with_the_truth_and_across_owners(backend: Backend) -> None:
    settled = Settled(0)
    with backend.opened(settled) as index:
        assert index.similar(np.zeros(6, np.float32), as_of_us=HOUR_US, k=3) == []
        settled.held = 90
        assert index.append(settled.read(0, 50))
        assert index.append(settled.read(20, 60)), "what is there stays"
        assert index.append(settled.read(80, 90)), "a gap is filled from the truth"
        assert_equal(index, settled)
        settled.held = 95
        assert index.status().behind == 5
        assert index.heal()
        assert_equal(index, settled)
    settled.held = 140
    with backend.opened(settled) as index:
        assert index.status().rebuilt == ""
        assert_equal(index, settled)
        assert index.similar(settled.read(0, 1).vectors[0], as_of_us=2 * HOUR_US, k=9) == []
        assert [entry.ordinal for entry in index.similar(np.zeros(6), as_of_us=3 * HOUR_US, k=9)] == [0]
    assert index.status().state is VectorIndexState.CLOSED
    assert not index.append(settled.read(0, 1))


def test_index_that_is_no_beginning_of_the_truth_is_built_anew(folder: Backend) -> None:
    others = [Settled(40), Settled(25), Settled(60, seed=2), Settled(60, seed=2, dimensions=4)]
    reasons = [
        "there was none",
        "it holds 40 outcomes where 25 are settled",
        "it is of another history",
        "it has format 1 and 6 dimensions",
    ]
    for settled, reason in zip(others, reasons, strict=True):
        with folder.opened(settled) as index:
            assert index.status().rebuilt == reason
            assert_equal(index, settled)


def test_index_of_an_owner_killed_while_appending_is_completed(backend: Backend) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-m", "tests.contract.vector_owner", backend.place, backend.name, "100000"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert owner.stdin is not None
    assert owner.stdout is not None
    with owner.stdin, owner.stdout:
        said = list(itertools.islice(owner.stdout, 30))
        owner.kill()
        said += owner.stdout.readlines()
        owner.wait()
    settled = Settled(int(said[-1]) + 80)
    with backend.opened(settled) as index:
        assert index.status().rebuilt == ""
        assert_equal(index, settled)


def test_outcome_that_another_client_of_the_server_changed_is_found(server: Server, tmp_path: Path) -> None:
    backend, settled = Backend(server.url, tmp_path.name), Settled(60)
    index = backend.open(settled)
    vectors, facts = settled.read(31, 32).vectors, settled.read(31, 32).metadata()
    index._ask("write", 31, vectors, [facts[0] | {"right": not facts[0]["right"]}])
    index.close()
    with backend.opened(settled) as healed:
        assert healed.status().rebuilt == "outcomes 0 to 59 are not what was settled"
        assert_equal(healed, settled)


def test_outcome_that_was_written_without_its_mark_is_written_once_more(folder: Backend) -> None:
    settled = Settled(50)
    index = folder.open(settled)
    settled.held = 70
    ahead = settled.read(50, 60)
    index._ask("write", 50, ahead.vectors, ahead.metadata())
    crash(index)
    with folder.opened(settled) as completed:
        assert completed.status().rebuilt == ""
        assert_equal(completed, settled)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSEGV])
def test_owner_goes_on_when_chroma_dies_under_it_and_heals_it_later(
    folder: Backend, end: signal.Signals
) -> None:
    settled = Settled(50)
    with folder.opened(settled) as index:
        os.kill(index._child.pid, end)
        settled.held = 80
        assert not index.append(settled.read(50, 80))
        status = index.status()
        assert (status.state, status.count, status.behind) == (VectorIndexState.UNAVAILABLE, 50, 30)
        assert end.name in status.reason
        with pytest.raises(StoreUnavailable):
            index.similar(np.zeros(6), as_of_us=0, k=1)
        assert index.heal()
        crashed = end is signal.SIGSEGV  # then the files are not trusted again
        assert index.status().rebuilt == (status.reason if crashed else "there was none")
        assert_equal(index, settled)


def test_server_that_is_gone_or_hangs_is_done_without_until_it_is_back(tmp_path: Path) -> None:
    settled = Settled(30)
    with serving(tmp_path) as server:
        hasty = Deadlines(query_s=0.3)
        with closing(VectorIndex.open(server.url, settled, dimensions=6, deadlines=hasty)) as index:
            os.kill(server.process.pid, signal.SIGSTOP)
            with pytest.raises(StoreUnavailable, match=r"no answer within 0\.3 s"):
                index.similar(np.zeros(6), as_of_us=10 * HOUR_US, k=1)
            server.end()
            assert not index.heal()
            assert index.status().state is VectorIndexState.UNAVAILABLE
            settled.held = 45
            server.start()
            assert index.heal()
            assert_equal(index, settled)


def test_second_owner_of_a_directory_is_refused_until_the_first_has_closed(folder: Backend) -> None:
    settled = Settled(10)
    with folder.opened(settled), pytest.raises(StoreUnavailable, match=f"held by process {os.getpid()}"):
        folder.open(settled, patience_s=0)
    with folder.opened(settled) as index:
        assert index.status().rebuilt == ""


def test_place_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot be kept"):
        Backend(str(tmp_path / "file" / "memory")).open(Settled(1))


def test_stale_copy_is_topped_up_and_a_mixture_or_nothing_is_built_anew(
    folder: Backend, tmp_path: Path
) -> None:
    settled, place, copy = Settled(20), Path(folder.place), tmp_path / "copy"
    folder.open(settled).close()
    shutil.copytree(place, copy)
    settled.held = 40
    folder.open(settled).close()
    shutil.copytree(copy / "chroma", place / "chroma", dirs_exist_ok=True)
    with folder.opened(settled) as index:
        assert index.status().rebuilt == "its files are not as they were left"
        assert_equal(index, settled)
    shutil.rmtree(place)
    shutil.copytree(copy, place)
    with folder.opened(settled) as index:
        assert index.status().rebuilt == ""
        assert_equal(index, settled)
    shutil.rmtree(place)
    with folder.opened(settled) as index:
        assert index.status().rebuilt == "there was none"
        assert_equal(index, settled)


def crash(index: VectorIndex) -> None:
    """End an index as a kill of its owner does."""
    index._child.end()
    if index._folder is not None:
        index._folder.close()


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


def overwrite(path: Path) -> None:
    size = path.stat().st_size
    path.write_bytes(np.random.default_rng(5).bytes(size))


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index on disk whose owner did not close it."""
    place = tmp_path_factory.mktemp("crashed") / "memory"
    crash(Backend(str(place)).open(Settled(DISK)))
    return place


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("chroma.sqlite3", truncate),
        ("data_level0.bin", overwrite),
        ("header.bin", overwrite),
        ("index_metadata.pickle", overwrite),
        ("length.bin", truncate),
        ("link_lists.bin", overwrite),
    ],
)
def test_damaged_file_of_a_crashed_index_is_survived_and_repaired(
    crashed: Path, folder: Backend, file: str, damage: Callable[[Path], None]
) -> None:
    shutil.copytree(crashed, folder.place)
    (damaged,) = Path(folder.place).rglob(file)
    damage(damaged)
    settled = Settled(DISK)
    with folder.opened(settled) as index:
        assert_equal(index, settled)


def test_damage_after_a_clean_end_is_seen_and_only_the_last_damaged_files_are_kept(folder: Backend) -> None:
    settled, place = Settled(30), Path(folder.place)
    folder.open(settled).close()
    for number in (1, 2):
        with (place / "chroma" / "chroma.sqlite3").open("r+b") as file:
            file.seek(20_000)
            file.write(b"\0damage\0")
        with folder.opened(settled) as index:
            assert index.status().rebuilt == "its files are not as they were left"
            assert_equal(index, settled)
        assert [path.name for path in place.glob("*damaged*")] == [f"chroma.damaged-{number}"]
    overwrite(place / "chroma.seal")
    with folder.opened(settled) as index:
        assert_equal(index, settled)


def test_questions_and_outcomes_that_do_not_fit_are_refused(folder: Backend) -> None:
    settled = Settled(10)
    with folder.opened(settled) as index:
        with pytest.raises(InvalidField, match="vector"):
            index.similar(np.zeros(5), as_of_us=0, k=1)
        with pytest.raises(InvalidField, match="k is 0"):
            index.similar(np.zeros(6), as_of_us=0, k=0)
        with pytest.raises(InvalidField, match="vector"):
            index.append(Settled(10, dimensions=5).read(0, 1))
        with pytest.raises(InvalidField, match="at most 10 outcomes"):
            index.append(replace(settled.read(9, 10), start=10))
        assert index.status().state is VectorIndexState.READY
    with pytest.raises(InvalidField, match="dimensions"):
        VectorIndex.open(folder.place, settled, dimensions=0)
