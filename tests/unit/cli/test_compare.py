"""`raysignal compare` before anything runs: what it refuses, what it says, and the plan."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from raysignal.agents.override.agent import AgentRules
from raysignal.agents.override.outcomes import Horizon
from raysignal.agents.override.text_embeddings import EmbeddingOptions, embed_texts, free_texts_of
from raysignal.cli.arms import ArmOptions, chosen_arms, configured_trial
from raysignal.cli.main import app
from raysignal.cli.model_options import ModelOptions, cassette_beside
from raysignal.cli.options import PolicyOptions, ReadingOptions
from raysignal.cli.output import Output
from raysignal.cli.signal_files import read_stream
from raysignal.engine.core.errors import InvalidField, NotFound, RaysignalError, SettingsError
from raysignal.engine.journal.stores import open_stores
from raysignal.experiments.comparison.arms import ARMS, ASKING, Trial, stream_of
from raysignal.experiments.comparison.compare import WITHOUT_MODEL, Comparison, config_of
from raysignal.experiments.comparison.power_plan import plan
from raysignal.experiments.comparison.strata import strata_of
from raysignal.experiments.runs import open_run
from raysignal.loopback.gemini import GeminiServer
from raysignal.loopback.ollama import OllamaServer
from raysignal.loopback.openai import OpenAiServer
from raysignal.runtime.settings import Settings

SAMPLE = Path(__file__).parents[3] / "data" / "sample.csv"
AS_MADE = ("--bar", "1h", "--label", "open")
SETTINGS = Settings()


def compare(*arguments, store=None):
    more = () if store is None else ("--store", store.as_uri())
    wide = {"COLUMNS": "200"}  # other tests may have left a narrow terminal behind
    return CliRunner(env=wide).invoke(app, ["compare", *map(str, arguments), *more])


def sample(**options):
    reading = ReadingOptions(bar="1h", label="open")
    return read_stream(SAMPLE, reading, SETTINGS, skip=False, accept_jump=False, output=Output(), **options)


NOT_OF_AN_OPTION = (
    "nobody to ask", "needs somebody", "is no file", "there is no run", "run_id is", "timezone is",
)  # fmt: skip
"""What ends with status 1: it depends on the environment, the files or the store."""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--arms", "baseline,memmory"], "arms is 'memmory'; expected some of baseline, memory"),
        (["--arms", "memory"], "expected baseline among them"),
        (["--arms", "baseline,random"], "expected memory beside random"),
        (["--arms", "baseline,model"], "the arm model has nobody to ask; expected GOOGLE_API_KEY"),
        (["--arms", "baseline", "--gemini-url", "http://127.0.0.1:1"], "expected model or review among them"),
        (["--horizon", "soon"], "horizon is 'soon'; expected bars such as 6b"),
        (["--horizon", "0b"], "horizon is '0b'"),
        (["--settlement-lag", "later"], "settlement_lag is 'later'; expected a length"),
        (["--against", "0.3"], "against is 0.3; expected a probability"),
        (["--grey", "0.95"], "grey is 0.95; expected a probability"),
        (["--least-evidence", "0"], "least is 0.0; expected a number above 0"),
        (["--replay", "absent.ndjson"], "absent.ndjson is no file; expected a cassette"),
        (["--record", "calls.ndjson"], "--record needs somebody to ask; expected GOOGLE_API_KEY"),
        (["--record", "."], "record is '.'; expected a file"),
        (["--model-url", "http://models.example"], "expected https"),
        (["--model", "mistral:large"], "model is 'mistral:large'; expected"),
        (["--gemini-url", "http://127.0.0.1:1", "--model", "no model"], "model is 'no model'"),
        (
            ["--run-id", "20260101T000000Z-00000000"],
            "there is no run '20260101T000000Z-00000000' to go on with",
        ),
        (["--run-id", "../elsewhere"], "run_id is '../elsewhere'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_one_sentence_before_anything_starts(monkeypatch, tmp_path, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    shown = compare(SAMPLE, *AS_MADE, *arguments, store=tmp_path / "store")
    of_an_option = not any(part in sentence for part in NOT_OF_AN_OPTION)
    assert (shown.exit_code, "starting" in shown.stderr) == (2 if of_an_option else 1, False)
    assert sentence in shown.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_none_is_a_sentence(tmp_path):
    shown = CliRunner().invoke(app, ["compare", str(SAMPLE), "--store", "ftp://elsewhere"])
    assert shown.exit_code == 1
    assert "neither file:///full/path nor s3://" in shown.stderr


def test_the_run_of_something_else_is_not_gone_on_with(tmp_path):
    blobs = open_stores((tmp_path / "store").as_uri()).blobs
    config = config_of(sample().batch, Comparison())
    open_run(blobs, "mine", config)
    shown = compare(SAMPLE, *AS_MADE, "--run-id", "mine", "--seed", "7", store=tmp_path / "store")
    assert (shown.exit_code, "starting" in shown.stderr) == (1, False)
    assert "'mine' was begun with another configuration: seed was 0 and is 7" in shown.stderr
    other_data = compare(SAMPLE, "--run-id", "mine", store=tmp_path / "store")
    assert "another configuration: data was" in other_data.stderr


def test_rows_that_cannot_be_used_are_shown_and_refused_or_left_out(tmp_path):
    file = tmp_path / "mine.csv"
    rows = ["2025-01-01T00:00:00Z,10,1", "2025-01-01T00:10:00Z,-3,1", "2025-01-01T00:20:00Z,11,-1"]
    file.write_text("\n".join(["timestamp,price,signal", *rows, rows[0], "2025-01-01T00:25:00Z,,1"]) + "\n")
    refused = compare(file, store=tmp_path / "store")
    assert refused.exit_code == 1
    assert "2 of 5 rows" in refused.stderr
    assert "price" in refused.stderr
    assert not (tmp_path / "store").exists()
    stream = read_stream(file, ReadingOptions(), SETTINGS, skip=True, accept_jump=False, output=Output())
    assert (stream.rows, stream.refused, stream.repeated) == (5, 2, 1)
    assert stream.batch.price.tolist() == [10.0, 11.0]


def test_symbols_are_kept_as_the_settings_say(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("timestamp,price,signal,symbol\n2025-01-01T00:00:00Z,10,1,BINANCE:BTCUSDT.P\n")
    settings = Settings(intake={"symbols": {"BINANCE:BTCUSDT.P": "BTC"}})
    stream = read_stream(file, ReadingOptions(), settings, skip=False, accept_jump=False, output=Output())
    assert list(stream.batch.symbols) == ["BTC"]


def test_an_unbelievable_price_is_refused_unless_it_is_meant(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("timestamp,price,signal\n2025-01-01T00:00:00Z,10,1\n2025-01-01T00:10:00Z,9000,1\n")
    assert "1 of 2 rows" in compare("plan", file).stderr
    assert compare("plan", file, "--accept-price-jump").exit_code == 0


def test_a_file_without_signals_is_a_sentence(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("timestamp,price,signal\n")
    with pytest.raises(RaysignalError, match="holds no signal"):
        read_stream(file, ReadingOptions(), SETTINGS, skip=True, accept_jump=False, output=Output())


# The plan


def test_the_plan_is_that_of_the_evaluation():
    shown = compare("plan", SAMPLE, *AS_MADE, "--json")
    found = json.loads(shown.stdout)
    stream = stream_of(sample().batch, Trial())
    expected = plan(
        stream.net_bps,
        timestamp_us=stream.timestamp_us,
        claims=1,
        strata=strata_of(stream.symbol, stream.action),
        judged=stream.judged,
    ).as_dict()
    assert {name: found[name] for name in expected} == json.loads(json.dumps(expected))
    assert (found["signals"], found["judged"], found["horizon"]) == (
        2_500,
        np.count_nonzero(stream.judged),
        "6b",
    )


def test_the_plan_counts_the_arms_that_claim_to_help():
    one = json.loads(compare("plan", SAMPLE, "--json").stdout)
    two = json.loads(compare("plan", SAMPLE, "--json", "--gemini-url", "http://127.0.0.1:1").stdout)
    assert (one["claims"], two["claims"]) == (1, 3)
    assert two["level"] <= one["level"]


def test_a_plan_for_a_person_says_what_could_be_shown():
    shown = compare("plan", SAMPLE, *AS_MADE)
    assert shown.exit_code == 0
    assert (
        "2,233 signals can be followed over 6 bars, and holding changes what becomes of 50% of them. If an arm holds "
        "one in ten of these, and they are worth 426.6 bp less than others of their symbol and side, the comparison "
        "shows it about 80% of the time"
    ) in shown.stdout
    assert "To show 10 bp takes 4,064,423 such signals" in shown.stdout
    assert "bp per overruled one" in shown.stdout
    assert (
        "gate      The gate may speak about 1,801 of 2,238 BUY and SELL signals, from the 72nd on, because 25 "
        "independent precedents are asked for. With --horizon 1b it may from the 26th on."
    ) in shown.stdout
    assert "and a model be asked about 39 (1.7%) at --grey 0.6; " in shown.stdout
    assert "at --grey 0.75, as it is set" in shown.stdout


def test_the_plan_takes_the_options_of_the_agent():
    found = json.loads(
        compare("plan", SAMPLE, *AS_MADE, "--json", "--least-evidence", "1e6", "--grey", "0.8").stdout
    )["gate"]
    assert (found["dial"], found["speaks_about"], found["speaks_from"]) == (0.8, 0, None)
    assert found["readiness"]["speaks_after"] is None
    assert "will never speak" in " ".join(
        compare("plan", SAMPLE, *AS_MADE, "--least-evidence", "1e6").stdout.split()
    )


def test_a_plan_for_a_short_file_says_when_the_gate_begins_to_speak(tmp_path):
    file = tmp_path / "short.csv"
    stamps = np.datetime64("2025-01-01T00:00:00") + np.arange(20) * np.timedelta64(10, "m")
    rows = [f"{stamp}Z,{100 + place % 3},1" for place, stamp in enumerate(stamps)]
    file.write_text("\n".join(["timestamp,price,signal", *rows]))
    shown = " ".join(compare("plan", file, "--horizon", "1b").stdout.split())
    assert (
        "The gate begins to speak after about 6 more BUY and SELL signals: 19.0 independent precedents of the 25 "
        "asked for, out of 19 outcomes."
    ) in shown
    assert "--grey" not in shown


def test_a_plan_says_what_it_takes_to_embed_texts_without_asking_or_a_key(tmp_path, monkeypatch):
    file = tmp_path / "news.csv"
    stories = [f"a story of the day that is told in some words: number {row % 40}" for row in range(60)]
    rows = [f"2025-01-01T00:{row:02d}:00Z,{100 + row % 3},1,{story}" for row, story in enumerate(stories)]
    file.write_text("\n".join(["timestamp,price,signal,news", *rows]))
    embedded = ("--horizon", "1b", "--embeddings", "gemini-embedding-001")

    tokens = sum(-(-len(story) // 4) for story in set(stories))
    told = json.loads(compare("plan", file, "--json", *embedded).stdout)["embeddings"]
    assert told == {
        "model": "gemini-embedding-001", "texts": 40, "calls": 2, "tokens": tokens,
        "usd": pytest.approx(tokens * 0.15 / 1e6),
    }  # fmt: skip
    shown = " ".join(compare("plan", file, *embedded).stdout.split())
    assert "40 different free texts in 2 calls of gemini-embedding-001" in shown
    assert f"about {tokens:,d} tokens, roughly 0.0001 USD" in shown
    assert json.loads(compare("plan", file, "--json", "--horizon", "1b").stdout)["embeddings"] is None
    unknown = compare("plan", file, "--horizon", "1b", "--embeddings", "gemini-embedding-9")
    assert "at a price that is not known here" in " ".join(unknown.stdout.split())
    assert (
        "expected texts that are compared beside it" in compare("plan", file, "--no-texts", *embedded).stderr
    )
    assert "a model of the Gemini API" in compare("plan", file, "--embeddings", "openai:x").stderr

    monkeypatch.setenv("GOOGLE_API_KEY", "hunter2")
    record = tmp_path / "calls.embeddings.ndjson"
    with GeminiServer() as server:
        batch = read_stream(
            file, ReadingOptions(), SETTINGS, skip=False, accept_jump=False, output=Output()
        ).batch
        embed_texts(
            free_texts_of(batch), EmbeddingOptions("gemini-embedding-001", server.url, "hunter2", record)
        )
        calls = server.calls
        replayed = compare("plan", file, *embedded, "--replay", tmp_path / "calls.ndjson")
        assert server.calls == calls
    assert "nothing is asked, nothing is paid" in " ".join(replayed.stdout.split())


def test_nothing_to_judge_is_said(tmp_path):
    file = tmp_path / "one.csv"
    file.write_text("timestamp,price,signal\n2025-01-01T00:00:00Z,10,1\n")
    assert "nothing can be shown" in compare("plan", file).stdout
    assert json.loads(compare("plan", file, "--json").stdout)["reach"] == []


def test_a_horizon_that_is_too_long_for_the_file_is_said():
    shown = compare("plan", SAMPLE, "--horizon", "15d")
    assert (
        "nothing can be shown, because fewer than 10 outcomes follow one another without overlap: take a shorter "
        "horizon, or a longer file"
    ) in " ".join(shown.stdout.split())


def test_where_only_flips_change_anything_flips_are_the_example(tmp_path):
    file = tmp_path / "sells.csv"
    prices = 100.0 * np.exp(np.cumsum(np.random.default_rng(1).standard_normal(400)) / 100.0)
    stamps = np.datetime64("2025-01-01T00:00:00") + np.arange(400) * np.timedelta64(10, "m")
    rows = [f"{stamp}Z,{price},-1" for stamp, price in zip(stamps, prices, strict=True)]
    file.write_text("\n".join(["timestamp,price,signal", *rows]))
    assert "If an arm flips one in ten of these" in " ".join(compare("plan", file).stdout.split())


# Who is asked


def test_help_is_that_of_the_comparison_and_leads_to_the_plan():
    shown = compare("--help").stdout
    assert "--horizon" in shown
    assert "compare plan FILE" in shown


def test_all_arms_but_the_model_run_without_a_key_and_all_with_one(monkeypatch):
    assert chosen_arms(None, ModelOptions()) == WITHOUT_MODEL
    assert "the gate decides alone" in ModelOptions().sentence(asked=(), signals=10)
    monkeypatch.setenv("GEMINI_API_KEY", "hunter2")
    assert chosen_arms(None, ModelOptions()) == ARMS
    assert chosen_arms("canary, baseline", ModelOptions()) == ("baseline", "canary")
    assert "left out by --arms" in ModelOptions().sentence(asked=(), signals=10)


def test_a_model_on_this_machine_needs_no_key():
    with GeminiServer() as loopback:
        questions = ModelOptions(model_url=loopback.url)
        assert chosen_arms(None, questions) == ARMS
        said = questions.sentence(asked=ASKING, signals=10)
        assert said.endswith(
            "as a reviewer of what the gate did not decide, at most 10 calls, on this machine"
        )


@pytest.mark.parametrize(
    ("model", "server", "said"),
    [
        ("openai:gpt-5-mini", OpenAiServer, "gpt-5-mini at http://127.0.0.1"),
        ("ollama:llama3.2", OllamaServer, "llama3.2 at http://127.0.0.1"),
    ],
)
def test_another_provider_is_named_with_its_model(model, server, said):
    with server() as loopback:
        questions = ModelOptions(model=model, model_url=loopback.url)
        assert chosen_arms(None, questions) == ARMS
        assert said in questions.sentence(asked=ASKING, signals=10)
    assert "no key (OPENAI_API_KEY)" in ModelOptions(model="openai:gpt-5").sentence(asked=(), signals=10)


def test_a_provider_whose_package_is_missing_is_refused_before_anything_runs(monkeypatch):
    monkeypatch.setattr("raysignal.agents.llm.models.find_spec", lambda _name: None)
    with pytest.raises(SettingsError, match=r"pip install raysignal\[ollama\]"):
        ModelOptions(model="ollama:llama3.2").asking()


def test_a_model_elsewhere_needs_one():
    with pytest.raises(SettingsError, match="--model-url needs somebody to ask"):
        chosen_arms(None, ModelOptions(model_url="https://models.example"))


def test_the_highest_cost_is_said_where_the_price_is_known(monkeypatch):
    monkeypatch.setenv("GOOGLE_API_KEY", "hunter2")
    said = ModelOptions(model="gemini-2.5-flash-lite", budget=1_000).sentence(asked=["review"], signals=5_000)
    assert "at most 1,000 calls, roughly 1.22 USD" in said
    twice = ModelOptions(model="gemini-2.5-flash-lite", budget=1_000).sentence(asked=ASKING, signals=5_000)
    assert "roughly 2.44 USD" in twice
    assert "at most 7 calls" in ModelOptions().sentence(asked=["model"], signals=7)
    assert "price is not known" in ModelOptions(model="gemini-9").sentence(asked=ASKING, signals=7)


def test_a_key_is_never_shown(monkeypatch):
    monkeypatch.setenv("GOOGLE_API_KEY", "hunter2")
    asking = ModelOptions().asking()
    assert asking.api_key == "hunter2"
    assert "hunter2" not in repr(asking)
    assert "hunter2" not in json.dumps(Comparison(arms=ARMS, asking=asking).config())


def test_texts_are_embedded_by_whom_one_can_ask(monkeypatch, tmp_path):
    assert ModelOptions().embedding() is None
    with pytest.raises(SettingsError, match="--embeddings has nobody to ask"):
        ModelOptions(embeddings="gemini-embedding-001").embedding()
    monkeypatch.setenv("GOOGLE_API_KEY", "hunter2")
    asking = ModelOptions(embeddings="gemini-embedding-001", record=tmp_path / "calls.ndjson").embedding()
    assert (asking.api_key, asking.record) == ("hunter2", tmp_path / "calls.embeddings.ndjson")
    assert "hunter2" not in repr(asking)
    served_elsewhere = ModelOptions(
        model="ollama:llama3.2", model_url="http://127.0.0.1:1", embeddings="gemini-embedding-001"
    )
    assert served_elsewhere.embedding().base_url is None
    with pytest.raises(InvalidField, match="gemini embedding"):
        ModelOptions(embeddings="gemini embedding").embedding()
    with pytest.raises(InvalidField, match="embeddings"):
        Comparison(Trial(rules=AgentRules(texts=False)), embedding=asking)


def test_who_embeds_texts_decides_the_results(monkeypatch):
    monkeypatch.setenv("GOOGLE_API_KEY", "hunter2")
    embedding = ModelOptions(embeddings="gemini-embedding-001").embedding()
    assert Comparison().config()["texts"] is True
    told = Comparison(embedding=embedding).config()["texts"]
    assert told == {"model": "gemini-embedding-001", "dimensions": 768}


def test_embeddings_are_replayed_without_a_key_and_without_a_cassette(tmp_path):
    replay = tmp_path / "calls.ndjson"
    options = ModelOptions(embeddings="gemini-embedding-001", replay=replay)
    with pytest.raises(NotFound, match="is no file"):
        options.configured(SETTINGS)
    (tmp_path / "calls.embeddings.ndjson").touch()
    asking = options.configured(SETTINGS).embedding()
    assert (asking.api_key, asking.replays) == (None, True)
    assert chosen_arms(None, options) == WITHOUT_MODEL


def test_a_replay_has_neither_key_nor_server(monkeypatch, tmp_path):
    monkeypatch.setenv("GOOGLE_API_KEY", "hunter2")
    cassette = tmp_path / "calls.ndjson"
    cassette.touch()
    asking = ModelOptions(replay=cassette).asking()
    assert (asking.api_key, asking.mode, asking.cassette) == (None, "replay", cassette)
    with pytest.raises(NotFound, match="is no file"):
        ModelOptions(replay=tmp_path / "absent").configured(SETTINGS)


def test_calls_are_recorded_in_the_run_or_on_this_machine(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    here = cassette_beside((tmp_path / "a store").as_uri(), "mine")
    assert here == tmp_path / "a store" / "experiments" / "mine" / "cassette.ndjson"
    assert cassette_beside("s3://bucket/prefix", "mine") == tmp_path / "raysignal-cassettes" / "mine.ndjson"


def test_rules_become_those_of_the_trial():
    rules = ArmOptions(horizon="90m", settlement_lag="1m", against=0.8, least_evidence=5.0, neighbours=10)
    trial = rules.trial(Trial(), PolicyOptions(fee_bps=4.0), seed=3)
    assert (trial.policy.fee_bps, trial.seed) == (4.0, 3)
    assert (trial.rules.horizon.time_us, trial.rules.horizon.lag_us) == (5_400_000_000, 60_000_000)
    assert (trial.rules.gate.against, trial.rules.gate.least, trial.rules.gate.grey) == (0.8, 5.0, 0.75)
    assert (trial.rules.recall.neighbours, trial.rules.recall.least) == (10, 10)
    assert ArmOptions().trial(Trial(), PolicyOptions()) == Trial()
    assert [ArmOptions(texts=on).trial(Trial(), PolicyOptions()).rules.texts for on in (True, False)] == [
        True,
        False,
    ]
    with pytest.raises(InvalidField, match="horizon"):
        ArmOptions(horizon="").trial(Trial(), PolicyOptions())


def test_what_is_not_said_is_as_it_is_configured_for_the_service():
    settings = Settings(
        portfolios={"baseline": {"fee_bps": 3.0, "side": "long-short"}}, horizon="90m", settlement_lag_s=60.0,
        gate_against=0.8, gate_least=7.0, neighbours=90, breaker_limit_bps=-4.0,
    )  # fmt: skip
    base = configured_trial(settings)
    trial = ArmOptions(neighbours=80).trial(base, PolicyOptions(slippage_bps=1.0))
    assert (trial.policy.fee_bps, trial.policy.slippage_bps, trial.policy.side) == (3.0, 1.0, "long-short")
    assert trial.rules.horizon == Horizon.parse("90m", lag_us=60_000_000)
    assert (trial.rules.gate.against, trial.rules.gate.least, trial.rules.recall.neighbours) == (0.8, 7.0, 80)
    assert trial.breaker is not None
    assert trial.breaker.limit_bps == -4.0
    assert ArmOptions(horizon="3b").trial(base, PolicyOptions()).rules.horizon == Horizon.parse(
        "3b", lag_us=60_000_000
    )
