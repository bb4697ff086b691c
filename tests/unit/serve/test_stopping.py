import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from raysignal.engine.core.errors import StoreUnavailable
from raysignal.serve import shutdown
from raysignal.serve.shutdown import SAME_PRESS_S, SIGNALS, ShutdownSignal


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stop(clock: Clock) -> Iterator[ShutdownSignal]:
    with ShutdownSignal(clock) as stop:
        yield stop


def tell(number: signal.Signals = signal.SIGINT) -> None:
    signal.raise_signal(number)


def told_and_went_on(number: signal.Signals) -> None:
    tell(number)
    pytest.fail("it went on")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_disturbs_nothing_until_somebody_looks(
    stop: ShutdownSignal, number: signal.Signals
) -> None:
    stop.check()
    tell(number)
    assert stop.number == number
    with pytest.raises(KeyboardInterrupt):
        stop.check()
    stop.wait()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_interrupts_a_section_that_allows_it(stop: ShutdownSignal, number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), stop.interruptible():
        told_and_went_on(number)
    assert stop.number == number


def test_a_signal_that_came_before_a_section_keeps_it_from_beginning(stop: ShutdownSignal) -> None:
    tell()
    with pytest.raises(KeyboardInterrupt), stop.interruptible():
        pytest.fail("it began")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_whose_exception_is_lost_in_a_finaliser_is_raised_at_the_end_of_the_section(
    stop: ShutdownSignal,
) -> None:
    class Finalised:
        def __del__(self) -> None:
            tell()

    went_on = []
    with pytest.raises(KeyboardInterrupt), stop.interruptible():
        went_on.append(Finalised() is not None)
    assert went_on


def test_a_failure_of_the_section_is_not_hidden_by_a_signal(stop: ShutdownSignal) -> None:
    def fail() -> None:
        try:
            tell()
        except KeyboardInterrupt:
            raise ValueError("the section") from None

    with pytest.raises(ValueError, match="the section"), stop.interruptible():
        fail()


def test_after_a_section_signals_are_only_noted_again(stop: ShutdownSignal) -> None:
    with stop.interruptible():
        pass
    with pytest.raises(KeyboardInterrupt), stop.interruptible():
        tell()
    tell()


def test_two_signals_at_once_are_one_wish_and_a_later_one_is_in_a_hurry(
    stop: ShutdownSignal, clock: Clock
) -> None:
    tell()
    clock.now = SAME_PRESS_S
    with stop.hurriable():
        tell(signal.SIGTERM)
    assert not stop.hurried
    clock.now = SAME_PRESS_S + 0.1
    with pytest.raises(KeyboardInterrupt), stop.hurriable():
        tell(signal.SIGTERM)
    assert stop.hurried
    assert stop.number == signal.SIGINT


def test_the_first_signal_does_not_hurry_an_end_that_has_other_reasons(stop: ShutdownSignal) -> None:
    with stop.hurriable():
        tell()
    assert not stop.hurried


def test_a_handler_that_somebody_else_installs_meanwhile_is_not(stop: ShutdownSignal) -> None:
    with stop.unchallenged():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        others = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    assert signal.signal(signal.SIGUSR1, others) == signal.SIG_IGN
    tell(signal.SIGTERM)
    assert stop.number == signal.SIGTERM
    assert signal.signal.__module__ == "signal"


def test_an_abort_that_a_handler_of_compiled_code_has_set_for_later_is_called_off(
    stop: ShutdownSignal,
) -> None:
    with stop.unchallenged():
        tell(signal.SIGTERM)
        signal.alarm(100)
    assert signal.alarm(0) == 0


def test_the_handlers_of_before_are_back_afterwards() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with ShutdownSignal():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_process_that_is_about_to_exit_may_stay_deaf() -> None:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        with ShutdownSignal() as stop:
            stop.stay()
        tell(signal.SIGTERM)
        tell()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_leaving_after_sigterm_says_that_it_was_sigterm() -> None:
    with pytest.raises(SystemExit) as left, ShutdownSignal() as stop, stop.interruptible():
        tell(signal.SIGTERM)
    assert left.value.code == 128 + signal.SIGTERM
    with pytest.raises(KeyboardInterrupt), ShutdownSignal() as stop, stop.interruptible():
        tell()


def test_another_thread_has_no_handlers_and_is_never_told() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    seen = []

    def elsewhere() -> None:
        with ShutdownSignal() as stop, stop.unchallenged(), stop.interruptible():
            seen.append([signal.getsignal(number) for number in SIGNALS])

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_process_whose_parent_ignores_ctrl_c_hears_it_all_the_same() -> None:
    # As a shell does to what it starts in the background.
    program = (
        "import signal\n"
        "from raysignal.serve.shutdown import ShutdownSignal\n"
        "with ShutdownSignal() as stop:\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    print(stop.number)\n"
    )
    ended = subprocess.run(
        ["/bin/sh", "-c", 'trap "" INT; exec "$0" -c "$1"', sys.executable, program],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.stdout.strip() == "2", ended.stderr


def until_lost(what: str) -> None:
    with ShutdownSignal() as stop:
        losing = threading.Thread(target=stop.lose, args=(what,))
        losing.start()
        stop.wait()
        losing.join()
        assert stop.hurried
        with stop.interruptible():
            pytest.fail("it went on")


def test_what_everything_rests_on_is_lost_and_the_process_is_told_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutdown, "SAME_PRESS_S", 0.01)
    with pytest.raises(StoreUnavailable, match="raylet has ended"):
        until_lost("Ray's raylet has ended")


def test_where_signals_are_not_heeded_a_loss_is_only_noted(stop: ShutdownSignal) -> None:
    elsewhere = ShutdownSignal()
    elsewhere.lose("Ray's raylet has ended")
    assert (elsewhere.failure, stop.number) == ("Ray's raylet has ended", None)


def test_a_loss_after_it_was_told_to_end_is_no_failure_of_its_own(
    stop: ShutdownSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutdown, "SAME_PRESS_S", 0.01)
    tell()
    losing = threading.Thread(target=stop.lose, args=("Ray's raylet has ended",))
    losing.start()
    losing.join()
    assert (stop.lost, stop.failure, stop.number) == (True, "", signal.SIGINT)
