"""Who generates signals: one model for a service, stepped in the order of requests, each step on record.

    host = ModelHost(…)
    signals = await host.generate(requests)

A batch is what waits: its requests are stepped (those of different symbols together), put on record in one commit,
given to the portfolio, and answered. Killed anywhere in between, the next host goes on from the record: a request that
is repeated is answered from it, and what the portfolio may not have been given is given to it again, which the identity
of signals makes safe.
"""

import asyncio
import math
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from raysignal.agents.inference.model_library import ModelLibrary
from raysignal.agents.inference.onnx_policy import Answer, OnnxPolicy, check_values
from raysignal.agents.inference.portfolio_rows import PortfolioPrices, PortfolioRows, SignalPortfolio
from raysignal.agents.inference.signals import portfolio_signal
from raysignal.agents.inference.step_journal import (
    ModelStep,
    ShadowStep,
    StepBook,
    StepJournal,
    Version,
    Versions,
)
from raysignal.agents.inference.values import ModelSignal, SignalMaker, SignalModel, SignalRequest
from raysignal.engine.core.errors import (
    Conflict,
    Fenced,
    IdentityConflict,
    InvalidField,
    LateSignal,
    ModelRefused,
    ModelUnavailable,
    RaysignalError,
    SettingsError,
    StoreUnavailable,
)
from raysignal.engine.core.instants import format_instant
from raysignal.engine.core.signals import Signal
from raysignal.engine.journal.blobs import BlobStore

