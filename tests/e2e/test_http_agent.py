"""The agent as its users see it: without a key on the shared service, and with a model on this machine."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from raysignal.engine.core.columns import SignalBatch
from raysignal.loopback.gemini import GeminiServer
from raysignal.runtime.ports import free_port
from tests.cluster.waiting import wait_for
from tests.e2e.conftest import ended, started
from tests.support.enhanced_world import bodies, stream

pytestmark = [pytest.mark.cluster]


@pytest.fixture(scope="module")
def batch(http: httpx.Client) -> SignalBatch:
    """600 signals that were posted to the primary portfolio and are decided."""
    batch = stream(600, symbol="AGENT", bars=6, volatility=0.01)
    answer = http.post("/signals", json=bodies(batch)).raise_for_status()
    assert answer.json()["refused"] == 0
    return batch


def told(http: httpx.Client, path: str) -> dict[str, Any]:
    """What the agent says, once it answers: on a busy machine it says for a while that it does not."""
    answers: list[httpx.Response] = []

    def answered() -> bool:
        answers.append(http.get(path))
        return answers[-1].status_code != 503

    wait_for(answered, f"{path} is answered")
    found: dict[str, Any] = answers[-1].raise_for_status().json()
    return found


def decided(http: httpx.Client) -> dict[str, Any]:
    """The agent's state once it has decided all there is."""
    wait_for(lambda: told(http, "/agent")["behind"] == 0, "all is decided")
    return told(http, "/agent")


def test_without_a_key_the_gate_decides_alone_and_it_says_so(http: httpx.Client, batch: SignalBatch) -> None:
    state = decided(http)
    assert (state["on"], state["mode"], state["portfolio"]) == (True, "gate", "enhanced")
    assert "GEMINI_API_KEY" in state["model"]["why_off"]
    assert sum(state["decisions"].values()) == state["signals"] >= len(batch)
    assert not state["breaker"]["open"]
    evidence = state["evidence"]
    assert (evidence["least"], evidence["speaks_after"]) == (25.0, 0)
    assert evidence["effective"] >= 25.0
    assert evidence["sentence"].startswith("The gate may speak: ")


def test_both_portfolios_are_compared_over_the_signals_they_share(
    http: httpx.Client, batch: SignalBatch
) -> None:
    decided(http)
    found = told(http, "/performance/compare")
    assert (found["baseline"]["portfolio"], found["enhanced"]["portfolio"]) == ("baseline", "enhanced")
    assert found["baseline"]["policy"] == found["enhanced"]["policy"]
    assert found["signals"] == found["difference"]["n"] == found["enhanced"]["signals"] >= len(batch)
    assert (
        found["difference"]["low_bps"] <= found["difference"]["mean_bps"] <= found["difference"]["high_bps"]
    )
    assert found["overruled"]["hold"] + found["overruled"]["flip"] > 0


def test_a_decision_says_what_it_rests_on(http: httpx.Client, batch: SignalBatch) -> None:
    decided(http)
    rows = http.get("/history", params={"portfolio": "enhanced", "symbol": "AGENT", "limit": 1000}).json()[
        "rows"
    ]
    overruled = next(row for row in rows if row["decision"] != row["signal"])
    page = http.get(f"/decisions/{overruled['signal_id']}", params={"portfolio": "enhanced"}).json()
    explained = page["explanation"]
    assert (explained["by"], explained["reason"]) == ("gate", "evidence_against")
    assert page["receipt"]["decision"] == {"action": overruled["decision"], "by": "gate"}
    places = {row["signal_id"]: row["ordinal"] for row in rows}
    assert len(explained["neighbours"]) == 8
    assert all(places.get(each["signal_id"], -1) < overruled["ordinal"] for each in explained["neighbours"])
    assert explained["statistics"]["p_worse_than_drift"] >= 0.9
    own = http.get(f"/decisions/{overruled['signal_id']}").json()
    assert own["explanation"] is None
    assert own["receipt"]["decision"]["by"] == "signal"


def test_accuracy_and_patterns_are_told(http: httpx.Client, batch: SignalBatch) -> None:
    decided(http)
    found = told(http, "/memory/accuracy")
    assert {"source", "symbol", "side", "regime", "category.session"} <= {
        cohort["dimension"] for cohort in found["cohorts"]
    }
    patterns = told(http, "/memory/patterns")
    assert patterns["n"] == found["n"] > 500
    assert all(cohort["flag"] in {"good", "bad"} for cohort in patterns["patterns"])


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/signal"), ("POST", "/signals"), ("PUT", "/portfolios/enhanced")]
)
def test_nobody_posts_to_the_portfolio_that_follows(http: httpx.Client, method: str, path: str) -> None:
    params = {"portfolio": "enhanced"} if method == "POST" else {}
    row = {"timestamp": "2025-02-24T00:10:00Z", "signal": "BUY", "price": 1.0}
    answer = http.request(method, path, params=params, json={} if method == "PUT" else row)
    assert answer.status_code == 409
    assert answer.json()["detail"].startswith("portfolio 'enhanced' follows 'baseline'")


