"""The vector index equals the truth after whatever happened to it, in a directory and in a Chroma server."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raysignal.agents.vectors import Deadlines, VectorIndex, VectorIndexState
from raysignal.agents.vectors.child import Child
from raysignal.engine.core.errors import ChromaUnavailable, StoreUnavailable
from tests.contract.vector_owner import HOUR_US, Settled
from tests.support.chroma_server import Server, serving
from tests.support.tiny_disk import enlarge, tiny_disk

pytest.importorskip("chromadb_rust_bindings")
pytestmark = pytest.mark.timeout(300)
DISK = 1_100  # Chroma writes its graph out after 1 000
long = pytest.mark.long


in_a_folder = pytest.mark.parametrize(
    "backend", ["folder", pytest.param("server", marks=long)], indirect=True
)
"""With `make long` in a server, too."""


@dataclass(frozen=True, slots=True)
class Backend:
    place: str
    name: str = "outcomes"

    def open(self, settled: Settled) -> VectorIndex:
        index = VectorIndex.open(self.place, settled, dimensions=settled.dimensions, name=self.name)
        index.catch_up()
        return index

    def opened(self, settled: Settled) -> closing[VectorIndex]:
        return closing(self.open(settled))


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
    """Same ids, vectors, texts, facts and answers as a fresh build of the truth."""
    status = index.status()
    assert (status.state, status.count, status.behind) == (VectorIndexState.READY, settled.held, 0), status
    assert index._ask("count") == settled.held
    truth = settled.read(0, settled.held)
    for start in range(0, settled.held, 1_000):
        part = slice(start, min(start + 1_000, settled.held))
        vectors, texts, facts = index._ask("read", part.start, part.stop)
        assert np.array_equal(vectors, truth.vectors[part])
        assert texts == truth.texts[part]
        moves = [[row.pop("gross_bps") for row in rows] for rows in (facts, truth.facts[part])]
        assert moves[0] == pytest.approx(moves[1], rel=1e-15)
        assert facts == truth.facts[part]
    for ordinal in range(0, settled.held, max(1, settled.held // 5)):
        found = index.nearest(truth.vectors[ordinal], 4, known_by(ordinal // 2))
        assert found == nearest(truth.vectors, ordinal, ordinal // 2 + 1, 4)


def known_by(ordinal: int) -> dict[str, Any]:
    """The filter of what was known when this outcome became known."""
    return {"known_at_us": {"$lte": (ordinal + 3) * HOUR_US}}


def nearest(vectors: np.ndarray, ordinal: int, visible: int, k: int) -> list[int]:
    distances = np.linalg.norm(vectors[:visible] - vectors[ordinal], axis=1)
    return np.argsort(distances, kind="stable")[:k].tolist()


def test_index_grows_with_the_truth_and_across_owners(backend: Backend) -> None:
    settled = Settled(0)
    with backend.opened(settled) as index:
        assert index.nearest(np.zeros(6, np.float32), 3, known_by(9)) == []
        settled.held = 90
        assert index.catch_up(50)
        assert index.status().behind == 40
        assert index.catch_up()
        assert_equal(index, settled)
    settled.held = 140
    with backend.opened(settled) as index:
        assert index.status().rebuilt == ""
        assert_equal(index, settled)
        asked = settled.read(0, 1).vectors[0]
        assert index.nearest(asked, 9, known_by(-1)) == []
        assert index.nearest(asked, 9, known_by(0)) == [0]
        assert len(index.nearest(asked, 1_000, known_by(999))) == 140
    assert index.status().state is VectorIndexState.CLOSED
    assert not index.catch_up()
    with pytest.raises(ChromaUnavailable, match="is closed"):
        index.nearest(asked, 9, known_by(0))
    with pytest.raises(ChromaUnavailable, match="is closed"):
        index.rebuild("asked for")


@in_a_folder
def test_outcomes_are_found_by_the_words_of_their_texts(backend: Backend) -> None:
    with backend.opened(Settled(60)) as index:
        assert index.containing(["rates", "fear", "1"], known_by(20)) == [1, 11, 12, 13, 14, 16, 17, 18, 19]
        assert index.containing(["greed"], known_by(20)) == []


@in_a_folder
def test_index_is_rebuilt_on_demand(backend: Backend) -> None:
    settled = Settled(60)
    with backend.opened(settled) as index:
        index.rebuild("asked for")
        status = index.status()
        assert (status.state, status.count, status.behind, status.rebuilt) == ("ready", 0, 60, "asked for")
        assert index.catch_up()
        assert_equal(index, settled)


@pytest.mark.parametrize("count", [60, pytest.param(DISK, marks=long)])
def test_index_that_is_no_beginning_of_the_truth_is_built_anew(folder: Backend, count: int) -> None:
    others = [
        Settled(count + 40), Settled(count), Settled(count, seed=2), Settled(count, seed=2, dimensions=4)
    ]  # fmt: skip
    reasons = [
        "there was none",
        f"it holds {count + 40} outcomes where {count} are settled",
        "outcomes 0 to 31 are not what was settled",
        "it has format 3 and 6 dimensions",
    ]
    for settled, reason in zip(others, reasons, strict=True):
        with folder.opened(settled) as index:
            assert index.status().rebuilt == reason
            assert_equal(index, settled)


@in_a_folder
def test_restart_with_more_than_a_thousand_vectors_takes_them_over(backend: Backend) -> None:
    settled = Settled(DISK)
    backend.open(settled).close()
    settled.held += 300
    with backend.opened(settled) as index:
        assert index.status().rebuilt == ""
        assert_equal(index, settled)


@in_a_folder
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
    with closing(opened_when_free(backend, settled)) as index:
        assert index.status().rebuilt == ""
        assert_equal(index, settled)


def opened_when_free(backend: Backend, settled: Settled) -> VectorIndex:
    """The index, once the child of its killed owner has let go of the directory."""
    while True:
        try:
            return backend.open(settled)
        except StoreUnavailable:
            threading.Event().wait(0.02)


def change_a_fact(index: VectorIndex, settled: Settled) -> None:
    row = settled.read(31, 32)
    index._ask("write", 31, row.vectors, row.texts, [row.facts[0] | {"right": not row.facts[0]["right"]}])


def change_a_text(index: VectorIndex, settled: Settled) -> None:
    row = settled.read(31, 32)
    index._ask("write", 31, row.vectors, ["another"], row.facts)


def leave_a_gap(index: VectorIndex, settled: Settled) -> None:
    row = settled.read(31, 32)
    index._ask("write", 31_000, row.vectors, row.texts, row.facts)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(change_a_fact, "outcomes 0 to 31 are not what was settled", marks=long),
        pytest.param(change_a_text, "outcomes 0 to 31 are not what was settled", marks=long),
        (leave_a_gap, "it has gaps"),
    ],
)
def test_outcome_that_another_client_of_the_server_changed_is_found(
    server: Server, tmp_path: Path, change: Callable[[VectorIndex, Settled], None], reason: str
) -> None:
    backend, settled = Backend(server.url, tmp_path.name), Settled(60)
    index = backend.open(settled)
    change(index, settled)
    index.close()
    with backend.opened(settled) as healed:
        assert healed.status().rebuilt == reason
        assert_equal(healed, settled)


@pytest.mark.parametrize(
    ("dimensions", "rebuilt"),
    [pytest.param(6, "there was none", marks=long), (3, "it has format 3 and 3 dimensions")],
)
def test_collection_that_is_emptied_or_replaced_under_its_owner_is_filled_again(
    server: Server, tmp_path: Path, dimensions: int, rebuilt: str
) -> None:
    """Another client puts an empty collection in its place, or one of another dimension."""
    backend, settled = Backend(server.url, tmp_path.name), Settled(60)
    with backend.opened(settled) as index:
        other = Child(None)
        other.call("open", 60.0, server.url, tmp_path.name)
        other.call("create", 60.0, {"format": 3, "dimensions": dimensions, "store": ""})
        if dimensions != 6:
            other.call("write", 60.0, 0, np.ones((1, dimensions), np.float32), [""], [{"known_at_us": 1}])
        other.end()
        with pytest.raises(ChromaUnavailable):
            index.nearest(np.zeros(6, np.float32), 3, known_by(50))
        settled.held = 70
        assert index.catch_up()
        assert index.status().rebuilt == rebuilt
        assert_equal(index, settled)


def test_collection_of_another_store_in_a_server_is_left_alone(server: Server, tmp_path: Path) -> None:
    ours, theirs = Settled(60), Settled(50, seed=2)
    other = VectorIndex.open(server.url, theirs, dimensions=6, name=tmp_path.name, store="theirs")
    with closing(other):
        assert other.catch_up()
        with closing(
            VectorIndex.open(server.url, ours, dimensions=6, name=tmp_path.name, store="ours")
        ) as index:
            status = index.status()
            assert (status.state, status.rebuilt) == (VectorIndexState.UNAVAILABLE, "")
            assert status.reason == (
                f"{tmp_path.name} holds the outcomes of another store: name the agent's portfolio otherwise, or "
                "delete the collection if that store is gone"
            )
            with pytest.raises(ChromaUnavailable, match="another store"):
                index.rebuild("asked for")
        assert_equal(other, theirs)


@pytest.mark.parametrize("mark", [pytest.param(None, marks=long), {"owner": "me"}])
def test_collection_without_the_mark_of_a_store_in_a_server_is_left_alone(
    server: Server, tmp_path: Path, mark: dict[str, Any] | None
) -> None:
    other = Child(None)
    other.call("open", 60.0, server.url, tmp_path.name)
    other.call("create", 60.0, mark)
    other.call("write", 60.0, 0, np.ones((1, 6), np.float32), [""], [{"known_at_us": 1}])
    with closing(VectorIndex.open(server.url, Settled(5), dimensions=6, name=tmp_path.name)) as index:
        status = index.status()
        assert (status.state, status.rebuilt) == (VectorIndexState.UNAVAILABLE, "")
        assert status.reason.startswith(f"{tmp_path.name} holds the outcomes of another store: ")
    assert other.call("count", 60.0) == 1
    other.end()


def collections(place: str) -> dict[str, int]:
    """What is in files of Chroma's, as another process sees it."""
    look = (
        "import chromadb, json, sys; client = chromadb.PersistentClient(sys.argv[1]);"
        "print(json.dumps({each.name: each.count() for each in client.list_collections()}))"
    )
    said = subprocess.run([sys.executable, "-c", look, place], check=True, capture_output=True, cwd="/")
    return dict(json.loads(said.stdout))


