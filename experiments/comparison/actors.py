"""Arms as Ray actors: each runs one arm over the whole stream, and tells how far it is; short ones run at home."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raysignal.agents.llm.adviser import Adviser
from raysignal.agents.llm.budget import Allowance, Budget, RateLimiter, StateFile
from raysignal.agents.llm.cassette import Cassette, Mode
from raysignal.agents.llm.models import ChatModel, LanguageModel, ModelSettings, NoModel
from raysignal.engine.core.arrays import Int8Array, UInt8Array
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import RaysignalError
from raysignal.experiments.comparison import arms
from raysignal.experiments.comparison.arms import ArmDecisions, Trial
from raysignal.experiments.comparison.results import ArmResult

LOOK_S = 0.1
"""How often arms are asked how far they are."""

_SHORT = frozenset({"baseline", "random", "canary"})
"""Arms that take less than the start of a process: they run in this one."""


@dataclass(frozen=True, slots=True)
class ModelArmOptions:
    """How an arm asks its model.

    Attributes:
        settings: which model.
        api_key: None in a replay; any text for a loopback model. Not shown.
        mode: live, record or replay.
        cassette: where calls are recorded, or replayed from.
        budget: calls of an arm at most.
        per_minute: calls a minute; None: as fast as they come.
        deadline_s: seconds for one signal.
        concurrency: calls at once.
        arm: whose calls the budget counts.
    """

    settings: ModelSettings
    api_key: str | None = field(repr=False)
    mode: Mode
    cassette: Path | None
    budget: int
    per_minute: float | None = None
    deadline_s: float = 8.0
    concurrency: int = 8
    arm: str = "model"

    def of_arm(self, name: str) -> "ModelArmOptions":
        """The same for an arm of this name, which has a budget of its own."""
        return replace(self, arm=name)

    async def adviser(self) -> Adviser:
        """The adviser of these terms; it belongs to the running event loop.

        The client library is imported here: it takes seconds, which no question's deadline pays for.
        """
        replays = self.mode is Mode.REPLAY
        model: LanguageModel = NoModel(self.settings)
        if not replays:
            chat = ChatModel(self.settings, self.api_key)
            await chat.warm()
            model = chat
        keep = None
        if self.cassette is not None and not replays:
            keep = StateFile(self.cassette.with_suffix(f".{self.arm}-budget.json"))
        allowance = Allowance(
            Budget(self.budget),
            None if self.per_minute is None else RateLimiter(self.per_minute, self.concurrency),
            now_us=lambda: time.time_ns() // 1000,
            now_s=time.monotonic,
            keep=keep,
        )
        return Adviser(
            model, Cassette(self.mode, self.cassette), allowance, deadline_s=self.deadline_s,
            concurrency=self.concurrency,
        )  # fmt: skip


class ArmActor:
    """Runs one arm; `progress` answers while it does."""

    def __init__(self, name: str, trial: Trial, asking: ModelArmOptions | None) -> None:
        self._name, self._trial, self._asking = name, trial, asking
        self._done = 0

    def run(self, encoded: UInt8Array, like: Int8Array | None) -> ArmResult | RaysignalError:
        """The arm's result; an error of the project is returned, not raised, so that Ray does not wrap it."""
        batch = SignalBatch.decode(encoded.data)
        try:
            result = arms.result_of(self._name, batch, self._trial, self._decided(batch, like))
        except RaysignalError as error:
            return error
        self._done = len(batch)
        return result

    def progress(self) -> int:
        """Signals decided so far."""
        return self._done

    def _advance(self, signals: int) -> None:
        self._done += signals

    def _decided(self, batch: SignalBatch, like: Int8Array | None) -> ArmDecisions:
        trial = self._trial.gated()
        if self._name == "baseline":
            return arms.baseline(batch)
        if self._name in {"memory", "chroma"}:
            decide = arms.gated if self._name == "memory" else arms.approximated
            return decide(batch, trial, advance=self._advance)
        if self._name == "shuffled":
            return arms.gated(batch, trial, shuffle=trial.seed, advance=self._advance)
        if self._name == "canary":
            return arms.ahead(batch, arms.stream_of(batch, trial))
        if self._name == "random":
            assert like is not None
            return arms.drawn(batch, like, trial.seed)
        assert self._asking is not None
        if self._name == "review":
            trial = self._trial.reviewed(batch, self._asking.budget)
        return asyncio.run(_advised(batch, trial, self._asking.of_arm(self._name), self._advance))


