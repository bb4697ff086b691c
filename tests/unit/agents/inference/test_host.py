"""A host generates signals: every step on record before its answer, whatever dies, and one host at a time."""

import asyncio
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raysignal.agents.inference import step_journal
from raysignal.agents.inference.host import ModelHost
from raysignal.agents.inference.placeholder import PlaceholderModel
from raysignal.agents.inference.portfolio_rows import PortfolioPrices
from raysignal.agents.inference.signals import SignalRules
from raysignal.agents.inference.step_journal import StepJournal
from raysignal.agents.inference.values import ModelSignal, SignalRequest
from raysignal.engine.core.errors import (
    Conflict,
    Fenced,
    IdentityConflict,
    InvalidField,
    LateSignal,
    ModelRefused,
    ModelUnavailable,
    PriceJump,
    RaysignalError,
    StoreUnavailable,
)
from raysignal.engine.core.signals import Signal
from raysignal.engine.journal.blobs import DiskBlobs
from raysignal.engine.journal.local import LocalStore
from raysignal.engine.portfolio.receipts import SymbolMark
from tests.support.onnx_models import feed_forward, of_numbers, recurrent, write_model

BAR = 300_000_000
BEGIN = 1_735_689_600_000_000
NO_MODEL = "none"
MAX_JUMP = 1_000.0


class Portfolio:
    """Takes signals in as a portfolio does: once each identity, in the order of time of a symbol."""

    def __init__(self) -> None:
        self.taken: dict[str, Signal] = {}
        self.received = 0
        self.last_us: dict[str, int] = {}
        self.last_price: dict[str, float] = {}
        self.fails = False

    async def submit(self, signals: Sequence[Signal]) -> list[RaysignalError | None]:
        if self.fails:
            raise StoreUnavailable("the portfolio does not answer")
        return [self._submit(each) for each in signals]

    async def marks(self, symbols: Sequence[str]) -> dict[str, SymbolMark]:
        return {
            symbol: SymbolMark(self.last_us[symbol], self.last_price[symbol], held=False)
            for symbol in symbols or ()
            if symbol in self.last_us
        }

    def _submit(self, signal: Signal) -> RaysignalError | None:
        self.received += 1
        if (known := self.taken.get(signal.signal_id)) is not None:
            return None if known == signal else IdentityConflict(signal.signal_id)
        if signal.timestamp_us < self.last_us.get(signal.symbol, 0):
            return LateSignal(signal.symbol, str(signal.timestamp_us), str(self.last_us[signal.symbol]))
        self.last_us[signal.symbol] = signal.timestamp_us
        self.last_price[signal.symbol] = signal.price
        self.taken[signal.signal_id] = signal
        return None