def make_collection(place: str, name: str) -> None:
    """A collection of a user's own, with one vector."""
    make = (
        "import chromadb, sys; client = chromadb.PersistentClient(sys.argv[1]);"
        "client.create_collection(sys.argv[2], embedding_function=None).add(['1'], [[1.0]]); client.close()"
    )
    subprocess.run([sys.executable, "-c", make, place, name], check=True, cwd="/")


@pytest.mark.parametrize("name", [pytest.param("notes", marks=long), "outcomes"])
def test_files_that_were_not_made_here_are_left_alone(folder: Backend, name: str) -> None:
    files = f"{folder.place}/chroma"
    make_collection(files, name)
    with folder.opened(Settled(5)) as index:
        status = index.status()
        assert (status.state, status.rebuilt) == (VectorIndexState.UNAVAILABLE, "")
        assert status.reason == (
            f"{files} holds the collections {name} that nothing marks as made here, and is left as it is: give "
            "RAYSIGNAL_AGENT__CHROMA another directory, or move that one away"
        )
        with pytest.raises(ChromaUnavailable, match="left as it is"):
            index.rebuild("asked for")
    assert collections(files) == {name: 1}


def test_damaged_files_that_nothing_marks_are_left_alone(folder: Backend) -> None:
    files = Path(folder.place, "chroma")
    files.mkdir(parents=True)
    (files / "chroma.sqlite3").write_bytes(b"\xff" * 9_000)
    with folder.opened(Settled(5)) as index:
        assert index.status().reason.startswith(f"{files} holds files that nothing marks as made here")
    assert (files / "chroma.sqlite3").read_bytes() == b"\xff" * 9_000


