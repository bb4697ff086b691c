"""The standing arms of an experiment: what each decides about every signal of a stream, and what its portfolio
makes of that.

    baseline   approves everything
    memory     the gate, from the memory of outcomes alone
    model      the gate, and a model for what the gate leaves grey
    review     the gate, and a model for what the gate did not decide, as far as its budget goes
    random     as many overrides of each kind as `memory` made of each symbol and side, of signals drawn by lot
    shuffled   the gate on a memory whose outcomes were dealt to other signals
    canary     looks ahead: it overrules exactly where overruling will pay. It must win, else the run is blind.

On demand, because it is slow:

    chroma     the gate, from neighbours that Chroma's approximate search picks

All see the identical stream, and their portfolios trade under the identical policy.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace

import numpy as np

from raysignal.agents.labels import CategoryColumn
from raysignal.agents.llm.adviser import Adviser
from raysignal.agents.override.agent import AgentRules
from raysignal.agents.override.breaker import BreakerRules
from raysignal.agents.override.decider import DecidedSignals, Decider, PendingDecision, ask
from raysignal.agents.override.gate import REASONS
from raysignal.agents.override.outcomes import NOT_KNOWN_US, Settler
from raysignal.agents.override.ranges import numbers_by_third
from raysignal.agents.override.reviewer import ReviewRules
from raysignal.agents.override.signal_columns import texts_of
from raysignal.agents.override.situations import LONGEST_LABEL, REGIMES, Encoder
from raysignal.agents.override.texts import Embedder
from raysignal.agents.override.words import latest_rows, rows_by_word
from raysignal.agents.verdicts import Reason, decided
from raysignal.engine.core.arrays import Float64Array, Int8Array
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio.account import ACCOUNT_SIZE
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.performance import Performance
from raysignal.experiments.comparison.evaluation import Evaluation, evaluate
from raysignal.experiments.comparison.results import FILLS, Approximation, ArmResult, Kind, SignalStream
from raysignal.experiments.comparison.strata import strata_of

KINDS: dict[str, Kind] = {
    "baseline": "baseline", "memory": "memory", "model": "model", "review": "model", "random": "control",
    "shuffled": "control", "canary": "control", "chroma": "memory",
}  # fmt: skip
ON_DEMAND = ("chroma",)
"""Arms that run only where they are named."""
ARMS = tuple(name for name in KINDS if name not in ON_DEMAND)
ASKING = tuple(name for name, kind in KINDS.items() if kind == "model")
"""The arms that ask a model."""
CHUNK = 512
MOST_CATEGORIES = 12

Advance = Callable[[int], None]
"""Called with how many more signals are done."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Under which rules the arms run.

    Attributes:
        policy: of every arm's portfolio; outcomes are scored under its costs and its fill.
        rules: of the agent.
        breaker: when an agent is turned off; None: never.
        review: of the arm `review`.
        seed: of what is drawn by lot.
        embedder: of free texts; None: hashed n-grams.
    """

    policy: Policy = field(default_factory=Policy)
    rules: AgentRules = field(default_factory=AgentRules)
    breaker: BreakerRules | None = field(default_factory=BreakerRules)
    review: ReviewRules = field(default_factory=ReviewRules)
    seed: int = 0
    embedder: Embedder | None = None

    def reviewed(self, batch: SignalBatch, budget: int) -> "Trial":
        """The rules of the arm `review` on these signals: it picks so many that its calls last to the end."""
        review = replace(self.review, share=1.0)
        if budget < np.count_nonzero(batch.side):
            whole = Decider(
                self.policy, replace(self.rules, review=review), breaker=None, embedder=self.embedder
            )
            asked = sum(int(whole.begin(part).taken.questions.asked.sum()) for part in _chunks(batch))
            review = replace(review, share=min(1.0, budget / max(1, asked)))
        share = min(self.review.share, review.share)
        return replace(self, rules=replace(self.rules, review=replace(review, share=share)))

    def gated(self) -> "Trial":
        """The rules of the other arms."""
        return replace(self, rules=replace(self.rules, review=None))


@dataclass(frozen=True, slots=True)
class ArmDecisions:
    """What an arm decided: columns of n signals, as in `ArmResult`."""

    verdict: Int8Array
    by: Int8Array
    reason: Int8Array
    p_right: Float64Array
    usd: float | None = None
    calls: int = 0
    tokens: tuple[int, int] = (0, 0)
    approximation: Approximation | None = None


def stream_of(batch: SignalBatch, trial: Trial) -> SignalStream:
    """The stream as its evaluation sees it: with what every signal turned out to be worth."""
    n = len(batch)
    encoder = Encoder()
    situations = encoder.encode(batch)
    outcomes = Settler(trial.policy, trial.rules.horizon).feed(
        np.arange(n), batch.timestamp_us, encoder.codes(batch), batch.action, batch.price, batch.order_terms()
    )
    at = outcomes.ordinal
    net, gross = np.full((n, 3), np.nan), np.full((n, 3), np.nan)
    right, judged, known = np.zeros(n, np.bool_), np.zeros(n, np.bool_), np.full(n, NOT_KNOWN_US)
    net[at], gross[at], right[at], judged[at] = outcomes.net_bps, outcomes.gross_bps, outcomes.right, True
    known[at] = outcomes.known_at_us
    category, looked_at = _categories(batch), latest_rows(judged)
    return SignalStream(
        signal_id=batch.signal_id.to_list(),
        timestamp_us=batch.timestamp_us,
        symbol=batch.symbol,
        symbols=batch.symbols,
        source=batch.source,
        sources=batch.sources,
        action=batch.action,
        price=batch.price,
        terms=batch.order_terms(),
        regime=CategoryColumn(situations.regime.astype(np.int32), REGIMES),
        category=category,
        net_bps=net,
        gross_bps=gross,
        right=right,
        judged=judged,
        known_at_us=known,
        horizon=str(trial.rules.horizon),
        policy=trial.policy,
        ranges=numbers_by_third(batch.numbers),
        words=rows_by_word(texts_of(batch.take(looked_at)), looked_at, category.values()),
    )


def baseline(batch: SignalBatch) -> ArmDecisions:
    """Approve everything."""
    n = len(batch)
    reason = np.where(batch.side == 0, _code(Reason.HOLD_SIGNAL), _code(Reason.EVIDENCE_UNCLEAR))
    return ArmDecisions(_approvals(n), np.zeros(n, np.int8), reason.astype(np.int8), np.full(n, np.nan))


def gated(
    batch: SignalBatch, trial: Trial, *, shuffle: int | None = None, advance: Advance | None = None
) -> ArmDecisions:
    """The gate alone; with `shuffle`, a seed, on a memory whose outcomes were dealt anew."""
    decider = Decider(
        trial.policy, trial.rules, breaker=trial.breaker, shuffle=shuffle, embedder=trial.embedder
    )
    parts = []
    for part in _chunks(batch):
        begun = decider.begin(part)
        parts.append(_done(begun, decider.finish(begun)))
        if advance is not None:
            advance(len(part))
    return _joined(parts)


def approximated(batch: SignalBatch, trial: Trial, *, advance: Advance | None = None) -> ArmDecisions:
    """The gate on neighbours that Chroma picks, beside the gate on the memory's own, which says what they miss."""
    from raysignal.experiments.comparison.chroma_arm import (  # noqa: PLC0415 - needs chromadb
        ChromaNeighbours,
        shares_of,
    )

    parts, shares, differ = [], [], 0
    with closing(ChromaNeighbours(trial.rules.recall)) as search:
        decider = Decider(
            trial.policy, trial.rules, breaker=trial.breaker, search=search, embedder=trial.embedder
        )
        memory = Decider(trial.policy, trial.rules, breaker=trial.breaker, embedder=trial.embedder)
        for part in _chunks(batch):
            begun, exact = decider.begin(part), memory.begin(part)
            parts.append(_done(begun, decider.finish(begun)))
            differ += int(np.count_nonzero(parts[-1].verdict != memory.finish(exact).verdict))
            shares += shares_of(exact.taken.evidence.neighbours, begun.taken.evidence.neighbours)
            if advance is not None:
                advance(len(part))
        told = Approximation(
            of_memory=float(np.mean(shares)) if shares else None,
            of_vectors=float(np.mean(search.shares)) if search.shares else None,
            differ=differ,
            decisions=int(np.count_nonzero(batch.side)),
        )
    return replace(_joined(parts), approximation=told)


