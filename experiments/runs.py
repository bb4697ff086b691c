"""Runs in a store: their ids, their finished parts, and what differs between two of them.

<store>/experiments/<run_id>/config.json           what was asked for, written first
<store>/experiments/<run_id>/arms/<arm>.parquet    an arm's result, written when it is done
<store>/experiments/<run_id>/manifest.json …       the results, see `experiments.result_files`

A run that is started again with its id goes on where it ended: an arm that is there is read and not run. The
same id with another configuration is refused.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import orjson

from raysignal.engine.core.errors import Conflict, InvalidField, NotFound
from raysignal.engine.journal.blobs import BlobStore
from raysignal.experiments.result_files import (
    FOLDER,
    MANIFEST,
    METRICS,
    blob_name,
    json_bytes,
    read_json,
)

CONFIG = "config.json"
ARM_FILES, ARM_END = "arms/", ".parquet"
"""How the name of the file of an arm that is done begins and ends."""
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class RunState:
    """One run of a store.

    Attributes:
        run_id: its id.
        finished: its manifest is there.
        arms: the arms that are done, sorted.
        kind: `compare`, `sweep`, `luck` or `training`.
    """

    run_id: str
    finished: bool
    arms: tuple[str, ...]
    kind: str = "compare"


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run: how it was made, and what came out."""

    run_id: str
    manifest: dict[str, Any]
    metrics: dict[str, Any]

    @property
    def kind(self) -> str:
        """`compare`, `sweep`, `luck` or `training`."""
        return str(self.manifest.get("kind", "compare"))


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that two runs do not share; None where one of them has none."""

    path: str
    left: Any
    right: Any


def new_run_id(started_us: int, config: Mapping[str, Any]) -> str:
    """An id that sorts by time and says what was asked for: `20261121T090153Z-3f9c2a1b`.

    Args:
        started_us: from the caller's clock.
        config: its fingerprint is the second part.
    """
    started = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=started_us)
    return f"{started:%Y%m%dT%H%M%SZ}-{fingerprint(config)[:8]}"


def fingerprint(config: Mapping[str, Any]) -> str:
    """SHA-256 of a configuration as sorted JSON, hex."""
    return hashlib.sha256(json_bytes(config)).hexdigest()


def check_run_id(run_id: str) -> str:
    """The id itself, if it can be one; else `InvalidField`."""
    if not _RUN_ID.fullmatch(run_id):
        raise InvalidField("run_id", run_id, "1 to 100 letters, digits, - and _, the first no sign")
    return run_id


def open_run(blobs: BlobStore, run_id: str, config: Mapping[str, Any]) -> RunState:
    """Begin a run, or go on with one that was begun with the same configuration.

    Raises:
        InvalidField: no id.
        Conflict: the id belongs to a run with another configuration; it names what differs.
        StoreUnavailable: the store did not answer.
    """
    name, data = blob_name(check_run_id(run_id), CONFIG), json_bytes(config)
    held = blobs.get(name)
    if held is None:
        blobs.put(name, data)
    elif held != data:
        raise _other_config(run_id, differences(orjson.loads(held), orjson.loads(data)))
    return _state(run_id, blobs.list(blob_name(run_id, "")))


def list_runs(blobs: BlobStore) -> list[RunState]:
    """Every run of the store, the oldest id first."""
    names: dict[str, list[str]] = {}
    for name in blobs.list(f"{FOLDER}/"):
        run_id, _, rest = name.removeprefix(f"{FOLDER}/").partition("/")
        if rest:
            names.setdefault(run_id, []).append(name)
    return [_state(run_id, found) for run_id, found in sorted(names.items())]


def load_run(blobs: BlobStore, run_id: str) -> Run:
    """A finished run.

    Raises:
        NotFound: no such run, or one that is not finished.
    """
    if blobs.get(blob_name(check_run_id(run_id), MANIFEST)) is None:
        state = _state(run_id, blobs.list(blob_name(run_id, "")))
        begun = blobs.get(blob_name(run_id, CONFIG)) is not None
        raise NotFound(
            f"run {run_id!r} is not finished; {len(state.arms)} arms are done: start it again with its id"
            if begun
            else f"there is no run {run_id!r}",
            run_id=run_id,
        )
    return Run(run_id, read_json(blobs, run_id, MANIFEST), read_json(blobs, run_id, METRICS))


def diff_runs(left: Run, right: Run) -> dict[str, list[Difference]]:
    """What differs between two runs: `manifest` (settings, data, seeds, versions) and `metrics`."""
    return {
        "manifest": differences(left.manifest, right.manifest),
        "metrics": differences(left.metrics, right.metrics),
    }


def differences(left: Any, right: Any) -> list[Difference]:
    """The values at which two JSON values differ, by their path, such as `settings.gate.k`; sorted."""
    flat_left, flat_right = dict(_flat(left)), dict(_flat(right))
    return [
        Difference(path, flat_left.get(path), flat_right.get(path))
        for path in sorted(flat_left.keys() | flat_right.keys())
        if path not in flat_left or path not in flat_right or flat_left[path] != flat_right[path]
    ]


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves with their paths. Entries of a list that have an `arm` or a `name` go by it, not by place."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for place, inner in enumerate(value):
            yield from _flat(inner, f"{path}[{_entry(inner, place)}]")
    elif path:
        yield path, value


def _entry(inner: Any, place: int) -> str:
    if isinstance(inner, dict):
        parts = [str(inner[key]) for key in ("arm", "dimension", "kind", "name", "rate") if key in inner]
        if parts:
            return "/".join(parts)
    return str(place)


def _state(run_id: str, names: list[str]) -> RunState:
    start = blob_name(run_id, ARM_FILES)
    arms = (name.removeprefix(start).removesuffix(ARM_END) for name in names if name.startswith(start))
    done = tuple(sorted(unquote(arm) for arm in arms))
    return RunState(run_id, blob_name(run_id, MANIFEST) in names, done, _kind(run_id, names))


def _kind(run_id: str, names: list[str]) -> str:
    """By the folders that only it has."""
    for kind, folder in (("sweep", "chunks/"), ("luck", "paths/"), ("training", "seeds/")):
        if any(name.startswith(blob_name(run_id, folder)) for name in names):
            return kind
    return "compare"


def _other_config(run_id: str, found: list[Difference]) -> Conflict:
    shown = "; ".join(f"{one.path} was {one.left!r} and is {one.right!r}" for one in found[:_SHOWN])
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return Conflict(
        f"run {run_id!r} was begun with another configuration: {shown}{more}; expected the same, or another id",
        run_id=run_id,
        paths=[one.path for one in found],
    )