def test_collection_that_is_put_into_our_files_is_not_lost_when_they_are_built_anew(folder: Backend) -> None:
    settled, files = Settled(20), f"{folder.place}/chroma"
    with folder.opened(settled) as index:
        make_collection(files, "notes")
        with pytest.raises(ChromaUnavailable, match="the collections notes that nothing marks"):
            index.rebuild("asked for")
        assert not index.catch_up()
        assert collections(files) == {"outcomes": 20, "notes": 1}


def test_files_of_a_version_before_are_taken_over_and_marked(folder: Backend) -> None:
    settled, mark = Settled(20), Path(folder.place, "chroma", "raysignal")
    folder.open(settled).close()
    mark.unlink()
    with folder.opened(settled) as index:
        assert index.status().rebuilt == ""
        assert_equal(index, settled)
    assert mark.exists()


def test_directory_of_another_store_is_built_anew(folder: Backend) -> None:
    settled = Settled(20)
    for store, seed in (("theirs", 2), ("ours", 1)):
        settled.seed = seed
        with closing(VectorIndex.open(folder.place, settled, dimensions=6, store=store)) as index:
            assert index.catch_up()
            assert_equal(index, settled)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSEGV])
def test_owner_goes_on_when_chroma_dies_under_it_and_heals_it_later(
    folder: Backend, end: signal.Signals
) -> None:
    settled = Settled(50)
    with folder.opened(settled) as index:
        os.kill(index._child.process.pid, end)
        with pytest.raises(ChromaUnavailable, match=f"{end.name}.*try again"):
            index.nearest(np.zeros(6, np.float32), 1, known_by(9))
        settled.held = 80
        status = index.status()
        assert (status.state, status.count, status.behind) == (VectorIndexState.UNAVAILABLE, 50, 30)
        assert end.name in status.reason
        assert index.catch_up()
        crashed = end is signal.SIGSEGV  # then the files are not trusted again
        assert index.status().rebuilt == (status.reason if crashed else "there was none")
        assert_equal(index, settled)


