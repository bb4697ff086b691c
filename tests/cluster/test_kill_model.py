"""The actor of a model is killed between and within its steps; its hidden state goes on where it was."""

import asyncio
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from raysignal.agents.inference.onnx_policy import load_model
from raysignal.agents.inference.values import ModelSignal, Probabilities, SignalRequest
from raysignal.runtime.model_signals import ModelSignals
from raysignal.runtime.settings import Settings
from tests.cluster.conftest import Open
from tests.support.onnx_models import recurrent, write_model

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

BEGIN, BAR = 1_735_689_600_000_000, 300_000_000


def requests() -> list[SignalRequest]:
    random = np.random.default_rng(5)
    return [
        SignalRequest(
            symbol, BEGIN + place * BAR, float(random.uniform(90, 110)),
            {"rsi(14)": float(random.uniform(0, 100)), "returns(1)": float(random.normal())},
        )
        for place in range(60)
        for symbol in ("USDCOP", "EURUSD")
    ]  # fmt: skip


@pytest.mark.long
async def test_a_stream_with_kills_within_it_equals_one_in_one_go(open_desk: Open, tmp_path: Path) -> None:
    folder = str(write_model(tmp_path / "model", recurrent()))
    desk = await open_desk((tmp_path / "store").as_uri())
    models = ModelSignals(
        Settings(store=desk.settings.store, journal={"shared": True}, inference={"model": folder})
    )
    asked, got = requests(), []
    try:
        pid = (await models.info())["pid"]
        for begin in range(0, len(asked), 20):
            waiting = asyncio.create_task(models.generate(asked[begin : begin + 20]))
            if begin in {40, 80}:  # while they are under way: the client sends what was cut short again
                await asyncio.sleep(0)
                os.kill(pid, signal.SIGKILL)
            got += await waiting
            pid = (await models.info())["pid"]
        assert (await models.info())["steps"] == len(asked)
        assert (await desk.standing("model")).count == len(asked)
    finally:
        await models.stop()
    policy, states, expected = load_model(folder), dict[str, bytes | None](), list[Probabilities]()
    for each in asked:
        probabilities, states[each.symbol] = policy.step(each, states.get(each.symbol))
        expected.append(probabilities)
    assert [each.confidence for each in got if isinstance(each, ModelSignal)] == [
        each.best[1] for each in expected
    ]