def test_no_portfolio_is_called_as_the_comparison(http: httpx.Client) -> None:
    assert http.put("/portfolios/compare", json={}).status_code == 422


def test_a_breaker_that_is_closed_stays_closed(http: httpx.Client) -> None:
    assert http.post("/agent/reset").json() == {"was_open": False}


def test_metrics_count_decisions_by_reason(http: httpx.Client, batch: SignalBatch) -> None:
    state = decided(http)
    samples = {
        (sample.name, sample.labels.get("reason", "")): sample.value
        for family in text_string_to_metric_families(http.get("/metrics").text)
        for sample in family.samples
    }
    for reason, count in state["decisions"].items():
        assert samples["raysignal_agent_decisions_total", reason] == count
    assert samples["raysignal_agent_behind", ""] == 0
    assert samples["raysignal_agent_breaker_open", ""] == 0


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, GeminiServer]]:
    """A service whose agent asks a model on this machine about much, and has another embed its texts."""
    folder = tmp_path_factory.mktemp("asked")
    with GeminiServer() as loopback:
        settings = {
            "store": (folder / "store").as_uri(), "port": free_port(), "ingress_replicas": 1,
            "agent_priority": "normal", "model_url": loopback.url,
            "model_deadline_s": 60.0, "gate_grey": 0.5, "gate_against": 0.999, "gate_least": 5.0, "neighbours": 60,
            "agent": {"embeddings": "gemini-embedding-001"},
        }  # fmt: skip
        environment = {"GEMINI_API_KEY": "a-key", "RAYSIGNAL_MODEL_LOOPBACK_ONLY": "1"}
        process, url = started(folder / "log", settings, environment)
        try:
            with httpx.Client(base_url=url, timeout=60.0) as client:
                yield client, loopback
        finally:
            ended(process)


def test_a_model_decides_unclear_cases_and_no_receipt_waits_for_one_that_hangs(
    asked: tuple[httpx.Client, GeminiServer],
) -> None:
    http, loopback = asked
    rows = bodies(stream(400, bars=6, volatility=0.01))
    rows = [row | {"news": f"story {place % 90} of the day: desks wait"} for place, row in enumerate(rows)]
    http.post("/signals", json=rows[:300]).raise_for_status()
    state = decided(http)
    assert state["mode"] == "gate and model"
    assert state["embeddings"] == {
        "name": "gemini-embedding-001", "why_off": None, "trouble": None, "texts": {"embedded": 90},
    }  # fmt: skip
    questions = [body for body in loopback.requests if "contents" in body]
    assert 0 < len(questions) == state["decisions"]["model_answered"] < loopback.calls
    assert state["model"]["left"] == state["model"]["budget"] - loopback.calls
    found = http.get("/history", params={"portfolio": "enhanced"}).json()["rows"]
    one = next(row for row in found if row["decided_by"] == "model")
    explained = http.get(f"/decisions/{one['signal_id']}", params={"portfolio": "enhanced"}).json()[
        "explanation"
    ]
    assert explained["opinion"]["reason"] == "model_answered"
    assert set(explained["opinion"]["cited"]) <= {each["signal_id"] for each in explained["neighbours"]}
    assert explained["opinion"]["usd"] > 0
    assert "a-key" not in http.get("/agent").text

    # Killed, it finds on record what it had embedded.
    embedded = [body for body in loopback.requests if "requests" in body]
    calls, pid = loopback.calls, state["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: told(http, "/agent")["pid"] != pid, "another agent answers")
    again = decided(http)
    assert (again["settled"], again["embeddings"]["texts"]) == (state["settled"], {})
    assert loopback.calls == calls

    loopback.behave("slow")
    before = loopback.calls
    for row in rows[300:]:
        assert http.post("/signal", json=row).status_code == 200
        if loopback.calls > before:
            break
    wait_for(lambda: loopback.calls > before, "the model is asked")
    last = rows[-1] | {"timestamp": "1970-01-02T00:00:00Z", "signal_id": "while-it-hangs"}
    assert http.post("/signal", json=last).json()["signal_id"] == "while-it-hangs"
    missing = http.get("/decisions/while-it-hangs", params={"portfolio": "enhanced"})
    assert missing.status_code == 404
    assert told(http, "/performance/compare")["behind"] > 0
    assert [body for body in loopback.requests if "requests" in body] == embedded
