"""`/v1/model`: another model loaded, tried in shadow, promoted and rolled back; what cannot be is refused and told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from raysignal.agents.inference.host import ModelHost
from raysignal.agents.inference.values import ModelSignal, SignalRequest
from raysignal.runtime.model_signals import model_host
from raysignal.runtime.settings import Settings
from tests.support.one_replica import replica, speaking_to
from tests.support.onnx_models import feed_forward, recurrent, write_model

BEGIN = 1_735_689_600_000_000
NUMBERS = {"rsi(14)": 35.5, "returns(1)": -0.01, "atr(14)": 2.0}


@asynccontextmanager
async def service(
    folder: Path, model: Path | None = None, **inference: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, ModelHost, Any]]:
    """A replica over a real shard, with the host of its model in this process."""
    async with replica(folder) as found:
        settings = Settings(
            store=(folder / "store").as_uri(),
            inference={"model": None if model is None else str(model), "confidence": 0.4} | inference,
        )
        host = model_host(settings, found.desk, on_fenced=lambda: None)  # type: ignore[arg-type]
        found.front._api.state.replica.models = host  # type: ignore[attr-defined]
        async with speaking_to(found) as client:
            yield client, host, found.desk
        await host.close()


async def test_a_generated_signal_opens_a_long_short_position_with_its_stops(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", feed_forward())
    async with service(tmp_path, model) as (_, host, desk):
        asked = SignalRequest("USDCOP", BEGIN, 100.0, NUMBERS)
        (signal,) = await host.generate([asked])
        assert isinstance(signal, ModelSignal)
        standing = (await desk.standing("model")).as_dict()
        found = (await desk.find("model", signal.signal_id)).batch.signal(0)
    assert standing["policy"]["side"] == "long-short"
    assert found.size == signal.position_size == 0.02
    assert found.stop_loss == signal.stop_loss == 100.0 - signal.action * 4.0
    assert found.take_profit == signal.take_profit == 100.0 + signal.action * 6.0
    assert found.features["model_version"] == "policy 1"


async def test_signals_of_symbols_at_other_times_are_one_batch_in_time_order(tmp_path: Path) -> None:
    async with service(tmp_path, write_model(tmp_path / "m", recurrent())) as (_, host, desk):
        asked = [SignalRequest(name, BEGIN - place, 100.0, NUMBERS) for place, name in enumerate("ABC")]
        bad = SignalRequest("D", BEGIN, 100.0, {})
        answers = await host.generate([bad, *asked])
        assert [isinstance(each, ModelSignal) for each in answers] == [False, True, True, True]
        assert (await desk.standing("model")).count == 3


async def test_a_model_is_loaded_tried_promoted_and_rolled_back(tmp_path: Path) -> None:
    first, second = (
        write_model(tmp_path / "a", recurrent()),
        write_model(tmp_path / "b", recurrent(seed=5), version="2"),
    )
    async with service(tmp_path) as (client, host, _):
        info = (await client.get("/v1/model")).json()
        assert (info["placeholder"], info["speaks"], info["name"]) == (True, True, "PLACEHOLDER")
        info = (await client.post("/v1/model/load", json={"location": str(first)})).json()
        assert (info["placeholder"], info["version"], info["features"][0]) == (False, "1", "rsi(14)")
        info = (await client.post("/v1/model/shadow", json={"location": str(second)})).json()
        await host.generate([SignalRequest("USDCOP", BEGIN, 100.0, NUMBERS)])
        shadow = (await client.get("/v1/model")).json()["shadow"]
        assert (shadow["version"], shadow["steps"]) == ("2", 1)
        info = (await client.post("/v1/model/promote", json={"digest": shadow["digest"]})).json()
        assert (info["version"], info["before"]["version"], info["shadow"]) == ("2", "1", None)
        info = (await client.post("/v1/model/roll-back", json={"digest": info["before"]["digest"]})).json()
        assert (info["version"], info["before"]["version"]) == ("1", "2")
        assert (await client.post("/v1/model/shadow", json={"location": None})).json()["shadow"] is None


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("load", {"location": "relative/folder"}, 422, "a folder by its full path"),
        ("load", {"location": None}, 422, "a folder by its full path"),
        ("load", {"location": "/x\x00"}, 422, "a folder by its full path"),
        ("load", {"location": 7}, 422, "a folder by its full path"),
        ("load", {}, 422, "a folder by its full path"),
        ("load", {"location": "/nowhere", "force": True}, 422, "nothing but location"),
        ("load", {"location": "/nowhere"}, 422, "card.json is not there"),
        ("load", {"location": "/dev/null/x"}, 422, "is not used"),
        ("load", {"location": "ftp://nowhere/x"}, 422, "expected a folder, file:///folder"),
        ("shadow", {"location": "/nowhere/" + "x" * 300}, 422, "is not used"),
        ("promote", {"digest": "0" * 64}, 409, "is not in shadow: there is none"),
        ("promote", {"digest": "abc"}, 422, "the 64 characters of a digest"),
        ("roll-back", {"digest": "0" * 64}, 409, "is not the one that spoke before"),
        ("roll-back", {}, 422, "the 64 characters of a digest"),
    ],
)
async def test_what_cannot_be_is_refused_with_a_sentence(
    tmp_path: Path, path: str, body: dict[str, Any], status: int, said: str
) -> None:
    async with service(tmp_path) as (client, _, _):
        answer = await client.post(f"/v1/model/{path}", json=body)
        assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text
        assert (await client.get("/v1/model")).json()["placeholder"]


async def test_a_configured_model_that_cannot_be_used_is_told_and_no_placeholder_speaks(
    tmp_path: Path,
) -> None:
    async with service(tmp_path, write_model(tmp_path / "m", feed_forward(features=9))) as (
        client,
        host,
        desk,
    ):
        info = (await client.get("/v1/model")).json()
        assert (info["speaks"], info["placeholder"]) == (False, False)
        assert "takes 9 features" in info["trouble"]
        (error,) = await host.generate([SignalRequest("USDCOP", BEGIN, 100.0, NUMBERS)])
        assert type(error).__name__ == "ModelUnavailable"
        assert [each.portfolio for each in await desk.standings()] == ["baseline"]