MOST_AT_ONCE = 512
"""Requests of one batch."""
_MEASURED = 10_000
"""So many of the last latencies are told of."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Pending:
    """A request that waits since `began`, seconds of a monotonic clock."""

    request: SignalRequest
    began: float
    answer: "asyncio.Future[ModelSignal | RaysignalError]"


class ModelHost:
    """See the module. Used by one event loop; what blocks runs in threads.

    Args:
        open_journal: takes the journal over; called again after it failed.
        blobs: where the files of models are kept.
        portfolio: that signals go to.
        prices: brings bars of what it holds.
        rules: makes signals of answers.
        placeholder: speaks where no model is configured.
        configured: where the settings say that the model lies; None: nowhere.
        on_fenced: another host has taken over.
    """

    def __init__(
        self, open_journal: Callable[[], StepJournal], blobs: BlobStore, portfolio: SignalPortfolio,
        prices: PortfolioPrices, *, rules: SignalMaker, placeholder: SignalModel, configured: str | None = None,
        on_fenced: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._open_journal, self._portfolio, self._prices = open_journal, portfolio, prices
        self._rules, self._placeholder, self._configured = rules, placeholder, configured
        self._on_fenced = on_fenced
        self._library = ModelLibrary(blobs)
        self._journal: StepJournal | None = None
        self._refused: str | None = None  # why the configured model is not used
        self._trouble: str | None = None  # why no model speaks
        self._lock = asyncio.Lock()  # steps and changes of versions, one after another
        self._opening = asyncio.Lock()
        self._pending: deque[_Pending] = deque()
        self._work: asyncio.Task[None] | None = None
        self._counts: Counter[str] = Counter()
        self._latency_ms: deque[float] = deque(maxlen=_MEASURED)
        self._inference_ms: deque[float] = deque(maxlen=_MEASURED)

    # Signals

    async def generate(self, requests: Sequence[SignalRequest]) -> list[ModelSignal | RaysignalError]:
        """A signal of each request, or why there is none; what is answered is on record and in the portfolio."""
        loop, began = asyncio.get_running_loop(), time.perf_counter()
        pending = [_Pending(request, began, loop.create_future()) for request in requests]
        self._pending.extend(pending)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._answer_pending())
        answers = [await each.answer for each in pending]
        for answer in answers:
            self._counts[type(answer).__name__ if isinstance(answer, RaysignalError) else "answered"] += 1
        self._latency_ms.extend([(time.perf_counter() - began) * 1e3] * len(answers))
        return answers

    async def _answer_pending(self) -> None:
        while self._pending:
            batch = [self._pending.popleft() for _ in range(min(len(self._pending), MOST_AT_ONCE))]
            try:
                answers = await self._answers(batch)
            except RaysignalError as error:
                answers = [error] * len(batch)
            except Exception as error:  # noqa: BLE001 - a defect: whoever waits learns of it
                for each in [*batch, *self._pending]:
                    if not each.answer.done():
                        each.answer.set_exception(error)
                self._pending.clear()
                return
            for each, answer in zip(batch, answers, strict=True):
                if not each.answer.done():
                    each.answer.set_result(answer)

    async def _answers(self, batch: Sequence[_Pending]) -> list[ModelSignal | RaysignalError]:
        async with self._lock:
            journal = await self._opened()
            if self._trouble is not None:
                raise ModelUnavailable(f"no signal is generated: {self._trouble}")
            await self._submit_waiting(journal)
            rows = await self._prices.rows_for([each.request for each in batch], self._bar_us(journal))
            found = await self._working(lambda: self._stepped(journal, batch, rows))
            told = await self._submit_waiting(journal, rows)
            # What was asked for again is given to the portfolio again: what that says is the answer again.
            steps = {each.signal.signal_id: each for each in found if isinstance(each, ModelStep)}
            told |= await self._give([step for name, step in steps.items() if name not in told])
        return [
            each if isinstance(each, RaysignalError) else told[each.signal.signal_id] or each.signal
            for each in found
        ]

    async def follow_bars(self, now_us: int) -> None:
        """Give the portfolio the bars of what it holds that have ended, so that stops and targets are met."""
        async with self._lock:
            journal = await self._opened()
            await self._submit_waiting(journal)
            await self._prices.follow(now_us, self._bar_us(journal))

    async def _submit_waiting(
        self, journal: StepJournal, rows: PortfolioRows | None = None
    ) -> dict[str, RaysignalError | None]:
        """Give the portfolio what it may not have been given; by identity, why it refuses a signal.

        Args:
            journal: whose book knows what waits.
            rows: the bars before it, where it was checked with them; None: it was on record already.
        """
        waiting = journal.book.waiting
        if waiting and rows is None:
            rows = await self._prices.rows_for([step.request for step in waiting], self._bar_us(journal))
            for step in waiting:
                rows.refusal(step.request.symbol, step.request.at_us, step.request.close)
                rows.note(step.request.symbol, step.request.at_us, step.request.close)
        told = await self._give(waiting, () if rows is None else rows.prices)
        journal.book.apply_submitted(journal.book.count)
        return told

    async def _give(
        self, steps: Sequence[ModelStep], prices: Sequence[Signal] = ()
    ) -> dict[str, RaysignalError | None]:
        if not (steps or prices):
            return {}
        # Of one instant the bar is first: what is made at its end is done after it.
        signals = [portfolio_signal(step.signal, step.request.features) for step in steps]
        refused = await self._portfolio.submit([*prices, *signals])
        errors = refused[len(prices) :]
        return {step.signal.signal_id: error for step, error in zip(steps, errors, strict=True)}

    def _bar_us(self, journal: StepJournal) -> int | None:
        """The length of the bars of the model that speaks; None: it names none."""
        model = None if self._trouble else self._active(journal.book)[0]
        return model.card.bar_us if isinstance(model, OnnxPolicy) else None

    # Steps

    def _stepped(
        self, journal: StepJournal, batch: Sequence[_Pending], rows: PortfolioRows
    ) -> list[ModelStep | RaysignalError]:
        """The step of each request, on record; one symbol's in order, those of several symbols together."""
        found: dict[int, ModelStep | RaysignalError] = {}
        new: list[ModelStep] = []
        rest = list(range(len(batch)))
        while rest:
            turn = _first_of_each(batch, rest)
            stepped = self._turn(journal.book, [batch[place] for place in turn], rows, new)
            found.update(zip(turn, stepped, strict=True))
            rest = [place for place in rest if place not in found]
        if new:
            journal.write_steps(new)
        return [found[place] for place in range(len(batch))]

    def _turn(
        self, book: StepBook, batch: Sequence[_Pending], rows: PortfolioRows, new: list[ModelStep]
    ) -> list[ModelStep | RaysignalError]:
        """The step of each request, no two of one symbol; those that were not on record are added to `new`."""
        model, digest = self._active(book)
        requests = [_identified(digest, each.request) for each in batch]
        found = [_known(book, model, request, rows) for request in requests]
        fresh = [place for place, each in enumerate(found) if each is None]
        if not fresh:
            return [each for each in found if each is not None]
        asked = [requests[place] for place in fresh]
        began = time.perf_counter()
        answers = _answers_of(book, model, digest, asked)
        self._inference_ms.append((time.perf_counter() - began) * 1e3)
        beside = self._beside(book, asked)
        for place, request, answer, shadow in zip(fresh, asked, answers, beside, strict=True):
            if isinstance(answer, RaysignalError):
                found[place] = answer
                continue
            latency_ms = (time.perf_counter() - batch[place].began) * 1e3
            made = replace(self._rules(request, answer[0], model), latency_ms=latency_ms)
            step = ModelStep(request, digest, *answer, made, shadow)
            book.apply_step(step)
            rows.note(request.symbol, request.at_us, request.close)
            new.append(step)
            found[place] = step
        return [each for each in found if each is not None]

    def _active(self, book: StepBook) -> tuple[SignalModel, str]:
        digest = book.versions.active.digest if book.versions.active is not None else ""
        return (self._library.model(digest) if digest else self._placeholder), digest

    def _beside(self, book: StepBook, requests: Sequence[SignalRequest]) -> Sequence[ShadowStep | None]:
        """What the model in shadow makes of requests."""
        version = book.versions.shadow
        if version is None:
            return [None] * len(requests)
        answers = _answers_of(book, self._library.model(version.digest), version.digest, requests)
        return [
            ShadowStep(version.digest, None, None)
            if isinstance(answer, RaysignalError)
            else ShadowStep(version.digest, *answer)
            for answer in answers
        ]

    # Versions

    async def load(self, location: str) -> dict[str, Any]:
        """Let another model speak, once it has passed every check; `info` then. `roll_back` undoes it.

        Raises:
            ModelRefused: why it cannot be used; nothing has changed.
        """
        version = await self._taken_in(location)
        async with self._lock:
            held = (await self._opened()).book.versions
            shadow = None if _same(held.shadow, version) else held.shadow
            if not _same(held.active, version):
                await self._change(Versions(version, held.active, shadow, held.configured))
            self._trouble = None
        return await self.info()

    async def shadow(self, location: str | None) -> dict[str, Any]:
        """Step another model beside the one that speaks; None: none any more. `info` then; raises as `load`."""
        version = None if location is None else await self._taken_in(location)
        async with self._lock:
            held = (await self._opened()).book.versions
            if version is not None and _same(held.active, version):
                raise Conflict(f"the model {location} speaks already; expected another to run in shadow")
            await self._change(Versions(held.active, held.before, version, held.configured))
        return await self.info()

    async def promote(self, digest: str) -> dict[str, Any]:
        """Let the model in shadow speak, with the state that it has; `info` then. `roll_back` undoes it.

        Args:
            digest: of the model, so that the same call again changes nothing.

        Raises:
            Conflict: it is not in shadow, and does not speak.
        """
        async with self._lock:
            held = (await self._opened()).book.versions
            if held.active is None or held.active.digest != digest:
                if held.shadow is None or held.shadow.digest != digest:
                    raise _not_there("in shadow", held.shadow, digest)
                await self._change(Versions(held.shadow, held.active, None, held.configured))
                self._trouble = None
        return await self.info()

    async def roll_back(self, digest: str) -> dict[str, Any]:
        """Let the model speak again that spoke before; `info` then.

        Args:
            digest: of the model, so that the same call again changes nothing; empty: the placeholder.

        Raises:
            Conflict: another one spoke before, or none.
            ModelRefused: its files in the store cannot be used; nothing has changed.
        """
        async with self._lock:
            held = (await self._opened()).book.versions
            if held.active is None or held.active.digest != digest:
                if held.before is None or held.before.digest != digest:
                    raise _not_there("the one that spoke before", held.before, digest)
                await self._change(Versions(held.before, held.active, held.shadow, held.configured))
                self._trouble = None
        return await self.info()

    async def info(self) -> dict[str, Any]:
        """Which models there are, what they need, and what is wrong, in plain values."""
        journal = await self._opened()
        held, counted = journal.book.versions, journal.book.shadow
        shadow = self._library.described(held.shadow)
        if shadow is not None:
            shadow |= {
                "steps": counted.steps, "differs": counted.differs, "failed": counted.failed,
                "mean_difference": counted.total / counted.steps if counted.steps else None,
            }  # fmt: skip
        model = None if self._trouble else self._active(journal.book)[0]
        return {
            "placeholder": model is not None and model.placeholder,
            "trouble": self._trouble or self._refused,
            "speaks": model is not None,
            "name": None if model is None else model.name,
            "version": None if model is None else model.version,
            "features": [] if model is None else list(model.features),
            "optional_features": [] if model is None else self._optional(model, held.shadow),
            "configured": self._configured,
            "active": self._library.described(held.active), "before": self._library.described(held.before),
            "shadow": shadow,
            "steps": journal.book.count, "symbols": len(journal.book.last_us), "epoch": journal.epoch,
            "pid": os.getpid(),
        }  # fmt: skip

    def _optional(self, model: SignalModel, shadow: Version | None) -> list[str]:
        """What the model can do without, and what the one in shadow needs beside."""
        beside = () if shadow is None else self._library.model(shadow.digest).features
        names = dict.fromkeys([*model.optional_features, *beside])
        return [name for name in names if name not in model.features]

    async def statistics(self) -> dict[str, Any]:
        """All signals on record by action; since this host began requests by what became of them, and milliseconds."""
        actions = (await self._opened()).book.actions
        return {
            "signals": {name: actions[name] for name in ("BUY", "SELL", "HOLD")},
            "counts": dict(sorted(self._counts.items())),
            "latency_ms": _quantiles(self._latency_ms),
            "inference_ms": _quantiles(self._inference_ms),
        }

    async def close(self) -> None:
        """Answer what waits, and let go of the journal."""
        if self._work is not None:
            await asyncio.gather(self._work, return_exceptions=True)
        self._let_go()

    async def _taken_in(self, location: str) -> Version:
        """A model that has passed every check; what cannot be fetched now is refused, and a person tries again."""
        try:
            return await asyncio.to_thread(self._library.take_in, location)
        except StoreUnavailable as error:
            raise ModelRefused(
                location, f"it cannot be fetched, or not be kept in the store: {error}"
            ) from error

    async def _change(self, versions: Versions) -> None:
        """Have the models of these versions at hand, and put them on record."""
        named = (versions.active, versions.before, versions.shadow)
        for version in (versions.active, versions.shadow):
            await asyncio.to_thread(self._library.have, version)
        journal = await self._opened()
        await self._working(lambda: journal.write_versions(versions))
        self._library.keep(named)

    # The journal

    async def _opened(self) -> StepJournal:
        async with self._opening:
            if self._journal is None:
                self._journal = await asyncio.to_thread(self._open)
            return self._journal

    def _open(self) -> StepJournal:
        """The journal, and the models that it and the settings name."""
        journal = self._open_journal()
        try:
            self._trouble = self._refused = None
            self._follow_settings(journal)
            held = journal.book.versions
            try:
                self._library.have(held.active)
            except (ModelRefused, SettingsError) as error:
                self._trouble = str(error)
            try:
                self._library.have(held.shadow)
            except (ModelRefused, SettingsError):
                journal.write_versions(Versions(held.active, held.before, None, held.configured))
        except BaseException:
            journal.close()
            raise
        return journal

    def _follow_settings(self, journal: StepJournal) -> None:
        """Let the configured model speak if it is another, or other files lie there, than when it was last followed.

        One that cannot be used changes nothing where another model speaks. Where none does, no signal is generated: a
        placeholder in the place of a model would be taken for it.
        """
        held = journal.book.versions
        try:
            wanted = Version() if self._configured is None else self._library.take_in(self._configured)
        except (ModelRefused, SettingsError, StoreUnavailable) as error:
            speaks = held.active is not None and bool(held.active.digest)
            if isinstance(error, StoreUnavailable) and not speaks:
                raise
            self._refused = str(error)
            self._trouble = None if speaks else self._refused
            return
        if held.configured != wanted:
            changed = not _same(held.active, wanted)
            active, before = (wanted, held.active) if changed else (held.active, held.before)
            shadow = None if _same(held.shadow, wanted) else held.shadow
            journal.write_versions(Versions(active, before, shadow, wanted))

    async def _working(self, work: Callable[[], T]) -> T:
        """What writes to the journal, in a thread. Where it fails, the next call opens the journal anew."""
        try:
            return await asyncio.to_thread(work)
        except BaseException as error:
            self._let_go()
            if isinstance(error, Fenced):
                self._on_fenced()
            raise

    def _let_go(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None


def _first_of_each(batch: Sequence[_Pending], rest: Sequence[int]) -> list[int]:
    """The places of requests of which no earlier one has the symbol or the identity."""
    turn, seen = [], set[str]()
    for place in rest:
        request = batch[place].request
        names = {f"symbol {request.symbol}", f"id {request.signal_id}"} - {"id "}
        if not names & seen:
            turn.append(place)
        seen |= names
    return turn


def _identified(digest: str, request: SignalRequest) -> SignalRequest:
    """The request with its identity."""
    if request.signal_id:
        return request
    model = digest[:16] or "placeholder"
    return replace(request, signal_id=f"{model}:{request.symbol}:{request.at_us}")


def _known(
    book: StepBook, model: SignalModel, request: SignalRequest, rows: PortfolioRows
) -> ModelStep | RaysignalError | None:
    """The step of a request that is on record, or why there cannot be one; None: it is new."""
    try:
        check_values(request.features)
    except InvalidField as error:
        return error
    if not (math.isfinite(request.close) and request.close > 0.0):
        return InvalidField("close_price", request.close, "a finite number above 0")
    held = book.recent.get(request.signal_id)
    if held is not None:
        same = replace(held.request, known_at_us={}) == replace(request, known_at_us={})
        return held if same else IdentityConflict(request.signal_id)
    last_us = book.last_us.get(request.symbol, -1)
    at_last = request.at_us == last_us and isinstance(model, OnnxPolicy) and model.has_state
    if request.at_us < last_us or at_last:
        remark = "A model with a memory takes one step an instant" if at_last else ""
        return LateSignal(
            request.symbol, format_instant(request.at_us), format_instant(last_us), remark=remark
        )
    # What its portfolio would refuse is not stepped on: a price that is wrong stays out of a model's memory.
    return rows.refusal(request.symbol, request.at_us, request.close)


def _answers_of(
    book: StepBook, model: SignalModel, digest: str, requests: Sequence[SignalRequest]
) -> list[Answer]:
    """A model's steps of requests for different symbols."""
    if isinstance(model, OnnxPolicy):
        gap_us = model.card.episode_gap_us
        return model.steps(requests, [book.state(digest, request, gap_us) for request in requests])
    answers: list[Answer] = []
    for request in requests:
        try:
            answers.append(model.step(request, None))
        except RaysignalError as error:
            answers.append(error)
    return answers


def _not_there(place: str, held: Version | None, digest: str) -> Conflict:
    if held is None:
        there = "there is none"
    else:
        there = (
            f"that is {held.digest or 'the placeholder, whose digest is null'} ({held.name} {held.version})"
        )
    return Conflict(
        f"the model {digest or 'PLACEHOLDER'} is not {place}: {there}",
        field="digest", value=digest or None, expected=None if held is None else held.digest,
    )  # fmt: skip


def _same(one: Version | None, other: Version) -> bool:
    """Whether both are the same model, wherever it came from."""
    return one is not None and one.digest == other.digest


def _quantiles(values: Iterable[float]) -> dict[str, float | int | None]:
    found = np.fromiter(values, np.float64)
    middle, high = np.quantile(found, (0.5, 0.99)) if len(found) else (None, None)
    return {
        "n": len(found), "p50": None if middle is None else float(middle), "p99": None if high is None else float(high),
    }  # fmt: skip
