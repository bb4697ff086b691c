"""Signals over HTTP of a recurrent model, a feed-forward one and none, by example in one running service."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from onnx import ModelProto

from raysignal.agents.inference.onnx_policy import load_model
from raysignal.agents.inference.values import SignalRequest
from raysignal.engine.core.instants import format_instant
from tests.e2e.conftest import FIRST_BAR_US, MINUTE_US
from tests.e2e.fuzzing import fuzzed
from tests.support.onnx_models import feed_forward, recurrent, write_model

pytestmark = [pytest.mark.cluster]

BEGIN_US = FIRST_BAR_US + 40 * MINUTE_US
KINDS: dict[str, tuple[int, Callable[[], ModelProto] | None]] = {
    "none": (0, None),
    "feed-forward": (20, feed_forward),
    "recurrent": (40, recurrent),
}
"""Of each: how many minutes after `BEGIN_US` it is asked first, and the model."""


@contextmanager
def speaking(http: httpx.Client, location: Path) -> Iterator[dict[str, Any]]:
    """The service with another model; the placeholder speaks again after it."""
    answer = http.post("/v1/model/load", json={"location": str(location)})
    assert answer.status_code == 200, answer.text
    try:
        yield answer.json()
    finally:
        back = http.post("/v1/model/roll-back", json={"digest": None})
        assert (back.status_code, back.json()["placeholder"]) == (200, True), back.text


def examples(http: httpx.Client, kind: str, folder: Path | None, after: int) -> None:
    """Each route, with what must be so of the kind."""
    policy = None if folder is None else load_model(str(folder))
    symbol = f"EX-{kind}"
    at_us = [BEGIN_US + (after + minute) * MINUTE_US for minute in range(4)]
    indicators = {"rsi": 20.0, "atr": 5.0, "macd": 2.0, "macd_signal": -1.0, "ema": 90.0}
    body = {"symbol": symbol, "close_price": 100.0} | indicators
    body |= {"returns(1)": 0.25} if policy is not None else {}
    made, state = [], None
    before = http.get("/api/signals/statistics").json()["signals"]
    for stamp_us in at_us[:3]:
        stamped = body | {"timestamp": format_instant(stamp_us)}
        answer = http.post("/api/signals/generate", json=stamped)
        assert answer.status_code == 200, answer.text
        assert http.post("/api/signals/generate", json=stamped).json() == answer.json()
        made.append(answer.json())
        if policy is not None:
            features = {"rsi(14)": 20.0, "returns(1)": 0.25, "close": 100.0}
            expected, state = policy.step(SignalRequest(symbol, stamp_us, 100.0, features), state)
            assert made[-1]["confidence"] == expected.best[1]
    confidences = {signal["confidence"] for signal in made}
    assert (len(confidences) > 1) == (kind == "recurrent")
    assert {signal["placeholder"] for signal in made} == {policy is None}
    if kind == "recurrent":
        again = body | {"timestamp": format_instant(at_us[3]), "episode_start": True}
        assert http.post("/api/signals/generate", json=again).json()["confidence"] == made[0]["confidence"]
        late = body | {"timestamp": format_instant(at_us[3]), "signal_id": f"{kind} again"}
        assert http.post("/api/signals/generate", json=late).status_code == 409

    of_bars = {"symbol": "fx:USDMXN", "timestamp": format_instant(at_us[0] + 1)}
    answer = http.post("/api/signals/generate-from-db", json=of_bars)
    assert (answer.status_code, answer.json().get("timestamp")) == (200, format_instant(at_us[0])), (
        answer.text
    )
    none = http.post("/api/signals/generate-from-db", json={"symbol": symbol})
    assert (none.status_code, none.json()["field"]) == (404, "symbol")
    wrong = http.post("/api/signals/generate", json=body | {"rsi": 101})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "rsi")
    if policy is not None:
        missing = {"symbol": symbol, "close_price": 100.0, "rsi": 20.0}
        refused = http.post("/api/signals/generate", json=missing)
        assert (refused.status_code, refused.json()["field"]) == (422, "returns(1)")

    after_all = http.get("/api/signals/statistics").json()["signals"]
    assert sum(after_all.values()) - sum(before.values()) == 4 + (kind == "recurrent")
    read(http, symbol, made)
    info = http.get("/api/signals/model/info").json()
    assert http.get("/v1/model").json()["active"] == info["active"]
    assert (info["placeholder"], info["speaks"]) == (policy is None, True)
    if policy is not None:
        assert info["active"]["recurrent"] == (kind == "recurrent")
    state_said = "placeholder" if policy is None else "ready"
    assert http.get("/health").json() == {"status": "ok", "model": state_said}
    root = http.get("/").json()
    assert (root["model"], len(root["signals"])) == (state_said, 8)


def read(http: httpx.Client, symbol: str, made: list[dict[str, Any]]) -> None:
    """What was generated of a symbol is in all that is read of it."""
    latest = http.get("/api/signals/latest", params={"symbol": symbol}).json()
    page = http.get("/api/signals/history", params={"symbol": symbol}).json()
    assert page["signals"][0] == latest
    assert [each for each in page["signals"] if each in made] == made[::-1]
    for name in ("active", "closed"):
        found = http.get(f"/api/signals/positions/{name}", params={"symbol": symbol})
        assert found.status_code == 200
        assert {each["symbol"] for each in found.json()["positions"]} <= {symbol}


def test_each_route_by_example_with_a_recurrent_model_a_feed_forward_one_and_none(
    http: httpx.Client, tmp_path: Path
) -> None:
    for kind, (after, model) in KINDS.items():
        if model is None:
            examples(http, kind, None, after)
            continue
        folder = write_model(tmp_path / kind, model(), bar="1m", version=kind)
        with speaking(http, folder) as info:
            assert info["active"]["version"] == kind
            examples(http, kind, folder, after)


@pytest.mark.parametrize("amount", [4, pytest.param(500, marks=pytest.mark.long)])
def test_every_answer_of_a_recurrent_model_to_fuzzed_input_is_one_that_is_described(
    url: str, portfolio: str, http: httpx.Client, tmp_path: Path, amount: int
) -> None:
    with speaking(http, write_model(tmp_path, recurrent(), bar="1m", version="fuzzed")):
        for positive in (True, False):
            assert fuzzed(url, portfolio, positive, amount, lambda path: path.startswith("/api/signals")) >= 4
