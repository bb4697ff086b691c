"""Asks a language model what a decision path leaves open, and gives the path its answers."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from raysignal.agents.llm.adviser import Adviser
from raysignal.agents.verdicts import Reason
from raysignal.engine.core.events import DecisionAnswer, DecisionQuestion
from raysignal.engine.pipeline.driver import PathDriver
from raysignal.runtime.pipeline import Pipeline
from raysignal.runtime.pipeline_answers import MemoryAnswers, nobodys
from raysignal.runtime.pipeline_session import Both

Advise = Callable[[], Coroutine[Any, Any, tuple[Adviser | None, str]]]
"""Makes who asks the model; None, and why, if nobody can."""


class ModelAsker:
    """Asks a model what a path leaves open, and tells the path its answers. An `EventLog`, which hears of questions.

    Whatever becomes of a question, it is answered once by its deadline, unless a later one has taken its place.

    Args:
        answers: of the path.
        take: gives the path an input, or sees to it that it is given.
        adviser: who asks the model; None: nobody can, because of `why_off`.
        now_us: the market's clock; None: an answer is given at the instant of its question, as in a backtest.
    """

    def __init__(
        self, answers: MemoryAnswers, take: Callable[[DecisionAnswer], Awaitable[None]],
        adviser: Adviser | None, why_off: str, *, now_us: Callable[[], int] | None,
    ) -> None:  # fmt: skip
        self._answers = answers
        self._take = take
        self._adviser = adviser
        self._why_off = why_off
        self._now_us = now_us
        self._asked: asyncio.Queue[DecisionQuestion] = asyncio.Queue()

    def input(self, event: Any) -> None:
        """See `engine.pipeline.driver.EventLog`."""

    def output(self, event: Any) -> None:
        """See `engine.pipeline.driver.EventLog`."""
        if isinstance(event, DecisionQuestion) and self._answers.is_open(event.number):
            self._asked.put_nowait(event)

    async def run(self) -> None:
        """Answer until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._answer(await self._asked.get()))

    async def answer_all(self) -> None:
        """Answer what is open now, one after the other."""
        while not self._asked.empty():
            await self._answer(self._asked.get_nowait())

    async def _answer(self, question: DecisionQuestion) -> None:
        if not self._answers.is_open(question.number):
            return
        brief = self._answers.reviews[question.number].brief
        answer: DecisionAnswer | None = None
        left_s = (question.deadline_us - self._at_us(question)) / 1e6
        if self._adviser is None:
            answer = nobodys(question, self._at_us(question), Reason.MODEL_UNAVAILABLE.value, self._why_off)
        elif left_s > 0:
            try:
                async with asyncio.timeout(left_s):
                    opinion = await self._adviser.ask(brief)
            except TimeoutError:
                pass
            else:
                answer = self._answers.answer(question, opinion, self._at_us(question))
        if not self._answers.is_open(question.number):
            return  # a later one has taken its place
        why = "the model's answer was not there by the deadline"
        await self._take(answer or nobodys(question, self._at_us(question), Reason.MODEL_TIMEOUT.value, why))

    def _at_us(self, question: DecisionQuestion) -> int:
        return question.at_us if self._now_us is None else max(self._now_us(), question.at_us)


@contextmanager
def backtest_asker(advise: Advise, pipeline: Pipeline, driver: PathDriver) -> Iterator[Callable[[], None]]:
    """What a backtest calls after each input: a model answers what is open, at the instant of the question."""
    answers = pipeline.answers
    if answers is None or not answers.asks:
        yield _nothing
        return
    with asyncio.Runner() as runner:
        adviser, why_off = runner.run(advise())

        async def take(answer: DecisionAnswer) -> None:
            driver.take(answer)

        asker = ModelAsker(answers, take, adviser, why_off, now_us=None)
        driver.log = Both(driver.log, asker)

        def answer() -> None:
            if answers.reviews:
                runner.run(asker.answer_all())

        try:
            yield answer
        finally:
            if adviser is not None:
                runner.run(adviser.aclose())


def _nothing() -> None:
    """Nobody is asked."""
