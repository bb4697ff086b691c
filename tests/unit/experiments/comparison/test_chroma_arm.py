"""The arm on Chroma's neighbours: the same gate, nothing that was not known, and what its search missed."""

from dataclasses import replace

import numpy as np
import orjson
import pytest

from raysignal.agents.override.decider import Decider
from raysignal.engine.core.errors import LookAhead
from raysignal.experiments.comparison import arms
from raysignal.experiments.comparison.arms import Trial
from raysignal.experiments.comparison.chroma_arm import shares_of
from raysignal.experiments.comparison.compare import Comparison
from raysignal.experiments.comparison.evaluation import Evaluation, evaluate
from raysignal.experiments.comparison.files import read_arm, write_arm
from raysignal.experiments.comparison.report import html_report
from raysignal.experiments.comparison.sentences import approximation_notes
from raysignal.experiments.result_files import json_bytes
from tests.support.enhanced_world import POLICY, RULES, stream
from tests.support.folder_blobs import FolderBlobs

pytest.importorskip("chromadb_rust_bindings")
TRIAL = Trial(policy=POLICY, rules=RULES, breaker=None)


@pytest.fixture(scope="module")
def batch():
    return stream(300)


@pytest.fixture(scope="module")
def done(batch):
    return arms.approximated(batch, TRIAL)


def test_what_its_search_missed_and_changed_is_counted(batch, done):
    found = done.approximation
    assert found.decisions == np.count_nonzero(batch.action)
    assert found.differ == np.count_nonzero(done.verdict != arms.gated(batch, TRIAL).verdict)
    assert 0.0 < found.of_memory < 1.0, "the memory weighs what it compares, and compares categories"
    assert 0.95 < found.of_vectors <= 1.0


def test_the_same_stream_is_decided_the_same_and_without_what_comes_later(batch, done, monkeypatch):
    again = arms.approximated(batch, TRIAL)
    assert again.verdict.tobytes() == done.verdict.tobytes()
    assert again.p_right.tobytes() == done.p_right.tobytes()
    assert again.approximation == done.approximation
    monkeypatch.setattr(arms, "CHUNK", 37)
    cut = arms.approximated(batch, TRIAL)
    early = arms.approximated(batch.take(np.arange(111)), TRIAL)
    assert np.array_equal(early.verdict, cut.verdict[:111])


def test_neighbour_that_was_not_known_yet_is_a_look_ahead(batch):
    def ahead(memory, situations):
        found = np.full((len(situations), RULES.recall.neighbours), -1, np.int64)
        found[:, 0] = memory.count - 1
        return found

    decider = Decider(POLICY, RULES, breaker=None, search=ahead)
    with pytest.raises(LookAhead, match="was about to rest on what was not known yet"):
        decider.begin(batch.take(np.arange(20)))


def test_shares_are_of_the_exact_neighbours():
    exact = np.array([[1, 2, 3, -1], [-1, -1, -1, -1], [4, 5, -1, -1]])
    picked = np.array([[2, 3, 9, -1], [1, -1, -1, -1], [-1, -1, -1, -1]])
    assert shares_of(exact, picked) == [pytest.approx(2 / 3), 0.0]


def test_it_runs_on_demand_and_its_result_is_kept_and_told(batch, done, tmp_path):
    assert "chroma" not in arms.ARMS
    assert Comparison(arms=("baseline", "chroma")).arms == ("baseline", "chroma")
    own = arms.result_of("chroma", batch, TRIAL, done)
    blobs = FolderBlobs(tmp_path)
    write_arm(blobs, "run-1", own)
    kept = read_arm(blobs, "run-1", "chroma")
    assert kept is not None
    assert kept.approximation == done.approximation
    told = arms.stream_of(batch, TRIAL)
    results = [arms.result_of("baseline", batch, TRIAL, arms.baseline(batch)), own]
    evaluation = evaluate(told, results)
    (note,) = approximation_notes(evaluation)
    assert note.startswith("chroma found ")
    assert f"{done.approximation.differ} of its {done.approximation.decisions} decisions" in note
    assert note in html_report(told, results, evaluation, {})
    assert approximation_notes(Evaluation.from_dict(orjson.loads(json_bytes(evaluation.as_dict())))) == [note]
    bare = evaluate(told, [results[0], replace(own, approximation=None)])
    assert approximation_notes(bare) == []
