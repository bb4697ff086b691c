"""One budget for a cluster: however many ask it, from wherever, and whatever becomes of its actor."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RayActorError

from raysignal.agents.verdicts import Reason
from raysignal.engine.core.errors import SettingsError
from raysignal.runtime.local_cluster import NAMESPACE
from raysignal.runtime.model_budget_actor import ClusterAllowance, ModelQuota
from tests.cluster.nodes import Nodes
from tests.cluster.waiting import until_async

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

NAME = "budget-of-a-test"


@pytest.fixture
def name(nodes: Nodes) -> Iterator[str]:
    """A name whose actor ends with the test."""
    yield NAME
    with suppress(ValueError):
        ray.kill(ray.get_actor(NAME, NAMESPACE))


def ask_from_many_tasks(terms: ModelQuota, name: str, *, tasks: int, each: int) -> list[int]:
    """Calls that were allowed to each of several Ray tasks, which ask at the same time."""

    @ray.remote(num_cpus=0.25, max_retries=0)
    def asker() -> int:
        import asyncio

        async def ask() -> int:
            gate = ClusterAllowance.connect(terms, name=name, answer_s=60.0)
            admissions = await asyncio.gather(*(gate.admit(60.0) for _ in range(each)))
            return sum(admission.period is not None for admission in admissions)

        return asyncio.run(ask())

    allowed: list[int] = ray.get([asker.remote() for _ in range(tasks)])
    return allowed


def pid_of(name: str) -> int:
    pid: int = ray.get(ray.get_actor(name, NAMESPACE).__ray_call__.remote(lambda _: os.getpid()))
    return pid


def die(name: str) -> None:
    """Kill the actor's process, and wait until Ray has made it anew."""
    actor: Any = ray.get_actor(name, NAMESPACE)
    old = pid_of(name)
    os.kill(old, 9)
    while True:
        try:
            if ray.get(actor.__ray_call__.remote(lambda _: os.getpid())) != old:
                return
        except RayActorError:
            continue


async def test_many_tasks_together_get_no_more_calls_than_the_budget(name: str) -> None:
    terms = ModelQuota(limit=10)
    allowed = ask_from_many_tasks(terms, name, tasks=4, each=8)
    assert sum(allowed) == 10
    gate = ClusterAllowance.connect(terms, name=name)
    refused = await gate.admit(60.0)
    assert (refused.period, refused.reason) == (None, Reason.MODEL_BUDGET)


async def test_a_cluster_has_one_budget_of_a_name(name: str) -> None:
    ClusterAllowance.connect(ModelQuota(limit=1), name=name)
    with pytest.raises(SettingsError, match="limit=1"):
        ClusterAllowance.connect(ModelQuota(limit=2), name=name)


async def test_a_server_that_asks_to_wait_holds_every_replica(name: str) -> None:
    terms = ModelQuota(limit=10, per_minute=600.0)
    one, other = (ClusterAllowance.connect(terms, name=name, answer_s=60.0) for _ in range(2))
    await one.hold(120.0)
    refused = await other.admit(60.0)
    assert (refused.period, refused.reason) == (None, Reason.MODEL_QUOTA)
    assert await other.left() == 10


async def test_an_actor_that_died_goes_on_where_it_was_when_it_keeps_a_file(
    name: str, tmp_path: Path
) -> None:
    gate = ClusterAllowance.connect(
        ModelQuota(limit=3, state=str(tmp_path / "budget.json")), name=name, answer_s=60.0
    )
    assert (await gate.admit(60.0)).period == "run"
    die(name)
    assert await gate.left() == 2


async def test_an_actor_that_died_and_keeps_no_file_allows_nothing_more(name: str) -> None:
    gate = ClusterAllowance.connect(ModelQuota(limit=3), name=name, answer_s=60.0)
    assert (await gate.admit(60.0)).period == "run"
    die(name)
    refused = await gate.admit(60.0)
    assert (refused.period, refused.reason) == (None, Reason.MODEL_BUDGET)


async def test_without_its_actor_no_call_is_made_and_nothing_raises(name: str) -> None:
    gate = ClusterAllowance.connect(ModelQuota(limit=3), name=name)
    gate.end()
    refused = await gate.admit(60.0)
    assert (refused.period, refused.reason) == (None, Reason.MODEL_UNAVAILABLE)
    await gate.hold(1.0)
    await gate.give_back("run")
    assert (await gate.held(), await gate.left()) == (0.0, 0)


async def test_a_call_that_was_allowed_too_late_is_given_back(name: str) -> None:
    gate = ClusterAllowance.connect(ModelQuota(limit=10), name=name, answer_s=60.0)
    hasty = ClusterAllowance(ray.get_actor(name, NAMESPACE), answer_s=1e-6)
    late = [await hasty.admit(60.0) for _ in range(4)]
    assert [admission.reason for admission in late] == [Reason.MODEL_UNAVAILABLE] * 4
    assert all(admission.period is None for admission in late)

    async def all_are_back() -> bool:
        return await gate.left() == 10

    await until_async(all_are_back, "what came too late is given back")
    assert (await gate.admit(60.0)).period is not None
    assert await gate.left() == 9