def test_server_that_is_gone_or_hangs_is_done_without_until_it_is_back(tmp_path: Path) -> None:
    settled = Settled(30)
    with serving(tmp_path) as server:
        hasty = Deadlines(query_s=0.3)
        with closing(VectorIndex.open(server.url, settled, dimensions=6, deadlines=hasty)) as index:
            assert index.catch_up()
            os.kill(server.process.pid, signal.SIGSTOP)
            with pytest.raises(ChromaUnavailable, match=r"no answer within 0\.3 s") as raised:
                index.nearest(np.zeros(6, np.float32), 1, known_by(9))
            assert raised.value.fields["retry_after_s"] == 3
            server.end()
            assert not index.catch_up()
            assert index.status().state is VectorIndexState.UNAVAILABLE
            settled.held = 45
            server.start()
            assert index.catch_up()
            assert_equal(index, settled)


def test_question_while_outcomes_are_put_in_is_told_to_come_again(folder: Backend) -> None:
    settled = Settled(60)
    index = VectorIndex.open(folder.place, settled, dimensions=6, deadlines=Deadlines(query_s=0.05))
    with closing(index), index._turn, ThreadPoolExecutor(1) as other:
        question = other.submit(index.nearest, np.zeros(6, np.float32), 1, known_by(9))
        with pytest.raises(ChromaUnavailable, match=r"busy with outcome 0 of 60; .* every 3 s"):
            question.result()


def test_second_owner_of_a_directory_is_refused_until_the_first_has_closed(folder: Backend) -> None:
    settled = Settled(10)
    with folder.opened(settled), pytest.raises(StoreUnavailable, match="held by another process"):
        folder.open(settled)
    with folder.opened(settled) as index:
        assert index.status().rebuilt == ""


def test_place_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot be kept"):
        Backend(str(tmp_path / "file" / "memory")).open(Settled(1))


@long
def test_stale_copy_is_topped_up_and_nothing_is_built_anew(folder: Backend, tmp_path: Path) -> None:
    settled, place, copy = Settled(20), Path(folder.place), tmp_path / "copy"
    folder.open(settled).close()
    shutil.copytree(place, copy)
    settled.held = 40
    folder.open(settled).close()
    shutil.rmtree(place)
    shutil.copytree(copy, place)
    with folder.opened(settled) as index:
        assert index.status().rebuilt == ""
        assert_equal(index, settled)
    shutil.rmtree(place)
    with folder.opened(settled) as index:
        assert index.status().rebuilt == "there was none"
        assert_equal(index, settled)


def test_full_disk_is_survived_and_all_is_there_once_there_is_room(tmp_path: Path) -> None:
    settled = Settled(4_000)
    with tiny_disk(tmp_path / "disk", 2_048) as disk, Backend(str(disk / "memory")).opened(settled) as index:
        status = index.status()
        assert (status.state, status.behind > 0) == (VectorIndexState.UNAVAILABLE, True)
        assert "Chroma's write failed" in status.reason
        with pytest.raises(ChromaUnavailable, match="is unavailable"):
            index.nearest(np.zeros(6, np.float32), 1, known_by(9))
        held, files = status.count, {*disk.rglob("*")}
        assert not index.catch_up()
        assert {*disk.rglob("*")} >= files
        enlarge(disk, 131_072)
        assert index.catch_up(0)
        assert (index.status().count >= held - 512, index.status().rebuilt) == (True, "there was none")
        assert index.catch_up()
        assert_equal(index, settled)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


def overwrite(path: Path) -> None:
    size = path.stat().st_size
    path.write_bytes(np.random.default_rng(5).bytes(size))


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index whose graph lies on disk."""
    place = tmp_path_factory.mktemp("disk") / "memory"
    Backend(str(place)).open(Settled(DISK)).close()
    return place


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("chroma.sqlite3", truncate),
        ("data_level0.bin", overwrite),
        pytest.param("header.bin", overwrite, marks=long),
        pytest.param("index_metadata.pickle", overwrite, marks=long),
        pytest.param("length.bin", truncate, marks=long),
        pytest.param("link_lists.bin", overwrite, marks=long),
    ],
)
def test_damaged_file_is_survived_and_repaired(
    on_disk: Path, folder: Backend, file: str, damage: Callable[[Path], None]
) -> None:
    shutil.copytree(on_disk, folder.place)
    (damaged,) = Path(folder.place).rglob(file)
    damage(damaged)
    settled = Settled(DISK)
    with folder.opened(settled) as index:
        assert_equal(index, settled)