class World:
    """A store, a portfolio, and hosts over them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.portfolio = Portfolio()
        self.fenced = 0
        self.snapshot_steps = 1_000

    def model(self, name: str = "lstm", model: Any = None, **members: Any) -> str:
        return str(write_model(self.folder / name, model or recurrent(), **members))

    def host(self, configured: str | None = NO_MODEL, confidence: float = 0.5) -> ModelHost:
        def fenced() -> None:
            self.fenced += 1

        blobs = DiskBlobs(self.folder / "store")
        prices = PortfolioPrices(self.portfolio, MAX_JUMP, None, BAR)
        return ModelHost(
            lambda: StepJournal.open(
                LocalStore(self.folder / "store" / "journal" / "model=model"), blobs, "state/model=model",
                snapshot_steps=self.snapshot_steps,
            ),
            blobs, self.portfolio, prices, rules=SignalRules(confidence=confidence), placeholder=PlaceholderModel(),
            configured=None if configured == NO_MODEL else configured, on_fenced=fenced,
        )  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def request(place: int, symbol: str = "USDCOP", **members: Any) -> SignalRequest:
    random = np.random.default_rng([place, ord(symbol[0])])
    features = {"rsi(14)": float(random.uniform(0, 100)), "returns(1)": float(random.normal())}
    given: dict[str, Any] = {"close": float(random.uniform(90, 110)), "features": features} | members
    return SignalRequest(symbol, BEGIN + place * BAR, **given)


def signals_of(answers: Sequence[ModelSignal | RaysignalError]) -> list[tuple[Any, ...]]:
    """What must be the same whatever happened: all but the latency."""
    found = []
    for each in answers:
        assert isinstance(each, ModelSignal), each
        found.append(
            (each.signal_id, each.at_us, each.action, each.confidence, each.entry_price, each.reasoning)
        )
    return found


async def one(host: ModelHost, asked: SignalRequest) -> ModelSignal:
    (answer,) = await host.generate([asked])
    assert isinstance(answer, ModelSignal), answer
    return answer


async def refused(host: ModelHost, asked: SignalRequest) -> RaysignalError:
    (answer,) = await host.generate([asked])
    assert isinstance(answer, RaysignalError), answer
    return answer


async def test_a_signal_is_the_models_and_in_the_portfolio_with_the_numbers_that_were_used(
    world: World,
) -> None:
    host = world.host(world.model())
    signal = await one(host, request(0))
    assert signal.model_version == "policy 1"
    assert not signal.placeholder
    taken = world.portfolio.taken[signal.signal_id]
    assert (taken.timestamp_us, taken.action, taken.price) == (
        signal.at_us,
        signal.action,
        signal.entry_price,
    )
    assert taken.features["model_version"] == "policy 1"
    assert taken.features["rsi(14)"] == request(0).features["rsi(14)"]


async def test_without_a_model_the_placeholder_speaks_and_says_so(world: World) -> None:
    host = world.host()
    signal = await one(host, SignalRequest("USDCOP", BEGIN, 4250.5, {"rsi": 35.5}))
    assert signal.placeholder
    assert signal.model_version == "PLACEHOLDER"
    info = await host.info()
    assert info["placeholder"]
    assert info["speaks"]
    assert info["trouble"] is None


# Identity, order, values


async def test_a_repeated_request_is_answered_from_the_record_without_a_step(world: World) -> None:
    host = world.host(world.model())
    first = await one(host, request(0))
    second = await one(host, request(1))
    assert await one(host, request(0)) == first
    assert await host.generate([request(1), request(1), request(1)]) == [second] * 3
    assert (await host.info())["steps"] == len(world.portfolio.taken) == 2


async def test_the_same_identity_with_another_content_is_refused(world: World) -> None:
    host = world.host(world.model())
    await one(host, request(0, signal_id="mine"))
    error = await refused(host, request(1, signal_id="mine"))
    assert isinstance(error, IdentityConflict)
    await one(host, request(1))


async def test_an_earlier_instant_of_a_symbol_is_refused_and_changes_nothing(world: World) -> None:
    host = world.host(world.model())
    await one(host, request(5))
    for late in (request(4), request(5, signal_id="another at the same instant")):
        assert isinstance(await refused(host, late), LateSignal)
    await one(host, request(4, "EURUSD"))
    assert (await host.info())["steps"] == 2


async def test_equal_instants_are_taken_of_a_model_without_memory(world: World) -> None:
    host = world.host(world.model("ff", feed_forward()))
    await one(host, request(5))
    await one(host, request(5, signal_id="another at the same instant"))


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"features": {"rsi(14)": 1.0}}, "returns(1)"),
        ({"features": {"rsi(14)": math.nan, "returns(1)": 0.0}}, "rsi(14)"),
        ({"features": {"rsi(14)": 1.0, "returns(1)": 0.0, "unused": math.inf}}, "unused"),
        ({"close": -1.0}, "close_price"),
        ({"close": math.nan}, "close_price"),
    ],
)
async def test_a_request_that_cannot_be_is_refused_beside_one_that_can(
    world: World, members: dict[str, Any], field: str
) -> None:
    host = world.host(world.model())
    good, bad = await host.generate([request(0, "EURUSD"), request(0, **members)])
    assert isinstance(good, ModelSignal)
    assert isinstance(bad, InvalidField)
    assert field in bad.fields["field"]
    assert isinstance(await one(host, request(0)), ModelSignal)


# State


async def test_a_gap_and_an_episode_start_reset_the_state(world: World) -> None:
    host = world.host(world.model(episode_gap="15m"))
    begun = (await one(host, request(0, "AAA"))).confidence
    for place in range(1, 4):
        await one(host, request(place, "AAA"))
    same = request(0, "AAA")
    within = await one(host, SignalRequest("AAA", BEGIN + 6 * BAR, same.close, same.features))
    beyond = await one(host, SignalRequest("AAA", BEGIN + 9 * BAR + 1, same.close, same.features))
    started = await one(
        host, SignalRequest("AAA", BEGIN + 10 * BAR, same.close, same.features, episode_start=True)
    )
    assert within.confidence != begun
    assert beyond.confidence == started.confidence == begun


@pytest.mark.slow
async def test_a_stream_killed_at_every_500th_bar_equals_one_in_one_go(tmp_path: Path) -> None:
    asked = [request(place, symbol) for place in range(2_500) for symbol in ("USDCOP", "EURUSD")]
    whole, cut = World(tmp_path / "whole"), World(tmp_path / "cut")
    host = whole.host(whole.model())
    expected = signals_of(await host.generate(asked))
    world, got = cut, []
    world.snapshot_steps = 700
    model = world.model()
    for begin in range(0, len(asked), 500):
        # The host before is not closed: its process is gone, and the next takes over; it repeats the last request.
        host = world.host(model)
        repeated = asked[max(0, begin - 2) : begin]
        got += signals_of(await host.generate([*repeated, *asked[begin : begin + 500]]))[len(repeated) :]
    assert got == expected
    assert list(cut.portfolio.taken) == list(whole.portfolio.taken)
    assert (await host.info())["steps"] == len(asked)


async def test_two_symbols_interleaved_are_each_as_alone(tmp_path: Path) -> None:
    both, alone = World(tmp_path / "both"), World(tmp_path / "alone")
    asked = [request(place, symbol) for place in range(40) for symbol in ("USDCOP", "EURUSD")]
    together = signals_of(await both.host(both.model()).generate(asked))
    host = alone.host(alone.model())
    for symbol in ("USDCOP", "EURUSD"):
        expected = [await one(host, each) for each in asked if each.symbol == symbol]
        assert [each for each in together if symbol in each[0]] == signals_of(expected)


async def test_a_second_host_takes_over_and_the_first_answers_nothing_more(world: World) -> None:
    location = world.model()
    first = world.host(location)
    await one(first, request(0))
    second = world.host(location)
    await second.follow_bars(BEGIN)
    with_state = await one(second, request(1))
    assert isinstance(await refused(first, request(1)), Fenced)
    assert world.fenced == 1
    assert await one(second, request(1)) == with_state
    assert len(world.portfolio.taken) == 2


async def test_what_was_recorded_and_not_submitted_is_submitted_at_the_restart(world: World) -> None:
    location = world.model()
    host = world.host(location)
    await one(host, request(0))
    world.portfolio.fails = True
    assert isinstance(await refused(host, request(1)), StoreUnavailable)
    assert isinstance(await refused(host, request(2)), StoreUnavailable)
    world.portfolio.fails = False
    again = world.host(location)
    await again.follow_bars(BEGIN)
    assert [each.timestamp_us for each in world.portfolio.taken.values()] == [BEGIN, BEGIN + BAR]
    assert (await again.info())[
        "steps"
    ] == 2  # a step is not taken while the one before is not in the portfolio
    assert (await one(again, request(1))).signal_id in world.portfolio.taken


async def test_what_the_portfolio_would_refuse_is_no_step_and_in_no_memory(tmp_path: Path) -> None:
    told = []
    for name in ("disturbed", "quiet"):
        world = World(tmp_path / name)
        host = world.host(world.model())
        good = [request(place) for place in range(4)]
        if name == "disturbed":
            jump = request(2, close=100.0 * 2 * MAX_JUMP)
            answers = await host.generate([good[0], good[1], jump])
            assert isinstance(answers.pop(), PriceJump)
            assert isinstance(await refused(host, jump), PriceJump)
            world.portfolio.last_us["EURUSD"] = BEGIN + BAR
            world.portfolio.last_price["EURUSD"] = 100.0
            assert isinstance(await refused(host, request(0, "EURUSD")), LateSignal)
            answers += await host.generate(good[2:])
        else:
            answers = await host.generate(good)
        assert (await host.info())["steps"] == len(world.portfolio.taken) == 4
        told.append(signals_of(answers))
    assert told[0] == told[1]


async def test_a_price_that_was_accepted_by_hand_lets_the_next_one_through(world: World) -> None:
    host = world.host(world.model())
    await one(host, request(0))
    far = request(1, close=100.0 * 2 * MAX_JUMP)
    assert isinstance(await refused(host, far), PriceJump)
    world.portfolio.last_price["USDCOP"] = far.close
    await one(host, far)


async def test_what_comes_between_the_check_and_the_portfolio_is_the_answer_again(world: World) -> None:
    host = world.host(world.model())
    asked = request(0, signal_id="mine")
    made = await one(host, asked)
    world.portfolio.taken["mine"] = replace(world.portfolio.taken["mine"], price=1.0)
    assert isinstance(await refused(host, asked), IdentityConflict)
    assert made.signal_id == "mine"


async def test_a_journal_that_failed_is_opened_anew(world: World) -> None:
    host = world.host(world.model())
    first = await one(host, request(0))
    await host.close()
    assert await one(host, request(0)) == first
    await one(host, request(1))


async def test_snapshots_bound_the_replay(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_journal, "KEPT_ANSWERS", 3)
    world.snapshot_steps = 4
    location = world.model()
    host = world.host(location)
    for place in range(10):
        await one(host, request(place))
    again = world.host(location)
    await again.follow_bars(BEGIN)
    blobs = DiskBlobs(world.folder / "store")
    assert len(blobs.list("state/model=model/snapshots/")) == 2
    assert (await again.info())["steps"] == 10
    assert isinstance(await refused(again, request(2)), LateSignal)  # its answer is kept no more
    assert signals_of([await one(again, request(9))]) == signals_of(
        [await one(world.host(location), request(9))]
    )


# Versions


async def test_a_swapped_model_speaks_and_a_roll_back_lets_the_first_go_on(world: World) -> None:
    location = world.model()
    host = world.host(location)
    await one(host, request(0))
    info = await host.load(world.model("two", recurrent(seed=7), version="2"))
    assert (info["version"], info["active"]["version"], info["before"]["version"]) == ("2", "2", "1")
    assert (await one(host, request(1))).model_version == "policy 2"
    first = info["before"]["digest"]
    for _ in range(2):  # the same call again changes nothing
        info = await host.roll_back(first)
    assert (info["active"]["version"], info["before"]["version"]) == ("1", "2")
    straight = World(world.folder / "straight")
    plain = straight.host(straight.model())
    await one(plain, request(0))
    expected = await one(plain, SignalRequest("USDCOP", BEGIN + 2 * BAR, 100.0, request(2).features))
    found = await one(host, SignalRequest("USDCOP", BEGIN + 2 * BAR, 100.0, request(2).features))
    assert found.confidence == expected.confidence  # its state is the one after its own last step


async def test_versions_and_states_outlive_the_process_and_the_folder(world: World) -> None:
    location, other = world.model(), world.model("two", recurrent(seed=7), version="2")
    host = world.host(location)
    await host.load(other)
    await one(host, request(0))
    write_model(world.folder / "two", recurrent(seed=8), version="3")  # in its place
    again = world.host(location)
    info = await again.info()
    assert (info["active"]["version"], info["before"]["version"]) == ("2", "1")
    info = await again.roll_back(info["before"]["digest"])
    assert info["active"]["version"] == "1"
    assert (await again.roll_back(info["before"]["digest"]))["active"]["version"] == "2"


async def test_another_configured_model_speaks_after_the_start_and_the_one_before_can_come_back(
    world: World,
) -> None:
    host = world.host(world.model())
    await host.follow_bars(BEGIN)
    await host.close()
    again = world.host(world.model("two", recurrent(seed=7), version="2"))
    info = await again.info()
    assert (info["active"]["version"], info["before"]["version"]) == ("2", "1")
    await again.close()
    without = world.host(None)
    assert (await without.info())["placeholder"]


async def test_a_model_in_shadow_is_compared_and_promoted_with_its_state(world: World) -> None:
    host = world.host(world.model())
    other = world.model("two", recurrent(seed=7), version="2")
    await host.shadow(other)
    for place in range(20):
        assert (await one(host, request(place))).model_version == "policy 1"
    shadow = (await host.info())["shadow"]
    assert (shadow["version"], shadow["steps"], shadow["failed"]) == ("2", 20, 0)
    assert 0 < shadow["differs"] <= 20
    assert 0.0 < shadow["mean_difference"] < 1.0
    again = world.host(str(world.folder / "lstm"))
    assert (await again.info())["shadow"] | {"step_ms": shadow["step_ms"]} == shadow
    for _ in range(2):
        assert (await again.promote(shadow["digest"]))["shadow"] is None
    promoted = await one(again, request(20))
    alone = World(world.folder / "alone")
    straight = alone.host(alone.model("two", recurrent(seed=7), version="2"))
    expected = [await one(straight, request(place)) for place in range(21)]
    assert promoted.model_version == "policy 2"
    assert promoted.confidence == expected[-1].confidence


async def test_a_shadow_that_lacks_a_feature_fails_alone(world: World) -> None:
    host = world.host(world.model())
    await host.shadow(world.model("two", recurrent(), version="2", features=["other", "returns(1)", "close"]))
    await one(host, request(0))
    info = await host.info()
    assert (info["shadow"]["steps"], info["shadow"]["failed"]) == (0, 1)
    assert info["optional_features"] == ["other"]
    assert (await host.shadow(None))["shadow"] is None


async def test_a_shadow_that_fails_on_some_numbers_fails_alone(world: World) -> None:
    host = world.host(world.model())
    await host.shadow(world.model("two", of_numbers("fails"), version="2"))
    assert (await one(host, request(0, close=20_000.0))).model_version == "policy 1"
    await one(host, request(1))
    shadow = (await host.info())["shadow"]
    assert (shadow["steps"], shadow["failed"]) == (1, 1)


async def test_a_bad_model_is_refused_and_what_spoke_goes_on(world: World) -> None:
    host = world.host(world.model())
    bad = world.model("bad", feed_forward(features=5))
    for change in (host.load, host.shadow):
        with pytest.raises(ModelRefused, match=r"takes 5 features; its card names 3"):
            await change(bad)
    assert (await one(host, request(0))).model_version == "policy 1"


async def test_a_bad_model_at_the_start_is_told_and_nothing_speaks_in_its_place(world: World) -> None:
    host = world.host(world.model("bad", feed_forward(features=5)))
    info = await host.info()
    assert not info["speaks"]
    assert not info["placeholder"]
    assert "takes 5 features" in info["trouble"]
    error = await refused(host, request(0))
    assert isinstance(error, ModelUnavailable)
    assert "takes 5 features" in str(error)
    await host.load(world.model())
    assert (await one(host, request(0))).model_version == "policy 1"


async def test_without_onnx_runtime_a_model_says_what_to_install_and_the_placeholder_needs_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    error = await refused(world.host(world.model()), request(0))
    assert isinstance(error, ModelUnavailable)
    assert "pip install 'raysignal[inference]'" in str(error)
    other = World(world.folder / "other")
    assert (await one(other.host(), request(0))).placeholder


async def test_a_bad_model_in_the_place_of_a_good_one_is_told_and_the_good_one_goes_on(world: World) -> None:
    location = world.model()
    await world.host(location).follow_bars(BEGIN)
    world.model("lstm", feed_forward(features=5))
    again = world.host(location)
    assert (await one(again, request(0))).model_version == "policy 1"
    assert "takes 5 features" in (await again.info())["trouble"]


async def test_promote_and_roll_back_say_what_is_missing(world: World) -> None:
    host = world.host(world.model())
    with pytest.raises(Conflict, match="is not in shadow: there is none"):
        await host.promote("0" * 64)
    with pytest.raises(Conflict, match="is not the one that spoke before: there is none"):
        await host.roll_back("0" * 64)
    with pytest.raises(Conflict, match="speaks already"):
        await host.shadow(str(world.folder / "lstm"))


async def test_requests_beside_a_swap_are_answered_by_one_model_or_the_other(world: World) -> None:
    host = world.host(world.model())
    other = world.model("two", recurrent(seed=7), version="2")
    asked = [host.generate([request(0, symbol)]) for symbol in "ABCDEFGH"]
    answers, _ = await asyncio.gather(asyncio.gather(*asked), host.load(other))
    assert {each[0].model_version for each in answers if isinstance(each[0], ModelSignal)} <= {
        "policy 1",
        "policy 2",
    }
    assert (await host.statistics())["counts"]["answered"] == 8
