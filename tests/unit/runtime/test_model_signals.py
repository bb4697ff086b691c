"""The client of a service's model: while that is loaded, callers are told to ask again, and nothing is begun."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from raysignal.engine.core.errors import ModelUnavailable, RaysignalError
from raysignal.runtime.model_signals import ModelSignals
from raysignal.runtime.settings import Settings
from raysignal.serve.problems import problem_of


class LoadingActor:
    """An actor that does not answer before it is loaded; it keeps the methods that it was asked for."""

    def __init__(self) -> None:
        self.loaded = False
        self.asked: list[str] = []
        self.waited_s: list[float] = []

    async def ask(
        self,
        call: Callable[[Any], Any],
        *,
        patience_s: float,
        unavailable: type[RaysignalError],
        answer_s: float,
    ) -> Any:
        assert patience_s > 0.0
        call(SimpleNamespace(ask=SimpleNamespace(remote=lambda method, *_: self.asked.append(method))))
        self.waited_s.append(answer_s)
        if not self.loaded:
            raise unavailable(f"no answer within {answer_s:g} s")
        return {"answered": self.asked[-1]}


def client(actor: LoadingActor, model: str | None = "/models/usdcop") -> ModelSignals:
    settings = Settings(store="file:///nowhere", inference={"model": model})
    return ModelSignals(settings, actor)  # type: ignore[arg-type]


async def test_while_the_model_is_loaded_callers_are_told_to_ask_again_and_nothing_is_generated() -> None:
    actor = LoadingActor()
    models = client(actor)
    for _ in range(2):
        with pytest.raises(ModelUnavailable, match="still being loaded") as caught:
            await models.generate([])
    problem = problem_of(caught.value)
    assert (problem.status, problem.headers["retry-after"]) == (503, "5")
    assert actor.asked == ["info"] * 2
    actor.loaded = True
    assert await models.generate([]) == {"answered": "generate"}
    assert await models.statistics() == {"answered": "statistics"}
    assert actor.asked == ["info"] * 3 + ["generate", "statistics"]


async def test_a_service_that_starts_waits_for_its_model_longer_than_a_caller() -> None:
    actor = LoadingActor()
    await client(actor).warm()
    with pytest.raises(ModelUnavailable):
        await client(actor).info()
    assert actor.waited_s[0] > actor.waited_s[1]
    actor.asked.clear()
    await client(actor, None).warm()
    assert actor.asked == []