# No method of the actor: Ray runs every method of a class that has a coroutine on an event loop.
async def _advised(
    batch: SignalBatch, trial: Trial, asking: ModelArmOptions, advance: arms.Advance
) -> ArmDecisions:
    adviser = await asking.adviser()
    try:
        return await arms.advised(batch, trial, adviser, advance=advance)
    finally:
        await adviser.aclose()


def arms_here(names: tuple[str, ...], batch: SignalBatch, trial: Trial) -> dict[str, ArmResult]:
    """Run arms that ask no model one after the other in this process; their results by name, in the order of `names`.

    Raises:
        RaysignalError: what an arm met.
    """
    stream = np.frombuffer(batch.encode(), np.uint8)
    results: dict[str, ArmResult] = {}
    for name in sorted(names, key=lambda name: name == "random"):  # which draws as the memory did
        like = results["memory"].verdict if name == "random" else None
        result = ArmActor(name, trial, None).run(stream, like)
        if isinstance(result, RaysignalError):
            raise result
        results[name] = result
    return {name: results[name] for name in names}


def run_arms(
    names: tuple[str, ...],
    batch: SignalBatch,
    trial: Trial,
    asking: ModelArmOptions | None,
    *,
    found: Mapping[str, ArmResult],
    done: Callable[[ArmResult], None],
    progress: Callable[[str, int], None],
) -> dict[str, ArmResult]:
    """Run arms in parallel on the cluster of this process, short ones in it; their results by name, as in `names`.

    Args:
        names: which; `random` needs `memory`, here or in `found`.
        batch: the stream; it lies in the object store once.
        trial: the rules.
        asking: for the arms that ask a model.
        found: results that are there already; they are not run again.
        done: called with each new result, as soon as it is there.
        progress: called with an arm's name and how many signals it has decided.

    Raises:
        RaysignalError: what an arm met; the others are ended.
    """
    encoded = np.frombuffer(batch.encode(), np.uint8)
    stream = ray.put(encoded)
    results = dict(found)
    waiting = [name for name in names if name not in results]
    running: dict[Any, tuple[str, Any]] = {}

    def finish(name: str, result: ArmResult | RaysignalError) -> None:
        if isinstance(result, RaysignalError):
            raise result
        progress(name, len(batch))
        done(result)
        results[name] = result

    try:
        while waiting or running:
            starting = [*_startable(waiting, results, {name for name, _ in running.values()})]
            for name in starting:
                waiting.remove(name)
                if name not in _SHORT:
                    actor = _actor(name).remote(name, trial, asking if name in arms.ASKING else None)
                    running[actor.run.remote(stream, None)] = (name, actor)
            for name in (name for name in starting if name in _SHORT):
                like = results["memory"].verdict if name == "random" else None
                finish(name, ArmActor(name, trial, None).run(encoded, like))
            ready = ray.wait([*running], timeout=LOOK_S)[0] if running else []
            for reference in ready:
                name, actor = running.pop(reference)
                result = ray.get(reference)
                ray.kill(actor)
                finish(name, result)
            _ask(running, progress)
    finally:
        for _, actor in running.values():
            ray.kill(actor)
    return {name: results[name] for name in names}


def _startable(
    waiting: list[str], results: Mapping[str, ArmResult], running: Collection[str]
) -> Iterator[str]:
    """Those that can start now: one draws as another did, and those that ask write one cassette in turn."""
    asking = not set(arms.ASKING).isdisjoint(running)
    for name in [*waiting]:
        if name == "random" and "memory" not in results:
            continue
        if name in arms.ASKING:
            if asking:
                continue
            asking = True
        yield name


def _actor(name: str) -> Any:
    """An actor's class with what it needs; the one that writes a cassette stays on this node."""
    options: dict[str, Any] = {"num_cpus": 0 if name in arms.ASKING else 1, "max_concurrency": 2}
    if name in arms.ASKING:
        here = ray.get_runtime_context().get_node_id()
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(here, soft=False)
    return ray.remote(**options)(ArmActor)


def _ask(running: Mapping[Any, tuple[str, Any]], progress: Callable[[str, int], None]) -> None:
    """Tell how far the arms are that answer at once; one whose actor waits for a core does not."""
    asked = {actor.progress.remote(): name for name, actor in running.values()}
    if asked:
        answers, _ = ray.wait([*asked], num_returns=len(asked), timeout=LOOK_S)
        for answer in answers:
            progress(asked[answer], ray.get(answer))
