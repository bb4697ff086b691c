"""An evaluation survives `metrics.json`."""

import orjson
import pytest

from raysignal.experiments.comparison.evaluation import evaluate
from raysignal.experiments.comparison.metrics import evaluation_of
from raysignal.experiments.result_files import json_bytes
from tests.support.experiment_streams import a_stream, an_arm, some_arms


@pytest.mark.parametrize("n", [1, 30, 300])
def test_what_was_written_is_read_back_in_every_figure(n):
    stream = a_stream(n)
    evaluation = evaluate(stream, some_arms(stream) if n > 1 else [an_arm(stream, "baseline", "baseline")])
    written = json_bytes(evaluation.as_dict())
    read = evaluation_of(orjson.loads(written))
    assert json_bytes(read.as_dict()) == written
    assert read.blind == evaluation.blind
    assert [one.judgment for one in read.assessments] == [one.judgment for one in evaluation.assessments]
    assert [row.signals_for for row in read.plan.reach] == [row.signals_for for row in evaluation.plan.reach]
