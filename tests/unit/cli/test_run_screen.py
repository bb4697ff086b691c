"""The one screen of `raysignal run`, for arms on generated streams: what it says and how long it is."""

from dataclasses import replace

import numpy as np
import orjson
import pytest
from rich.console import Console

from raysignal.agents.verdicts import Verdict
from raysignal.cli.run_screen import WIDTH, RunSummary, account_words, answer, run_screen
from raysignal.data.generator import SAMPLE_SPEC, GeneratorSpec, generate
from raysignal.engine.core.plain_values import plain_values
from raysignal.engine.intake import Reading, read_batch
from raysignal.experiments.comparison.arm_trades import trade_summaries, trades_of_arms
from raysignal.experiments.comparison.arms import Trial, ahead, baseline, gated, result_of, stream_of
from raysignal.experiments.comparison.evaluation import evaluate
from raysignal.experiments.comparison.examples import examples_of
from raysignal.experiments.comparison.patterns import patterns_of
from tests.support.experiment_streams import a_stream, some_arms


def experiment(spec):
    """The figures of an experiment on a generated file, as they are read back, and its evaluation."""
    text = generate(spec).to_csv(lineterminator="\r\n").encode()
    batch = read_batch(text, "text/csv", Reading(bar_us=spec.bar_us, label="open")).batch.in_time()
    trial = Trial()
    stream = stream_of(batch, trial)
    done = {"baseline": baseline(batch), "memory": gated(batch, trial), "canary": ahead(batch, stream)}
    arms = [result_of(name, batch, trial, decisions) for name, decisions in done.items()]
    evaluation = evaluate(stream, arms)
    return figures(batch, stream, arms, evaluation, trial), evaluation, arms[0]


def figures(batch, stream, arms, evaluation, trial):
    found = evaluation.as_dict() | {
        "trades": trade_summaries(trades_of_arms(stream, arms)),
        "patterns": plain_values(patterns_of(stream, arms, evaluation.accuracy)),
        "examples": plain_values(examples_of(batch, stream, arms, evaluation, trial)),
    }
    return orjson.loads(orjson.dumps(found, option=orjson.OPT_NON_STR_KEYS))


def shown(metrics, base, **changes):
    standing = {"performance": base.performance["signal"], "policy": Trial().policy.as_dict()}
    said = {
        "file": "signals.csv", "truth": "", "taken": "taken in", "standing": standing, "market": "followed",
        "path": "played",
        "trades": metrics["trades"]["baseline"], "metrics": metrics, "model": "no model is asked", "noise": None,
        "places": [("report", "report.html")],
    }  # fmt: skip
    console = Console(width=WIDTH, highlight=False)
    with console.capture() as captured:
        console.print(run_screen(RunSummary(**said | changes)))
    return captured.get()


@pytest.fixture(scope="module")
def sample():
    return experiment(SAMPLE_SPEC)


def test_the_screen_of_the_sample_says_that_memory_helps_where_and_why(sample):
    metrics, _, base = sample
    _, noise, _ = experiment(replace(SAMPLE_SPEC, regime_effect=False))
    text = shown(metrics, base, truth="planted", noise=(noise, "run/1/noise.csv"))
    assert len(text.splitlines()) <= 45
    assert "Does overruling help? Yes: memory chooses better than chance" in text
    assert "planted" in text
    assert " closed, " in text
    assert "losing streak" in text
    assert "market is wild" in text
    assert "\ngained " in text
    assert "\nlost " in text
    assert "\nfollowed " in text
    flat = " ".join(text.split())
    assert (
        "on the same market with signals that are right half of the time, calm or storm, memory overruled"
        in flat
    )
    assert "no difference shown" in flat
    assert "reach" not in flat


def test_the_screen_of_a_small_file_says_why_nothing_is_shown_and_how_many_signals_it_takes():
    metrics, evaluation, base = experiment(GeneratorSpec(rows=276, seed=1, texts="none"))
    flat = " ".join(shown(metrics, base).split())
    assert (
        answer(evaluation)
        == f"No difference shown: of {evaluation.judged} judged signals memory overruled none."
    )
    assert "of 276 signals memory had too little evidence about" in flat
    needed = max(
        next(
            row for row in evaluation.plan.reach if (row.kind, row.rate) == ("hold", 0.1)
        ).signals_for.items()
    )[1]
    assert f"a difference of 10 bp takes {needed:,d} signals" in flat
    assert "None of" in flat
    assert "generated" not in flat
    assert "noise" not in flat


def test_too_few_outcomes_to_show_anything_are_said_to_be():
    metrics, _, base = experiment(GeneratorSpec(rows=30, seed=3, texts="none"))
    assert "nothing can be shown, because" in " ".join(shown(metrics, base).split())


def test_an_arm_that_chooses_worse_is_a_no():
    stream = a_stream(600)
    arms = some_arms(stream)
    wrong = np.where(stream.net_bps[:, Verdict.APPROVE] > 0.0, Verdict.FLIP, Verdict.APPROVE)
    arms[1] = replace(arms[1], verdict=np.where(stream.action == 0, 0, wrong).astype(np.int8))
    said = answer(evaluate(stream, arms))
    assert said.startswith("No: ")
    assert "worse than chance" in said


def test_what_a_model_was_asked_and_what_that_cost_is_on_the_screen(sample):
    _, _, base = sample
    stream = a_stream(300)
    arms = some_arms(stream)
    trades = trade_summaries(trades_of_arms(stream, arms))
    metrics = evaluate(stream, arms).as_dict() | {"patterns": [], "examples": [], "trades": trades}
    flat = " ".join(shown(orjson.loads(orjson.dumps(metrics)), base).split())
    (model,) = (arm for arm in arms if arm.kind == "model")
    assert f"{model.name} asked {model.model_calls} question" in flat
    assert f"for {model.model_usd:.4f} US$" in flat


def test_the_account_is_said_in_a_line(sample):
    *_, base = sample
    said = account_words({"performance": base.performance["signal"], "policy": Trial().policy.as_dict()})
    assert len(said) < WIDTH - 9
    assert "every signal followed -" in said
    assert "bought and held +" in said


def test_texts_of_the_file_are_no_markup_and_move_no_cursor(sample):
    metrics, _, base = sample
    hostile = "[red]x[/red]\x1b[2J"
    patterns = [{**one, "name": hostile} for one in metrics["patterns"]]
    examples = [{**one, "symbol": hostile} for one in metrics["examples"]]
    text = shown(metrics | {"patterns": patterns, "examples": examples}, base, file=hostile)
    assert "\x1b" not in text
    assert "".join(text.split()).count("[red]x[/red]\\x1b[2J") >= 1 + len(examples) + 1
