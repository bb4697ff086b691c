"""A rule that sees the future is found, wherever it hides; a clean one passes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from raysignal.cli.main import app
from raysignal.data.bars import random_walk
from raysignal.engine.core.errors import InputError, InvalidField, RaysignalError, StrategyFailed
from raysignal.engine.strategies import registry
from raysignal.engine.strategies.checks import (
    _GROWING_CUTS,
    _SINGLE_CUTS,
    OTHER_FUTURES,
    TRIES,
    StrategyFinding,
    check_strategy,
    cuts_of,
    going_on,
)
from raysignal.engine.strategies.isolation import IsolatedRuns, StrategyRun, StrategySource
from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.validation import strategies
from tests.support import strategy_rules as rules

BARS = random_walk(0).slice(0, 600)
SHORT = BARS.slice(0, 24)  # where each call is dear
FEW = 6  # cuts, where any shows it
CHECKS = ["actions", "files", "determinism", "look-ahead", "warm-up", "stream"]


@pytest.fixture(scope="module")
def runs() -> Iterator[IsolatedRuns]:
    with IsolatedRuns() as processes:
        yield processes


def checked(runs: IsolatedRuns, strategy: object, bars: Bars = BARS, **options) -> dict[str, StrategyFinding]:
    options = {"tries": FEW} | options
    return {one.check: one for one in check_strategy(strategy, bars, runs=runs, **options)}


def failing(found: dict[str, StrategyFinding]) -> list[str]:
    return [name for name, one in found.items() if not one.good]


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.NAMES)
def test_our_own_strategies_pass(runs, name: str) -> None:
    assert failing(checked(runs, name, tries=3)) == []


def test_a_clean_rule_of_ten_lines_passes(runs) -> None:
    found = checked(runs, rules.Clean)
    assert list(found) == CHECKS
    assert failing(found) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (rules.Chance, "determinism"),
        (rules.SharedChance, "determinism"),
        (rules.Counting, "determinism"),
        (rules.Hasty, "warm-up"),
        (rules.OtherStream, "stream"),
        (rules.OneStream, "stream"),
        (rules.StreamAfterActions, "stream"),
        (rules.FitInEnvironment, "look-ahead"),
        (rules.FitOnOthersModule, "look-ahead"),
        (rules.FitInFile, "look-ahead"),
        (rules.FirstUnknownVolume, "look-ahead"),
    ],
)
def test_what_cannot_be_believed_is_found_with_its_bar(runs, kind: type, check: str) -> None:
    found = checked(runs, kind)[check]
    assert not found.good
    assert found.bar is not None
    assert f"bar {found.bar}" in found.sentence


def test_views_show_nothing_of_what_they_were_cut_from(runs) -> None:
    assert "look-ahead" in failing(checked(runs, rules.Base))


@pytest.mark.slow
@pytest.mark.parametrize("rule", strategies.RULES)
def test_look_ahead_is_found(runs, rule: str) -> None:
    found = checked(runs, strategies.rule_class(rule, "Leaking"), random_walk(1), tries=TRIES)
    assert "look-ahead" in failing(found)


@pytest.mark.slow
@pytest.mark.parametrize("rule", strategies.RULES[::6])
def test_an_honest_twin_passes(runs, rule: str) -> None:
    assert failing(checked(runs, strategies.rule_class(rule, "Honest"), random_walk(1))) == []


@pytest.mark.long
@pytest.mark.parametrize("rule", strategies.RULES)
def test_look_ahead_is_found_and_its_honest_twin_passes(rule: str) -> None:
    (result,) = strategies.validate_check(1, rules=(rule,), workers=1)  # `make validate` tries more seeds
    assert result.wrong == ()
    assert result.holds


def test_every_way_to_see_the_future_has_its_twin() -> None:
    assert len(strategies.RULES) >= 18
    results = [strategies.RuleResult(rule, 4, 4, 3, ("one fails",)) for rule in strategies.RULES]
    assert not results[0].holds
    table = strategies.result_table(results)
    assert "3 of 4 [19.4%, 99.4%]" in table
    assert f"{4 * len(results)} of {4 * len(results)}" in table


def test_the_sentence_says_what_was_done_and_what_differs_where(runs) -> None:
    found = checked(runs, strategies.rule_class("next_bar", "Leaking"))["look-ahead"]
    assert "cut off, the action at bar" in found.sentence or "more bars after the last" in found.sentence
    assert "is HOLD instead of" in found.sentence
    assert f"bar {found.bar} (20" in found.sentence


def test_a_rule_that_never_acts_fails_since_nothing_was_checked(runs) -> None:
    (found,) = checked(runs, rules.Silent).values()
    assert not found.good
    assert "nothing was checked" in found.sentence


def test_how_many_actions_were_compared_is_said(runs) -> None:
    assert "1 action compared" in checked(runs, rules.Once)["look-ahead"].sentence


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([0] * 600, "list"),
        (np.zeros(3, np.int8), "expected an array of 600"),
        (np.zeros(600), "float64"),
        (np.full(600, 2, np.int8), "expected -1, 0 or 1"),
    ],
)
def test_answers_that_are_none_are_told(runs, answer: object, said: str) -> None:
    (found,) = checked(runs, rules.Wrong, parameters={"answer": answer}).values()
    assert not found.good
    assert said in found.sentence


def test_a_rule_that_raises_on_few_bars_is_told_that_it_should_hold(runs) -> None:
    found = checked(runs, rules.Fragile)["look-ahead"]
    assert "cut off, it raises ZeroDivisionError: so few bars; expected HOLD" in found.sentence
    (only,) = checked(runs, rules.Fragile, BARS.slice(0, 50)).values()
    assert "so few bars" in only.sentence


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("exit", "raises SystemExit: 3"),
        ("_exit", "ends with status 3"),
        ("signal", "ends by SIGSEGV"),
        ("hang", "no answer within 3 s"),
        ("server", "has ended"),
    ],
)
def test_a_rule_that_ends_its_process_or_hangs_is_told(how: str, said: str) -> None:
    (found,) = check_strategy(rules.Ending(how), BARS, time_limit_s=3.0)
    assert not found.good
    assert said in found.sentence


def test_a_rule_that_ends_its_process_on_a_cut_alone_is_told(runs) -> None:
    found = checked(runs, rules.Ending("_exit", below=len(BARS)))
    assert "cut off, its process ends with status 3" in found["look-ahead"].sentence
    assert failing(found) == ["look-ahead", "stream"]


def test_a_rule_that_writes_a_file_fails_and_one_that_reads_is_told(runs, tmp_path) -> None:
    first = checked(runs, rules.FitInFile, parameters={"folder": str(tmp_path)})
    assert failing(first)[0] == "files"
    assert str(tmp_path / "mean.pickle") in first["files"].sentence
    again = checked(runs, rules.FitInFile, parameters={"folder": str(tmp_path)})
    assert f"it reads {tmp_path / 'mean.pickle'}" in again["files"].sentence


@pytest.mark.parametrize("many", [len(BARS), 10**9], ids=["for more bars", "when it is asked again"])
def test_a_rule_that_writes_a_file_later_than_at_first_fails(runs, many: int, tmp_path) -> None:
    later = {"folder": str(tmp_path), "many": many}
    found = checked(runs, rules.FitInFileLater, parameters=later)
    assert "files" in failing(found)
    assert f"it writes {tmp_path / 'mean.pickle'}" in found["files"].sentence


@pytest.mark.slow
@pytest.mark.parametrize("how", rules.CHANGES)
def test_a_rule_that_changes_files_in_any_way_fails_and_the_file_is_named(runs, how: str, tmp_path) -> None:
    (tmp_path / "there").write_text("there")
    parameters = {"how": how, "place": str(tmp_path / "kept")}
    found = checked(runs, rules.Changing, SHORT, parameters=parameters, tries=1)
    assert failing(found)[0] == "files"
    folder = "/" if how == "elsewhere" else f"{tmp_path}/"  # where os.open starts from is not told
    assert f"it writes {folder}" in found["files"].sentence


@pytest.mark.slow
def test_a_rule_with_processes_and_temporary_files_passes(runs) -> None:
    found = checked(runs, rules.Pooled, SHORT, tries=1)
    assert failing(found) == []
    assert found["files"].sentence == "it reads and writes no file"


def test_a_file_that_is_read_before_actions_are_asked_for_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made.txt").write_text("1")
    (tmp_path / "imported.txt").write_text("1")
    (tmp_path / "reads_at_import.py").write_text(
        "import json\n"
        "from tests.support.strategy_rules import Momentum\n"
        "class Rule(Momentum):\n"
        "    level = json.load(open('imported.txt'))\n"
    )
    for name, parameters, file in (
        ("reads_at_import:Rule", None, "imported.txt"),
        ("tests.support.strategy_rules:ReadingWhenMade", {"path": "made.txt"}, "made.txt"),
    ):
        found = {one.check: one for one in check_strategy(name, BARS, parameters=parameters, tries=1)}
        assert found["files"].good
        assert f"it writes no file; it reads {tmp_path / file}," in found["files"].sentence
    assert not (tmp_path / "__pycache__").exists()


@pytest.mark.slow
def test_a_number_that_numba_compiled_in_is_not_kept_for_the_next_run(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "compiled_fit.py").write_text(
        "import numpy as np\n"
        "from numba import njit\n"
        "from tests.support.strategy_rules import UserStrategy, crossed\n"
        "_level = 0.0\n"
        "@njit(cache=True)\n"
        "def level():\n"
        "    return _level\n"
        "class Fit(UserStrategy):\n"
        "    def actions(self, bars):\n"
        "        global _level\n"
        "        _level = float(bars.close.mean())\n"
        "        return crossed(bars.close, np.full(len(bars), level()))\n"
    )
    found = {one.check: one for one in check_strategy("compiled_fit:Fit", BARS, tries=1)}
    assert found["files"].sentence == "it reads and writes no file"
    assert not found["look-ahead"].good


@pytest.mark.parametrize("density", [0.05, 0.5, 0.95])
def test_one_in_ten_of_the_actions_or_of_the_silent_bars_is_missed_in_less_than_one_check_of_800(
    density,
) -> None:
    missed = {0: 0, 1: 0}
    for seed in range(2000):
        draws = np.random.default_rng(seed)
        whole = (draws.random(2000) < density).astype(np.int8)
        ends = (
            np.array(
                [
                    cut
                    for kind in (_SINGLE_CUTS, _GROWING_CUTS)
                    for cut in cuts_of(whole != 0, kind, 24, draws)
                ]
            )
            - 1
        )
        peeks = draws.random(2000) < 0.1
        for kind in missed:
            missed[kind] += not (peeks & (whole == kind))[ends].any()
    assert max(missed.values()) / 2000 < 1 / 800


@pytest.mark.slow
def test_an_action_that_is_left_out_for_the_next_bar_is_found_on_every_seed(runs) -> None:
    for seed in range(4):
        found = checked(runs, rules.Vetoing, random_walk(seed), seed=seed, tries=24)
        assert failing(found)[0] == "look-ahead"


@pytest.mark.parametrize(
    ("kind", "check", "said"),
    [
        (rules.SameArray, "determinism", "what it answered changes afterwards"),
        (rules.ChangesBars, "actions", "it changes the bars that it is given: close"),
        (rules.NamedWarmUp, "actions", "its warm_up is 'ten'"),
        (rules.NegativeWarmUp, "actions", "its warm_up is -5; expected 0 or more bars"),
    ],
)
def test_a_rule_that_breaks_what_it_is_given_or_gave_is_told(runs, kind: type, check: str, said: str) -> None:
    found = checked(runs, kind)[check]
    assert not found.good
    assert said in found.sentence


def test_what_is_no_strategy_is_refused(runs) -> None:
    with pytest.raises(InvalidField, match="a class with a method actions"):
        check_strategy(object(), BARS)
    with pytest.raises(InvalidField, match="at least 8"):
        check_strategy(rules.Clean, BARS.slice(0, 7))
    with pytest.raises(InvalidField, match="row 1: close is -1"):
        check_strategy(rules.Clean, Bars.of_closes(np.arange(8), np.where(np.arange(8) == 1, -1.0, 1.0)))
    for seconds in (0.0, -1.0, float("nan"), float("inf"), 86_401.0):
        with pytest.raises(InvalidField, match=r"time_limit_s is .*above 0 and at most 86400"):
            check_strategy(rules.Clean, BARS, time_limit_s=seconds)
    with pytest.raises(InputError, match="param is 'nonsense'"):
        checked(runs, rules.Clean, parameters={"nonsense": 1})
    with pytest.raises(InvalidField, match="parameters is 'answer'"):
        checked(runs, rules.Wrong, parameters={"answer": lambda: 0})


@pytest.mark.slow
def test_an_object_is_made_anew_from_its_fields(runs) -> None:
    for strategy in (
        rules.Momentum(bars=3),
        registry.make("sma", {"fast": 3, "slow": 9}),
        rules.Outer.Nested,
    ):
        assert failing(checked(runs, strategy, tries=1)) == []


def test_what_cannot_be_made_anew_is_refused() -> None:
    class Local(rules.Clean):
        pass

    for strategy, expected in (
        (rules.Clean(), "its class, Clean, with parameters"),
        (rules.Listed(), "'Listed with a list as seen'; expected its class"),
        (Local, "put it into a file of its own"),
    ):
        with pytest.raises(InvalidField, match=expected):
            check_strategy(strategy, BARS)
    with pytest.raises(InvalidField, match="none beside an object"):
        check_strategy(rules.Momentum(), BARS, parameters={"bars": 3})


def test_a_rule_that_refuses_its_bars_has_failed_and_is_not_refused(runs) -> None:
    (found,) = checked(runs, rules.Momentum(bars=-1)).values()
    assert "it raises InvalidField: bars is -1" in found.sentence


def test_a_run_answers_for_each_of_its_calls(runs) -> None:
    run = StrategyRun(BARS, actions=(300, 600), streams=((0, 1, 600), (0, 600)))
    answer = runs.run(StrategySource.of(rules.Clean), run)
    assert [len(each) for each in (*answer.actions, *answer.streams)] == [300, 600, 600, 600]


def test_no_run_finds_what_another_left_in_memory(runs) -> None:
    source = StrategySource.of(strategies.rule_class("fit_in_module", "Leaking"))
    (whole,) = runs.run(source, StrategyRun(BARS, actions=(600,))).actions
    (fresh,) = runs.run(source, StrategyRun(BARS.slice(0, 300), actions=(300,))).actions
    _, kept = runs.run(source, StrategyRun(BARS, actions=(600, 300))).actions
    assert (kept == whole[:300]).all()
    assert not (fresh == kept).all()


@settings(max_examples=40)
@given(
    n=st.integers(8, 60),
    share=st.floats(0.0, 1.0),
    future=st.sampled_from(OTHER_FUTURES),
    seed=st.integers(0, 99),
)
def test_another_future_keeps_the_past_and_is_one_that_could_be(n, share, future, seed) -> None:
    bars = random_walk(seed, n)
    cut = max(1, min(n - 1, int(share * n)))
    other = going_on(bars, cut, future, np.random.default_rng(seed))
    for name in ("known_at_us", "open", "high", "low", "close", "volume"):
        assert (getattr(other, name)[:cut] == getattr(bars, name)[:cut]).all()
        assert not (getattr(other, name)[cut:] == getattr(bars, name)[cut:]).all() or name == "known_at_us"
    assert (np.diff(other.known_at_us) > 0).all()
    assert (other.low <= np.minimum(other.open, other.close)).all()
    assert (np.maximum(other.open, other.close) <= other.high).all()
    assert (other.close > 0.0).all()


def raysignal(*arguments: str) -> object:
    return CliRunner().invoke(app, ["check-strategy", *arguments])


@pytest.mark.slow
def test_the_command_ends_with_what_it_found(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_that_peeks.py").write_text(
        "import numpy as np\n"
        "from raysignal.engine.strategies.checks import UserStrategy\n"
        "class Peek(UserStrategy):\n"
        "    def __init__(self, bars=1):\n"
        "        self.bars = bars\n"
        "    def actions(self, bars):\n"
        "        return np.sign(np.roll(bars.close, -self.bars) - bars.close).astype(np.int8)\n"
    )
    peeked = raysignal("mine_that_peeks:Peek", "--param", "bars=3", "--json")
    assert peeked.exit_code == 1
    found = json.loads(peeked.stdout)
    assert not found["good"]
    assert "look-ahead" in [one["check"] for one in found["checks"] if not one["good"]]
    clean = raysignal("sma", "--param", "fast=3", "--param", "slow=9", "--tries", "1")
    assert clean.exit_code == 0
    assert "passed" in clean.stdout


def test_the_rule_of_the_documents_passes(tmp_path, monkeypatch) -> None:
    document = (Path(__file__).parents[4] / "docs" / "experiments.md").read_text()
    (rule,) = [block.split("```")[0] for block in document.split("```python\n") if "(UserStrategy)" in block]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(rule)
    assert raysignal("mine:Momentum").exit_code == 0


def test_what_a_rule_raises_is_shown_as_it_is() -> None:
    ended = raysignal("tests.support.strategy_rules:Marked", "--tries", "1")
    assert ended.exit_code == 1
    assert r"it raises ValueError: [bold]x[/bold]\u202e\x1b[2J" in " ".join(ended.stdout.split())


def test_what_a_rule_prints_is_not_shown(capfd) -> None:
    ended = raysignal("tests.support.strategy_rules:Printing", "--json", "--tries", "3")
    assert ended.exit_code == 0
    assert json.loads(ended.stdout)["good"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("magic",), "one of sma"),
        (("no_such_module:Class",), "a module that can be imported"),
        (("tests.support.strategy_rules.py:Clean",), "its name is without .py"),
        (("json:Nothing",), "a class of json"),
        (("json:JSONDecoder",), "a class with a method actions"),
        (("sma", "--param", "fast=9", "--param", "slow=3"), "fewer bars than slow"),
        (("sma", "--param", "quick=9"), "one of fast, slow"),
        ((":Class",), "a module that can be imported"),
        ((".x:Class",), "a module that can be imported"),
        (("sma", "--param", "fast"), "name=value, such as fast=10"),
        (("sma", "--param", "fast=1", "--param", "fast=2"), "fast once"),
        (("tests.support.strategy_rules:Clean", "--param", "nonsense=1"), "what Clean takes"),
        (("sma", "--data", "nowhere.csv"), "nowhere.csv"),
        (("sma", "--tries", "0"), "greater than or equal to 1"),
        *(
            (
                ("sma", "--time-limit", value),
                f"time_limit_s is {said}; expected seconds, above 0 and at most 86400",
            )
            for value, said in (("inf", "inf"), ("nan", "nan"), ("1e12", "1000000000000.0"), ("0", "0.0"))
        ),
    ],
)
def test_what_cannot_be_checked_is_a_sentence_and_status_2(arguments: tuple[str, ...], said: str) -> None:
    ended = raysignal(*arguments)
    assert ended.exit_code == 2
    assert said in ended.stderr


@contextlib.contextmanager
def named_pipe(folder: Path) -> Iterator[tuple[Path, int]]:
    """A named pipe and its end for reading, which ends when the last process that has it open for writing has."""
    path = folder / "held"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    try:
        yield path, descriptor
    finally:
        os.close(descriptor)


@pytest.mark.slow
def test_what_a_rule_starts_ends_with_its_run(tmp_path) -> None:
    with named_pipe(tmp_path) as (path, descriptor):
        found = check_strategy(rules.LeavesProcess(str(path)), BARS, tries=1)
        assert "files" in [one.check for one in found if not one.good]
        while os.read(descriptor, 1000):
            pass


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_check_that_is_stopped(tmp_path, number: signal.Signals) -> None:
    with named_pipe(tmp_path) as (path, descriptor):
        command = ["check-strategy", "tests.support.strategy_rules:LeavesProcess"]
        holder = os.open(path, os.O_WRONLY)  # so that reading waits for the first byte
        check = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "raysignal.cli",
                *command,
                "--param",
                f"pipe={path}",
                "--param",
                "hang=true",
            ],
            stderr=subprocess.PIPE,
        )
        assert os.read(descriptor, 1) == b"!"
        os.close(holder)
        check.send_signal(number)
        check.communicate()
        assert check.returncode != 0
        while os.read(descriptor, 1000):
            pass


def test_a_function_answers_in_a_process_of_its_own(runs, tmp_path) -> None:
    support = rules.__name__
    assert runs.call("base64:b64encode", b"x").answer == b"eA=="
    first, second = (int(runs.call(f"{support}:asked").answer) for _ in range(2))
    assert first == second == 1
    place = tmp_path / "kept"
    assert runs.call(f"{support}:write", str(place)).written == (str(place),)
    with pytest.raises(StrategyFailed, match="it raises TypeError"):
        runs.call("base64:b64encode", 3)
    with pytest.raises(InputError, match="windows is 2; expected 1"):
        runs.call(f"{support}:refuse", "windows", 2, "1")


def test_a_server_that_is_gone_is_a_sentence() -> None:
    runs = IsolatedRuns()
    runs.close()
    with pytest.raises(RaysignalError, match="has ended"):
        runs.run(StrategySource("sma"), StrategyRun(BARS))
