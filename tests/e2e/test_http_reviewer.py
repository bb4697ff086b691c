"""A reviewer behind a real service: it is asked about most signals, and whatever its model does, signals stand."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from raysignal.agents.verdicts import Reason
from raysignal.loopback.chat_server import Behaviour
from raysignal.loopback.gemini import GeminiServer
from raysignal.runtime.ports import free_port
from tests.cluster.waiting import wait_for
from tests.contract.test_chat_models import REASONS
from tests.e2e.conftest import ended, started
from tests.e2e.test_http_agent import decided, told
from tests.support.enhanced_world import bodies, stream

pytestmark = [pytest.mark.cluster, pytest.mark.long]

ROWS = bodies(stream(300, bars=6, volatility=0.01))
FIRST = 100
STANDS = REASONS | {
    Behaviour.UNKNOWN_EVIDENCE: Reason.MODEL_UNGROUNDED,
    Behaviour.NO_EVIDENCE: Reason.MODEL_UNGROUNDED,
    Behaviour.SLOW: Reason.MODEL_TIMEOUT,
    Behaviour.DRIP: Reason.MODEL_TIMEOUT,
}
LAST = Behaviour.QUOTA
"""It is asked for last: it keeps everybody from asking for a while."""


@dataclass(frozen=True)
class Reviewed:
    """A service with a reviewer, and how its agent stood when it had decided the first signals.

    Attributes:
        calls: that the model had answered then.
    """

    http: httpx.Client
    loopback: GeminiServer
    state: dict[str, Any]
    calls: int


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reviewed]:
    folder = tmp_path_factory.mktemp("reviewed")
    with GeminiServer() as loopback:
        settings = {
            "store": (folder / "store").as_uri(), "port": free_port(), "ingress_replicas": 1,
            "agent_priority": "normal", "model_url": loopback.url, "model_deadline_s": 3.0,
            "agent": {"policy": "review", "horizon": "1b", "gate_least": 1e6, "breaker_limit_bps": -1e6},
        }  # fmt: skip
        environment = {"GEMINI_API_KEY": "a-key", "RAYSIGNAL_MODEL_LOOPBACK_ONLY": "1"}
        process, url = started(folder / "log", settings, environment)
        try:
            with httpx.Client(base_url=url, timeout=60.0) as client:
                client.post("/signals", json=ROWS[:FIRST]).raise_for_status()
                yield Reviewed(client, loopback, decided(client), loopback.calls)
        finally:
            ended(process)


def explained(http: httpx.Client, signal_id: str) -> dict[str, Any]:
    page = http.get(f"/decisions/{signal_id}", params={"portfolio": "enhanced"}).raise_for_status().json()
    found: dict[str, Any] = page["explanation"]
    return found


def test_a_reviewer_is_asked_about_most_signals_and_overrules_a_share_of_them(
    service: Reviewed,
) -> None:
    http, state, calls = service.http, service.state, service.calls
    answered, not_asked = (state["decisions"][name] for name in ("model_answered", "overruled_enough"))
    assert state["mode"] == "gate and reviewer"
    assert state["model"]["left"] == state["model"]["budget"] - calls
    assert answered == calls
    assert not_asked > 0
    assert answered + not_asked > 0.7 * FIRST
    rows = http.get("/history", params={"portfolio": "enhanced", "limit": FIRST}).json()["rows"]
    sided = [row for row in rows if row["signal"] != "HOLD"]
    overruled = [row for row in sided if row["decision"] != row["signal"]]
    assert 0 < len(overruled) <= 0.25 * len(sided)
    opinion = explained(http, overruled[0]["signal_id"])["opinion"]
    assert (opinion["reason"], opinion["usd"] > 0.0) == ("model_answered", True)
    assert "strength_of_the_evidence" in service.loopback.requests[0]["contents"][-1]["parts"][0]["text"]


def test_a_signal_stands_whatever_the_model_does_and_the_reason_is_counted(
    service: Reviewed,
) -> None:
    http, loopback = service.http, service.loopback
    loopback.retry_after_s = 0
    rows = iter([row for row in ROWS[FIRST:] if row["signal"] != 0])

    def reason_of(behaviour: Behaviour) -> str:
        loopback.behave(behaviour)
        before = told(http, "/agent")["decisions"]
        row = next(rows)
        answer = http.post("/signal", json=row).raise_for_status().json()
        after = decided(http)["decisions"]
        counted = {name: count - before.get(name, 0) for name, count in after.items()}
        found = explained(http, answer["signal_id"])
        assert {name: count for name, count in counted.items() if count} == {found["reason"]: 1}
        assert (found["verdict"], found["by"]) == ("approve", "signal") or behaviour is Behaviour.ANSWER
        assert found["opinion"]["rationale"]
        not_asked = found["reason"] == "overruled_enough"
        return reason_of(behaviour) if not_asked else str(found["reason"])

    for behaviour, reason in STANDS.items():
        if behaviour is not LAST:
            assert reason_of(behaviour) == reason, behaviour
            # A few that fail in a row would keep it from being asked at all.
            assert reason_of(Behaviour.ANSWER) == "model_answered"
    calls, loopback.retry_after_s = loopback.calls, 53
    assert reason_of(LAST) == "model_quota"
    assert reason_of(LAST) in {"model_quota", "model_timeout"}
    assert loopback.calls == calls + 1, "nobody asks for as long as the server said"
    assert told(http, "/agent")["trouble"] is None
    wait_for(
        lambda: told(http, "/performance/compare")["behind"] == 0, "both portfolios hold the same signals"
    )