async def advised(
    batch: SignalBatch, trial: Trial, adviser: Adviser, *, advance: Advance | None = None
) -> ArmDecisions:
    """The gate, and a model for what it leaves grey, or what the rules' reviewer is to be asked."""
    decider = Decider(trial.policy, trial.rules, breaker=trial.breaker, embedder=trial.embedder)
    parts = []
    for part in _chunks(batch):
        begun = decider.begin(part)
        opinions = await ask(decider, begun, adviser, patience_s=_PATIENCE_S)
        parts.append(_done(begun, decider.finish(begun, opinions)))
        if advance is not None:
            advance(len(part))
    return _joined(parts)


def drawn(batch: SignalBatch, like: Int8Array, seed: int) -> ArmDecisions:
    """As many overrides of each kind as `like` made in each stratum, of signals drawn by lot."""
    verdict, draws = _approvals(len(batch)), np.random.default_rng(seed)
    strata = strata_of(batch.symbol, batch.side)
    for stratum in range(int(strata.max(initial=-1)) + 1):
        rows = np.flatnonzero(strata == stratum)
        verdict[rows] = draws.permutation(like[rows])
    return replace(baseline(batch), verdict=verdict)


def ahead(batch: SignalBatch, stream: SignalStream) -> ArmDecisions:
    """Overrule exactly where overruling will pay most."""
    net = np.where(np.isnan(stream.net_bps), 0.0, stream.net_bps)
    return replace(baseline(batch), verdict=np.argmax(net, axis=1).astype(np.int8))


