"""The micro-batcher over a submit function that a test lets go when it wants."""

import asyncio

import numpy as np

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import LateSignal, StoreUnavailable
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.portfolio.account import ACCOUNT_SIZE
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.receipts import PortfolioStatus, RowResult, Submission
from raysignal.serve.micro_batcher import MicroBatcher


class Desk:
    """Takes submissions and answers each when `gate` is set; keeps what it was sent."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, SignalBatch, bool]] = []
        self.gate = asyncio.Event()
        self.under_way = 0
        self.most_under_way = 0
        self.late: set[str] = set()
        self.error: Exception | None = None

    async def submit(
        self, portfolio: str, encoded: bytes, *, all_or_nothing: bool, accept_price_jump: bool, receipts: bool
    ) -> Submission:
        assert receipts
        assert not all_or_nothing
        batch = SignalBatch.decode(encoded)
        self.calls.append((portfolio, batch, accept_price_jump))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.gate.wait()
        finally:
            self.under_way -= 1
        if self.error is not None:
            raise self.error
        n = len(batch)
        ledger = Ledger(Policy())
        ledger.ensure_symbols(len(batch.symbols))
        rows, accounts = LedgerRows.empty(n), np.empty((n, ACCOUNT_SIZE))
        ledger.run(batch.timestamp_us, batch.symbol, batch.action, batch.price, rows, accounts)
        errors = {
            index: LateSignal("BTC", "then", "now")
            for index in range(n)
            if batch.signal_id[index] in self.late
        }
        taken = np.array(
            [RowResult.REFUSED if i in errors else RowResult.ACCEPTED for i in range(n)], np.int8
        )
        standing = PortfolioStatus(portfolio, Policy(), batch.symbols, n, None, 1, ledger.account.copy())
        return Submission(taken, np.arange(n), errors, standing, rows, accounts)


def a_signal(name: str, minute: int = 0) -> Signal:
    return Signal("BTC", minute * 60_000_000, Action.HOLD, 100.0, signal_id=name)


async def posted(batcher: MicroBatcher, *signals: Signal, portfolio: str = "p", accept: bool = False) -> list:
    tasks = [
        asyncio.ensure_future(batcher.post(portfolio, signal, accept_price_jump=accept)) for signal in signals
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_a_lone_signal_is_sent_at_once_and_its_receipt_comes_back() -> None:
    desk = Desk()
    desk.gate.set()
    receipt = await MicroBatcher(desk.submit).post("p", a_signal("a"), accept_price_jump=False)
    assert receipt["signal_id"] == "a"
    assert receipt["portfolio"] == "p"


async def test_what_arrives_while_a_submission_is_in_flight_joins_the_next_one() -> None:
    desk = Desk()
    batcher = MicroBatcher(desk.submit)
    first = await posted(batcher, a_signal("a", 0))
    rest = await posted(batcher, *(a_signal(name, 1 + i) for i, name in enumerate("bcd")))
    assert [len(batch) for _, batch, _ in desk.calls] == [1]
    desk.gate.set()
    answers = await asyncio.gather(*first, *rest)
    assert [answer["signal_id"] for answer in answers] == ["a", "b", "c", "d"]
    assert [len(batch) for _, batch, _ in desk.calls] == [1, 3]
    assert desk.most_under_way == 1


async def test_joined_signals_are_sent_in_time_order_and_answered_to_whom_they_belong() -> None:
    desk = Desk()
    batcher = MicroBatcher(desk.submit)
    first = await posted(batcher, a_signal("first"))
    rest = await posted(batcher, a_signal("late-comer", 9), a_signal("early", 3), a_signal("middle", 5))
    desk.gate.set()
    answers = await asyncio.gather(*first, *rest)
    assert [answer["signal_id"] for answer in answers] == ["first", "late-comer", "early", "middle"]
    assert desk.calls[1][1].signal_id.to_list() == ["early", "middle", "late-comer"]


async def test_signals_of_one_instant_keep_their_order_of_arrival() -> None:
    desk = Desk()
    batcher = MicroBatcher(desk.submit)
    first = await posted(batcher, a_signal("first"))
    rest = await posted(batcher, *(a_signal(name, 4) for name in "xyz"))
    desk.gate.set()
    await asyncio.gather(*first, *rest)
    assert desk.calls[1][1].signal_id.to_list() == ["x", "y", "z"]


async def test_one_refused_signal_disturbs_no_other() -> None:
    desk = Desk()
    desk.late = {"bad"}
    batcher = MicroBatcher(desk.submit)
    first = await posted(batcher, a_signal("first"))
    rest = await posted(batcher, a_signal("good", 1), a_signal("bad", 2), a_signal("fine", 3))
    desk.gate.set()
    answers = await asyncio.gather(*first, *rest, return_exceptions=True)
    assert isinstance(answers[2], LateSignal)
    assert [answers[i]["signal_id"] for i in (0, 1, 3)] == ["first", "good", "fine"]


async def test_a_submission_that_fails_fails_each_of_its_signals_and_the_next_one_goes_on() -> None:
    desk = Desk()
    desk.error = StoreUnavailable("no answer")
    desk.gate.set()
    batcher = MicroBatcher(desk.submit)
    answers = await asyncio.gather(
        *(batcher.post("p", a_signal(name, i), accept_price_jump=False) for i, name in enumerate("abc")),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 3
    desk.error = None
    assert (await batcher.post("p", a_signal("d"), accept_price_jump=False))["signal_id"] == "d"


async def test_signals_whose_price_jump_is_accepted_go_in_a_submission_of_their_own() -> None:
    desk = Desk()
    batcher = MicroBatcher(desk.submit)
    first = await posted(batcher, a_signal("first"))
    plain = await posted(batcher, a_signal("a", 1))
    bold = await posted(batcher, a_signal("b", 2), a_signal("c", 3), accept=True)
    again = await posted(batcher, a_signal("d", 4))
    desk.gate.set()
    await asyncio.gather(*first, *plain, *bold, *again)
    sent = [(batch.signal_id.to_list(), accept) for _, batch, accept in desk.calls]
    assert sent == [(["first"], False), (["a"], False), (["b", "c"], True), (["d"], False)]


async def test_portfolios_do_not_wait_for_each_other() -> None:
    desk = Desk()
    batcher = MicroBatcher(desk.submit)
    tasks = await posted(batcher, a_signal("a"), portfolio="one")
    tasks += await posted(batcher, a_signal("b"), portfolio="two")
    assert [portfolio for portfolio, _, _ in desk.calls] == ["one", "two"]
    desk.gate.set()
    await asyncio.gather(*tasks)


async def test_one_submission_of_a_portfolio_is_under_way_at_a_time() -> None:
    desk = Desk()
    batcher = MicroBatcher(desk.submit)
    tasks = []
    for i in range(6):
        tasks += await posted(batcher, a_signal(str(i), i))
    desk.gate.set()
    await asyncio.gather(*tasks)
    assert desk.most_under_way == 1


async def test_a_submission_holds_no_more_rows_than_allowed() -> None:
    desk = Desk()
    batcher = MicroBatcher(desk.submit, max_rows=4)
    first = await posted(batcher, a_signal("first"))
    rest = await posted(batcher, *(a_signal(str(i), i) for i in range(10)))
    desk.gate.set()
    await asyncio.gather(*first, *rest)
    assert [len(batch) for _, batch, _ in desk.calls] == [1, 4, 4, 2]


async def test_a_caller_who_stops_waiting_takes_nothing_back() -> None:
    desk = Desk()
    batcher = MicroBatcher(desk.submit)
    first = await posted(batcher, a_signal("first"))
    gone, stays = await posted(batcher, a_signal("gone", 1), a_signal("stays", 2))
    gone.cancel()
    desk.gate.set()
    answers = await asyncio.gather(*first, stays)
    assert [answer["signal_id"] for answer in answers] == ["first", "stays"]
    assert desk.calls[1][1].signal_id.to_list() == ["gone", "stays"]
