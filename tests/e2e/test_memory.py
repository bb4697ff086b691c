"""The memory as its users read it: the agent keeps its vectors in a Chroma server of the user's own."""

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from raysignal.cli.main import app
from tests.cluster.waiting import wait_for
from tests.support.chroma_server import Server
from tests.support.enhanced_world import bodies, stream

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ROWS = bodies(stream(400, symbol="MEMORY", bars=6, volatility=0.01))
for _at, _row in enumerate(ROWS):
    _row["note"] = f"Fear of rates {_at}" if _at % 2 else "greed"
PLACES = {row["signal_id"]: place for place, row in enumerate(ROWS)}
at = datetime.fromisoformat

BESIDE = """
import json, sys
import chromadb

collection = chromadb.HttpClient(sys.argv[1], int(sys.argv[2])).get_collection("outcomes-enhanced")
found = collection.get(where={"right": True}, include=["metadatas"])
assert all(each["net_approve_bps"] is not None for each in found["metadatas"])
print(json.dumps([collection.count(), len(found["ids"])]))
"""


@dataclass(frozen=True, slots=True)
class Served:
    http: httpx.Client
    url: str
    chroma: Server


@pytest.fixture(scope="module")
def served(http: httpx.Client, url: str, chroma: Server) -> Served:
    """The shared service, with 300 signals of a symbol of their own in the primary portfolio."""
    http.post("/signals", json=ROWS[:300]).raise_for_status()
    return Served(http, url, chroma)


def state_of(http: httpx.Client) -> dict[str, Any]:
    answers: list[httpx.Response] = []

    def answered() -> bool:
        answers.append(http.get("/agent"))
        return answers[-1].status_code == 200

    wait_for(answered, "the agent answers")
    found: dict[str, Any] = answers[-1].json()
    return found


def whole(http: httpx.Client) -> dict[str, Any]:
    """The state of the agent once all is decided and in Chroma."""

    def is_whole() -> bool:
        state = state_of(http)
        return (
            state["behind"] == state["chroma"]["behind"] == 0
            and state["chroma"]["state"] == "ready"
            and state["chroma"]["count"] > 0
        )

    wait_for(is_whole, "all outcomes are in Chroma")
    return state_of(http)


def test_outcomes_like_a_signal_were_known_when_it_came(served: Served) -> None:
    whole(served.http)
    asked = ROWS[250]
    page = served.http.get(f"/decisions/{asked['signal_id']}", params={"portfolio": "enhanced"}).json()
    found = served.http.get(page["explanation"]["similar"]).raise_for_status().json()
    assert (found["by"], len(found["hits"]), found["behind"]) == ("signal", 10, 0)
    # The stamps of a portfolio's symbols go each their own way; its memory has one clock, which does not go back.
    assert at(found["as_of"]) >= at(page["receipt"]["timestamp"])
    assert all(at(hit["known_at"]) <= at(found["as_of"]) for hit in found["hits"])
    assert all(PLACES.get(hit["signal_id"], 0) < 250 for hit in found["hits"])
    distances = [hit["distance"] for hit in found["hits"]]
    assert distances == sorted(distances)
    params = {"signal_id": asked["signal_id"], "side": "SELL", "outcome": "wrong", "k": "3"}
    hits = served.http.get("/memory/similar", params=params).json()["hits"]
    assert {(hit["side"], hit["right"]) for hit in hits} == {("SELL", False)}
    then = served.http.get("/memory/similar", params={"signal_id": ROWS[20]["signal_id"]}).json()["as_of"]
    early = {"signal_id": asked["signal_id"], "as_of": then, "k": "100"}
    hits = served.http.get("/memory/similar", params=early).json()["hits"]
    assert hits
    assert all(PLACES.get(hit["signal_id"], 0) < 20 and at(hit["known_at"]) <= at(then) for hit in hits)


def test_outcomes_like_a_signal_that_is_not_taken_in_and_by_words(served: Served) -> None:
    state = whole(served.http)
    # Now: other tests post later stamps than its own, and what was known by then is what is found.
    asked = ROWS[320] | {"timestamp": datetime.now(UTC).isoformat()}
    found = served.http.post("/memory/similar", json=asked, params={"k": "4"}).raise_for_status().json()
    assert (found["by"], len(found["hits"])) == ("features", 4)
    told = served.http.post("/memory/similar", json={"text": "FEAR rates"}).raise_for_status().json()
    assert (told["by"], {hit["distance"] for hit in told["hits"]}) == ("text", {None})
    assert state_of(served.http)["signals"] == state["signals"], "nothing was taken in"


