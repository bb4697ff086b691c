"""A rule that sees the future is found, wherever it hides; a clean one passes."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from cli.checking_strategy import made_up
from cli.main import app
from engine.errors import InvalidField
from engine.strategies import registry
from engine.strategies.checking import UserStrategy, check_strategy
from engine.strategies.strategy import Bars

BARS = made_up(0).slice(0, 600)


def crossed(values: np.ndarray, level: np.ndarray) -> np.ndarray:
    side = np.sign(values - level)
    return np.where(np.diff(side, prepend=side[:1]) != 0, side, 0).astype(np.int8)


class Clean(UserStrategy):
    warm_up = 5

    def actions(self, bars: Bars) -> np.ndarray:
        mean = np.array([bars.close[max(0, at - 4) : at + 1].mean() for at in range(len(bars))])
        said = crossed(bars.close, mean)
        said[: self.warm_up] = 0
        return said


class Normalised(UserStrategy):
    """Against the mean of all bars: the classic."""

    def actions(self, bars: Bars) -> np.ndarray:
        return crossed(bars.close, np.full(len(bars), bars.close.mean()))


class Centred(UserStrategy):
    """A smooth line whose window reaches two bars into the future."""

    def actions(self, bars: Bars) -> np.ndarray:
        return crossed(bars.close, np.convolve(bars.close, np.ones(5) / 5.0, mode="full")[2 : len(bars) + 2])


class NextBar(UserStrategy):
    def actions(self, bars: Bars) -> np.ndarray:
        return np.sign(np.diff(bars.close, append=bars.close[-1:])).astype(np.int8)


class Sooner(UserStrategy):
    """A slow crossover said a bar too soon: it speaks so seldom that a cut anywhere would not meet it."""

    def actions(self, bars: Bars) -> np.ndarray:
        said = registry.make("sma", {"fast": 50, "slow": 200}).actions(bars)
        return np.concatenate([said[1:], said[:1] * 0])


class Fragile(Clean):
    def actions(self, bars: Bars) -> np.ndarray:
        if len(bars) < 100:
            raise ZeroDivisionError("so few bars")
        return super().actions(bars)


class Chance(UserStrategy):
    def actions(self, bars: Bars) -> np.ndarray:
        return np.random.default_rng().integers(-1, 2, len(bars)).astype(np.int8)


class Hasty(Clean):
    warm_up = 0

    @property
    def claimed(self) -> int:
        return 100

    def __init__(self) -> None:
        self.warm_up = 100

    def actions(self, bars: Bars) -> np.ndarray:
        return crossed(bars.close, np.concatenate([bars.close[:1], bars.close[:-1]]))


class OtherStream(Clean):
    def stream(self) -> object:
        class Silent:
            def advance(self, bars: Bars) -> np.ndarray:
                return np.zeros(len(bars), np.int8)

        return Silent()


class Wrong:
    def __init__(self, answer: object) -> None:
        self.answer = answer

    def actions(self, _bars: Bars) -> object:
        return self.answer


@pytest.mark.parametrize("name", registry.NAMES)
def test_our_own_strategies_pass(name: str) -> None:
    assert all(one.good for one in check_strategy(registry.make(name, {}), BARS))


def test_a_clean_rule_of_ten_lines_passes() -> None:
    found = check_strategy(Clean(), BARS)
    assert [one.check for one in found] == ["actions", "determinism", "look-ahead", "warm-up", "stream"]
    assert all(one.good for one in found)


@pytest.mark.parametrize(
    ("strategy", "check"),
    [
        (Normalised(), "look-ahead"),
        (Centred(), "look-ahead"),
        (NextBar(), "look-ahead"),
        (Chance(), "determinism"),
        (Hasty(), "warm-up"),
        (OtherStream(), "stream"),
    ],
)
def test_what_cannot_be_believed_is_found_with_its_bar(strategy: UserStrategy, check: str) -> None:
    found = {one.check: one for one in check_strategy(strategy, BARS)}
    assert not found[check].good
    assert found[check].bar is not None
    assert str(found[check].bar) in found[check].sentence


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([0] * 600, "list"),
        (np.zeros(3, np.int8), "expected an array of 600"),
        (np.zeros(600), "float64"),
        (np.full(600, 2, np.int8), "expected -1, 0 or 1"),
    ],
)
def test_answers_that_are_none_are_told(answer: object, said: str) -> None:
    (found,) = check_strategy(Wrong(answer), BARS)
    assert not found.good
    assert said in found.sentence


def test_a_rule_that_peeks_and_speaks_seldom_is_found_on_every_seed() -> None:
    for seed in range(6):
        found = {one.check: one for one in check_strategy(Sooner(), made_up(seed), seed=seed)}
        assert not found["look-ahead"].good, seed


def test_a_rule_that_raises_is_told_and_not_passed_on() -> None:
    found = {one.check: one for one in check_strategy(Fragile(), BARS)}
    assert "ZeroDivisionError: so few bars" in found["look-ahead"].sentence
    (only,) = check_strategy(Fragile(), BARS.slice(0, 50))
    assert "so few bars" in only.sentence


def test_what_is_no_strategy_is_refused() -> None:
    with pytest.raises(InvalidField, match="actions"):
        check_strategy(object(), BARS)
    with pytest.raises(InvalidField, match="at least 8"):
        check_strategy(Clean(), BARS.slice(0, 7))


def raysignal(*arguments: str) -> object:
    return CliRunner().invoke(app, ["check-strategy", *arguments])


def test_the_command_ends_with_what_it_found(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_that_peeks.py").write_text(
        "import numpy as np\n"
        "from engine.strategies.checking import UserStrategy\n"
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
    clean = raysignal("sma", "--param", "fast=3", "--param", "slow=9")
    assert clean.exit_code == 0
    assert "passed" in clean.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("magic",), "one of sma"),
        (("no_such_module:Class",), "a module that can be imported"),
        (("json:Nothing",), "a class of json"),
        (("json:JSONDecoder",), "a class with a method actions"),
        (("sma", "--param", "fast=9", "--param", "slow=3"), "fewer bars than slow"),
        ((":Class",), "a module that can be imported"),
        ((".x:Class",), "a module that can be imported"),
        (("sma", "--param", "fast"), "name=start:stop:step"),
        (("json:JSONDecoder", "--param", "nonsense=1"), "what JSONDecoder takes"),
        (("sma", "--data", "nowhere.csv"), "nowhere.csv"),
    ],
)
def test_what_cannot_be_checked_is_a_sentence(arguments: tuple[str, ...], said: str) -> None:
    ended = raysignal(*arguments)
    assert ended.exit_code == 1
    assert said in ended.stderr
