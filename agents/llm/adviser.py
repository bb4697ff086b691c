"""The adviser: a prompt context in, an opinion out, within the deadline and whatever the model does.

The signal stands unless a model's answer is whole, allowed and grounded. Every failure of the model is an
opinion with its own reason; what raises is a mistake of ours (a context that is none, a replay without a record).
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

from raysignal.agents.llm.budget import Gatekeeper
from raysignal.agents.llm.caller import NOT_ASKED, Circuit, ModelCaller, not_asked
from raysignal.agents.llm.calls import ModelAnswer, ModelRequest, Outcome
from raysignal.agents.llm.cassette import Cassette, CassetteEntry
from raysignal.agents.llm.models import LanguageModel
from raysignal.agents.llm.prompt_context import PromptContext
from raysignal.agents.llm.prompting import Prompt, PromptFile, clean, prompt_for
from raysignal.agents.verdicts import Reason, Verdict

RATIONALE_LIMIT = 400
CUT_OFF_IN_A_ROW = 3
"""So many answers in a row that are cut off, and the cap is too small."""


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

    @property
    def asked(self) -> bool:
        """Whether there was a call: not where budget, rate, deadline or a server that brings nothing forbade it."""
        return self.reason is Reason.MODEL_ANSWERED or not self.rationale.startswith(NOT_ASKED)

    def encoded(self) -> bytes:
        """The opinion as bytes, the same whether it was asked for or replayed."""
        fields = asdict(self)
        del fields["replayed"]
        return json.dumps(fields, sort_keys=True).encode()


class Adviser:
    """Asks a model about signals of the grey zone.

    Args:
        model: who is asked.
        cassette: where calls are recorded, or replayed from.
        gate: how many calls may be made and how fast: `budget.Allowance`, or the cluster's.
        deadline_s: total seconds of one `ask`, waiting included; at most half of it is spent waiting.
        concurrency: calls at once.
        prompt: what is asked; None: the current prompt file for such a question.
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
        self._caller: ModelCaller[ModelRequest, ModelAnswer] = ModelCaller(
            model, gate, deadline_s=deadline_s, concurrency=concurrency, circuit=circuit, now_s=now_s
        )
        self._model, self._cassette, self._prompt = model, cassette, prompt
        self._concurrency = concurrency
        self.counts: Counter[Reason] = Counter()
        self._cut_off = 0

    @property
    def trouble(self) -> str:
        """What its operator has to change before answers can be used; empty: nothing."""
        if self._caller.trouble:
            return self._caller.trouble
        if self._cut_off < CUT_OFF_IN_A_ROW:
            return ""
        most = self._model.settings.max_output_tokens
        return (
            f"the last {self._cut_off} answers were cut off: max_output_tokens is {most}, thinking included; expected "
            "more, or a lower thinking_level"
        )

    async def ask(self, context: PromptContext, *, patience_s: float = 0.0) -> Opinion:
        """The opinion about one signal.

        Args:
            context: what the model is told.
            patience_s: seconds to wait for a turn before the deadline begins; for batches, where nobody waits.

        Raises:
            CassetteMiss: in a replay.
        """
        prompt = (self._prompt or prompt_for(context)).render(context)
        request = self._model.settings.request(prompt)
        take = self._cassette.find(request)
        replayed = take is not None
        if take is None:
            take = await self._cassette.take(request, lambda: self._timed(request, prompt, patience_s))
        opinion = opinion_of(context, prompt, request, take, replayed=replayed)
        self.counts[opinion.reason] += 1
        if opinion.reason is Reason.MODEL_TRUNCATED:
            self._cut_off += 1
        elif opinion.tokens_out:  # not one that was never asked for
            self._cut_off = 0
        return opinion

    async def ask_all(self, contexts: Sequence[PromptContext], *, patience_s: float = 0.0) -> list[Opinion]:
        """The opinions about several signals, in their order; each has a deadline of its own, from its turn on."""
        opinions: dict[int, Opinion] = {}
        waiting = iter(enumerate(contexts))

        async def worker() -> None:
            for place, context in waiting:
                opinions[place] = await self.ask(context, patience_s=patience_s)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._concurrency, len(contexts))):
                    group.create_task(worker())
        except ExceptionGroup as several:
            raise several.exceptions[0] from several
        return [opinions[place] for place in range(len(contexts))]

    async def aclose(self) -> None:
        """Wait for the calls under way, then let go of connections and the cassette."""
        await self._cassette.settle()
        await self._model.aclose()
        self._cassette.close()

    async def _timed(self, request: ModelRequest, prompt: Prompt, patience_s: float) -> CassetteEntry:
        began = self._caller.now_s()
        if not prompt.labels:
            none = "there is no precedent that an answer could rest on"
            outcome: Outcome = not_asked(Reason.MODEL_UNGROUNDED, none)
        else:
            outcome = await self._caller.call(request, patience_s=patience_s)
        return CassetteEntry(outcome, self._model.settings.usd(outcome.usage), self._caller.now_s() - began)


def opinion_of(
    context: PromptContext, prompt: Prompt, request: ModelRequest, take: CassetteEntry, *, replayed: bool
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
    if verdict not in context.allowed:
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