@pytest.mark.parametrize(
    ("params", "status", "said"),
    [
        ({"signal_id": "nobody"}, 404, "knows no signal 'nobody'"),
        ({}, 422, "signal_id"),
        ({"signal_id": "a", "k": "0"}, 422, "k is"),
        ({"signal_id": "a", "regime": "calm"}, 422, "regime is 'calm'"),
        ({"signal_id": "a", "as_of": "soon"}, 422, "as_of is 'soon'"),
        ({"signal_id": "a", "from": "2025-01-02", "to": "2025-01-01"}, 422, "from is"),
    ],
)
def test_question_that_cannot_be_answered_is_a_problem(
    served: Served, params: dict[str, str], status: int, said: str
) -> None:
    answer = served.http.get("/memory/similar", params=params)
    assert answer.status_code == status
    assert said in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "said"),
    [({"text": ""}, "text is"), ({"text": 3}, "text is 3"), ({"signal": "BUY", "price": 1.0}, "timestamp")],
)
def test_body_that_is_no_signal_and_no_text_is_refused(served: Served, body: Any, said: str) -> None:
    answer = served.http.post("/memory/similar", json=body)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_collection_can_be_opened_beside_the_service(served: Served) -> None:
    state = whole(served.http)
    address = urlsplit(served.chroma.url)
    shown = subprocess.run(
        [sys.executable, "-c", BESIDE, str(address.hostname), str(address.port)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    count, right = json.loads(shown)
    assert count == state["settled"] > right > 0


def raysignal(served: Served, *arguments: str) -> Any:
    shown = CliRunner().invoke(app, ["memory", *arguments, "--url", served.url, "--json"])
    assert shown.exit_code == 0, shown.stderr
    return json.loads(shown.stdout)


def test_memory_is_searched_exported_and_rebuilt_from_the_command_line(
    served: Served, tmp_path: Path
) -> None:
    settled = whole(served.http)["settled"]
    found = raysignal(served, "search", ROWS[250]["signal_id"], "--side", "buy", "-k", "2")
    assert [hit["side"] for hit in found["hits"]] == ["BUY", "BUY"]
    assert raysignal(served, "search", "--text", "greed")["by"] == "text"
    shown = CliRunner().invoke(app, ["memory", "search", ROWS[250]["signal_id"], "--url", served.url])
    assert shown.exit_code == 0, shown.stderr
    assert "10 outcomes" in shown.stdout
    assert "distance" in shown.stdout
    file = tmp_path / "outcomes.parquet"
    assert raysignal(served, "export", str(file)) == {"file": str(file), "outcomes": settled}
    table = pq.read_table(file)
    assert table["ordinal"].to_pylist() == list(range(settled))
    assert table["vector"].type.list_size == 64
    again = CliRunner().invoke(app, ["memory", "export", str(file), "--url", served.url])
    assert again.exit_code == 1
    assert "cannot be written: File exists" in again.stderr
    rebuilt = raysignal(served, "rebuild")
    assert (rebuilt["count"], rebuilt["rebuilt"]) == (settled, "it was asked for")


def test_chroma_that_is_gone_is_a_problem_that_says_when_to_come_again_and_no_decision_waits(
    served: Served,
) -> None:
    whole(served.http)
    served.chroma.end()
    answer = served.http.get("/memory/similar", params={"signal_id": ROWS[250]["signal_id"]})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "3"
    assert f"Chroma at {served.chroma.url} is unavailable" in answer.json()["detail"]
    served.http.post("/signals", json=ROWS[300:]).raise_for_status()
    wait_for(lambda: state_of(served.http)["behind"] == 0, "all is decided without Chroma")
    served.chroma.start()
    assert whole(served.http)["chroma"]["rebuilt"] in {"it was asked for", "there was none"}
    answer = served.http.get("/memory/similar", params={"signal_id": ROWS[390]["signal_id"]})
    assert len(answer.raise_for_status().json()["hits"]) == 10