def result_of(name: str, batch: SignalBatch, trial: Trial, done: ArmDecisions) -> ArmResult:
    """An arm's decisions and what its portfolios became, under both fills."""
    equity, returns, performance = {}, {}, {}
    action = decided(batch.action, done.verdict)
    for fill in FILLS:
        ledger = Ledger(Policy.from_dict(trial.policy.as_dict() | {"fill": fill}))
        ledger.ensure_symbols(len(batch.symbols))
        rows = LedgerRows.empty(len(batch))
        ledger.run(
            batch.timestamp_us, batch.symbol, action, batch.price, rows, terms=batch.order_terms(action)
        )
        equity[fill], returns[fill] = rows.equity, rows.signal_return
        performance[fill] = Performance.of(ledger.account.reshape(ACCOUNT_SIZE), ledger.policy).as_dict()
    return ArmResult(
        name=name,
        kind=KINDS[name],
        verdict=done.verdict,
        by=done.by,
        reason=CategoryColumn(done.reason.astype(np.int32), tuple(reason.value for reason in REASONS)),
        p_right=done.p_right,
        model_usd=done.usd,
        model_calls=done.calls,
        model_tokens=done.tokens,
        equity=equity,
        signal_return=returns,
        performance=performance,
        approximation=done.approximation,
    )


_PATIENCE_S = 10.0  # a question of a batch may wait so long for every one before it: nobody else does


def _approvals(n: int) -> Int8Array:
    return np.zeros(n, np.int8)


def _code(reason: Reason) -> int:
    return REASONS.index(reason)


def _chunks(batch: SignalBatch) -> Iterator[SignalBatch]:
    for start in range(0, len(batch), CHUNK):
        yield batch.take(np.arange(start, min(start + CHUNK, len(batch))))


def _done(begun: PendingDecision, judged: DecidedSignals) -> ArmDecisions:
    """The columns of an arm."""
    evidence, ruling = begun.taken.evidence, begun.taken.ruling
    told = [each for each in judged.opinions.values() if each.asked]
    usd = [opinion.usd for opinion in told]
    known = [cost for cost in usd if cost is not None]
    return ArmDecisions(
        verdict=judged.verdict,
        by=judged.by,
        reason=judged.reason,
        p_right=np.where(np.isnan(ruling.p_worse), np.nan, evidence.p_right),
        usd=sum(known) if usd and len(known) == len(usd) else None,
        calls=len(told),
        tokens=(sum(each.tokens_in or 0 for each in told), sum(each.tokens_out or 0 for each in told)),
    )


def _joined(parts: list[ArmDecisions]) -> ArmDecisions:
    costs = [part.usd for part in parts if part.calls]
    known = [cost for cost in costs if cost is not None]
    return ArmDecisions(
        verdict=np.concatenate([part.verdict for part in parts]),
        by=np.concatenate([part.by for part in parts]),
        reason=np.concatenate([part.reason for part in parts]),
        p_right=np.concatenate([part.p_right for part in parts]),
        usd=sum(known) if costs and len(known) == len(costs) else None,
        calls=sum(part.calls for part in parts),
        tokens=(sum(part.tokens[0] for part in parts), sum(part.tokens[1] for part in parts)),
    )


def _categories(batch: SignalBatch) -> dict[str, CategoryColumn]:
    """Features that are short words with few values, as cohorts; the letters' case is ignored."""
    found = {}
    for name, column in batch.texts.items():
        if len(column) and int(np.diff(column.offsets).max()) > LONGEST_LABEL:
            continue
        labels = CategoryColumn.of([text.strip().casefold() for text in column.to_list()])
        if len(labels.names) <= MOST_CATEGORIES:
            found[name] = labels
    return found


def memory_alone(batch: SignalBatch, trial: Trial) -> Evaluation:
    """What the memory makes of these signals; the arms are `baseline` and `memory`."""
    done = {"baseline": baseline(batch), "memory": gated(batch, trial)}
    return evaluate(
        stream_of(batch, trial),
        [result_of(name, batch, trial, decisions) for name, decisions in done.items()],
    )
