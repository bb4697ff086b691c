"""An agent whose process is killed with SIGKILL while a question is open says of every signal what a quiet one says."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.agent_killing import PATIENCE_S, HeldGemini, begun, decide_all


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("rows", "kills"), [(40, 2), pytest.param(240, 24, marks=[pytest.mark.long, pytest.mark.timeout(3_600)])]
)
async def test_killed_with_open_questions_an_agent_explains_every_signal_as_a_quiet_one(
    tmp_path: Path, rows: int, kills: int
) -> None:
    with HeldGemini() as gemini:
        quiet = await decide_all(tmp_path / "quiet", gemini.url, rows)
        asked, by_model = gemini.calls, [each for each in quiet if each["by"] == "model"]
        assert asked > rows // 4
        assert by_model
        assert {each["reason"] for each in quiet} & {"model_timeout", "model_unavailable"} == set()

        gemini.requests.clear()
        folder = tmp_path / "killed"
        # A question that was open comes again: each kill moves the numbers of those after it by one.
        places = np.sort(np.random.default_rng(rows).choice(asked, kills, replace=False))
        gemini.held = {int(place) + 1 + before for before, place in enumerate(places)}
        for _ in range(kills):
            life = begun(folder, gemini.url, rows)
            assert gemini.arrived.acquire(timeout=PATIENCE_S), "no question was open"
            life.kill()
            life.join()
            gemini.let_go.release()
        assert not (folder / "said.json").exists()
        last = begun(folder, gemini.url, rows)
        last.join(PATIENCE_S)
        assert last.exitcode == 0
        assert len(gemini.requests) == asked + kills
    assert json.loads((folder / "said.json").read_text()) == quiet
