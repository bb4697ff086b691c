"""The adviser: a brief in, an opinion out, within the deadline and whatever the model does.

The signal stands unless a model's answer is whole, allowed and grounded. Every failure of the model is an
opinion with its own reason; what raises is a mistake of ours (a brief that is none, a replay without a record).
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

from raysignal.agents.llm.budget import Gatekeeper, pass_through
from raysignal.agents.llm.calls import Failure, ModelAnswer, ModelRequest, Outcome, Usage
from raysignal.agents.llm.cassette import Cassette, CassetteEntry
from raysignal.agents.llm.models import LanguageModel
from raysignal.agents.llm.prompt_context import PromptContext
from raysignal.agents.llm.prompting import Prompt, PromptFile, clean, load_prompt
from raysignal.agents.verdicts import Reason, Verdict
from raysignal.engine.core.errors import InvalidField

RATIONALE_LIMIT = 400
MARGIN_S = 0.05
"""Of the deadline, kept for putting the outcome on record."""
CUT_OFF_IN_A_ROW = 3
"""So many answers in a row that are cut off, and the cap is too small."""
CALL_SHARE = 0.5
"""Of the deadline, kept for the call: who had to wait for longer than the rest does not ask any more."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the model says about one signal; with any reason but MODEL_ANSWERED the signal stands.

    Attributes:
        verdict: APPROVE when there is no valid answer.
        reason: why it is what it is.
        confidence: 0 to 1, as the model says; None: it did not answer.
        cited: ids of the precedents it rests on.
        rationale: the model's words, cleaned and capped; without an answer, what went wrong.
        request_hash: of the question, as in the cassette.
        usd: what the call cost; None: not known.
        tokens_in: None: not known.
        tokens_out: thinking included.
        replayed: it was on record; opinions that differ in nothing else are equal.
    """

    verdict: Verdict
    reason: Reason
    confidence: float | None
    cited: tuple[str, ...]
    rationale: str
    request_hash: str
    usd: float | None
    tokens_in: int | None
    tokens_out: int | None
    replayed: bool = field(default=False, compare=False)

    def encoded(self) -> bytes:
        """The opinion as bytes, the same whether it was asked for or replayed."""
        fields = asdict(self)
        del fields["replayed"]
        return json.dumps(fields, sort_keys=True).encode()


class Circuit:
    """Stops asking a server that does not answer, and tries it again from time to time.

    Args:
        threshold: failures in a row after which it opens; 0: it never does.
        cool_s: seconds until one call may try again.
    """

    __slots__ = ("_failures", "_last", "_opened_s", "cool_s", "threshold")

    def __init__(self, threshold: int = 3, cool_s: float = 30.0) -> None:
        self.threshold, self.cool_s = threshold, cool_s
        self._failures, self._opened_s = 0, float("-inf")
        self._last = Reason.MODEL_UNAVAILABLE

    def refusal(self, now_s: float) -> Failure | None:
        """Why nothing is asked now; None: ask. After the cooling time one caller at a time may try."""
        if not self.threshold or self._failures < self.threshold:
            return None
        if now_s - self._opened_s >= self.cool_s:
            self._opened_s = now_s
            return None
        return _not_asked(self._last, f"the last {self._failures} calls brought nothing ({self._last})")

    def saw(self, outcome: Outcome, now_s: float) -> None:
        """Learn from a call that was made."""
        if isinstance(outcome, ModelAnswer) or outcome.reason not in _DEAD:
            self._failures = 0
            return
        self._failures += 1
        self._last = outcome.reason
        if self._failures == self.threshold:
            self._opened_s = now_s


_DEAD = frozenset({Reason.MODEL_TIMEOUT, Reason.MODEL_UNAVAILABLE})


class Adviser:
    """Asks a model about signals of the grey zone.

    Args:
        model: who is asked.
        cassette: where calls are recorded, or replayed from.
        gate: how many calls may be made and how fast: `budget.Allowance`, or the cluster's.
        deadline_s: total seconds of one `ask`, waiting included; at most half of it is spent waiting.
        concurrency: calls at once.
        prompt: what is asked; None: the current prompt file.
        circuit: None: one with its defaults.
        now_s: seconds of a steady clock; None: the event loop's.

    Attributes:
        counts: opinions so far, by reason.
    """

    def __init__(
        self,
        model: LanguageModel,
        cassette: Cassette,
        gate: Gatekeeper,
        *,
        deadline_s: float = 8.0,
        concurrency: int = 8,
        prompt: PromptFile | None = None,
        circuit: Circuit | None = None,
        now_s: Callable[[], float] | None = None,
    ) -> None:
        if not deadline_s > 0:
            raise InvalidField("deadline_s", deadline_s, "a number of seconds above 0")
        if concurrency < 1:
            raise InvalidField("concurrency", concurrency, "at least 1")
        self._model, self._cassette, self._gate = model, cassette, gate
        self._deadline_s, self._concurrency = deadline_s, concurrency
        self._prompt = load_prompt() if prompt is None else prompt
        self._circuit = Circuit() if circuit is None else circuit
        self._clock = now_s
        self._turns = asyncio.Semaphore(concurrency)
        self.counts: Counter[Reason] = Counter()
        self._cut_off = 0

    @property
    def trouble(self) -> str:
        """What its operator has to change before answers can be used; empty: nothing."""
        if self._cut_off < CUT_OFF_IN_A_ROW:
            return ""
        most = self._model.settings.max_output_tokens
        return (
            f"the last {self._cut_off} answers were cut off: max_output_tokens is {most}, thinking included; expected "
            "more, or a lower thinking_level"
        )

    async def ask(self, brief: PromptContext, *, patience_s: float = 0.0) -> Opinion:
        """The opinion about one signal.

        Args:
            brief: what the model is told.
            patience_s: seconds to wait for a turn before the deadline begins; for batches, where nobody waits.

        Raises:
            CassetteMiss: in a replay.
        """
        prompt = self._prompt.render(brief)
        request = self._model.settings.request(prompt)
        take = self._cassette.find(request)
        replayed = take is not None
        if take is None:
            take = await self._cassette.take(request, lambda: self._timed(request, prompt, patience_s))
        opinion = opinion_of(brief, prompt, request, take, replayed=replayed)
        self.counts[opinion.reason] += 1
        if opinion.reason is Reason.MODEL_TRUNCATED:
            self._cut_off += 1
        elif opinion.tokens_out:  # not one that was never asked for
            self._cut_off = 0
        return opinion

    async def ask_all(self, briefs: Sequence[PromptContext], *, patience_s: float = 0.0) -> list[Opinion]:
        """The opinions about several signals, in their order; each has a deadline of its own, from its turn on."""
        opinions: dict[int, Opinion] = {}
        waiting = iter(enumerate(briefs))

        async def worker() -> None:
            for place, brief in waiting:
                opinions[place] = await self.ask(brief, patience_s=patience_s)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._concurrency, len(briefs))):
                    group.create_task(worker())
        except ExceptionGroup as several:
            raise several.exceptions[0] from several
        return [opinions[place] for place in range(len(briefs))]

    async def aclose(self) -> None:
        """Wait for the calls under way, then let go of connections and the cassette."""
        await self._cassette.settle()
        await self._model.aclose()
        self._cassette.close()

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time() if self._clock is None else self._clock()

    def _patience_s(self, until: float) -> float:
        """How long a call that must end at `until` can still wait before it begins."""
        return until - self._now_s() - CALL_SHARE * self._deadline_s

    async def _timed(self, request: ModelRequest, prompt: Prompt, patience_s: float) -> CassetteEntry:
        began = self._now_s()
        until = began + patience_s + self._deadline_s * (1.0 - min(0.5, MARGIN_S / self._deadline_s))
        if not prompt.labels:
            none = "there is no precedent that an answer could rest on"
            outcome: Outcome = _not_asked(Reason.MODEL_UNGROUNDED, none)
        else:
            outcome = await self._within(until, request)
        return CassetteEntry(outcome, self._model.settings.usd(outcome.usage), self._now_s() - began)

    async def _within(self, until: float, request: ModelRequest) -> Outcome:
        """One call, or the reason that there was none, not later than `until`."""
        try:
            async with asyncio.timeout(self._patience_s(until)):
                await self._turns.acquire()
        except TimeoutError:
            return _not_asked(Reason.MODEL_TIMEOUT, "other calls took all the time")
        try:
            return await self._admitted(until, request)
        finally:
            self._turns.release()

    async def _admitted(self, until: float, request: ModelRequest) -> Outcome:
        if (refusal := self._circuit.refusal(self._now_s())) is not None:
            return refusal
        admission = await pass_through(self._gate, self._patience_s(until), self._now_s)
        if admission.period is None:
            return _not_asked(admission.reason, admission.detail)
        left_s = until - self._now_s()
        if left_s <= 0:
            await self._gate.give_back(admission.period)
            return _not_asked(Reason.MODEL_TIMEOUT, "the turn came too late")
        outcome = await self._model.call(request, min(self._deadline_s, left_s))
        self._circuit.saw(outcome, self._now_s())
        if isinstance(outcome, Failure):
            if not outcome.sent:
                await self._gate.give_back(admission.period)
            if outcome.retry_after_s is not None:
                await self._gate.hold(outcome.retry_after_s)
        return outcome


def _not_asked(reason: Reason, why: str) -> Failure:
    return Failure(reason, f"not asked: {why}", usage=Usage(0, 0), sent=False)


def opinion_of(
    brief: PromptContext, prompt: Prompt, request: ModelRequest, take: CassetteEntry, *, replayed: bool
) -> Opinion:
    """What an outcome means for the signal: the model's verdict only if it is allowed and grounded."""
    outcome, usage = take.outcome, take.outcome.usage

    def stands(reason: Reason, detail: str) -> Opinion:
        return opinion(Verdict.APPROVE, reason, None, (), detail)

    def opinion(
        verdict: Verdict, reason: Reason, confidence: float | None, cited: tuple[str, ...], words: str
    ) -> Opinion:
        return Opinion(
            verdict, reason, confidence, cited, clean(words, RATIONALE_LIMIT), request.hash, take.usd,
            None if usage is None else usage.tokens_in, None if usage is None else usage.tokens_out, replayed,
        )  # fmt: skip

    if not isinstance(outcome, ModelAnswer):
        return stands(outcome.reason, outcome.detail)
    answer = outcome.verdict
    verdict = Verdict[answer.verdict.upper()]
    if verdict not in brief.allowed:
        return stands(
            Reason.MODEL_NOT_ALLOWED, f"answered {answer.verdict}; allowed is {', '.join(prompt.allowed)}"
        )
    unknown = [label for label in answer.evidence if label not in prompt.labels]
    if unknown or not answer.evidence:
        return stands(
            Reason.MODEL_UNGROUNDED, f"cited {unknown or 'nothing'}; shown were {list(prompt.labels)}"
        )
    cited = tuple(dict.fromkeys(prompt.labels[label] for label in answer.evidence))
    return opinion(verdict, Reason.MODEL_ANSWERED, answer.confidence, cited, answer.rationale)
