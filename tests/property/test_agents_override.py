"""What the agent decides depends on what came before, and on nothing else."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from raysignal.agents.override.agent import AgentRules, MemoryLookup, Override
from raysignal.agents.override.evidence import Evidence, RecallOptions
from raysignal.agents.override.gate import REASONS, GateRules, Ruling
from raysignal.agents.override.outcomes import Horizon, Outcomes
from raysignal.agents.verdicts import DecidedBy, Reason, Verdict
from raysignal.engine.core.columns import SignalBatch, TextColumn
from raysignal.engine.core.policy import Policy
from tests.support.effort import examples
from tests.support.override_streams import HORIZONS, POLICIES, Shape, as_sent, cut, shapes, with_prices_after

CUTS = st.lists(st.integers(0, 200), max_size=12)
# They speak up after a few signals, so that decisions do depend on the memory.
RULES = st.builds(
    AgentRules,
    horizon=HORIZONS,
    recall=st.builds(
        RecallOptions,
        neighbours=st.sampled_from([1, 5, 60]),
        least=st.sampled_from([1, 4, 50]),
        part=st.sampled_from([0.0, 0.15, 1.0]),
        prior=st.sampled_from([1e-3, 1.0, 20.0]),
    ),
    gate=st.builds(
        GateRules,
        least=st.sampled_from([0.5, 3.0]),
        against=st.sampled_from([0.5, 0.9]),
        grey=st.just(0.5),
        sure=st.sampled_from([0.0, 1.645]),
    ),
    window=st.sampled_from([5, 30, 250_000]),
)
SHUFFLES = st.sampled_from([None, 0, 2**63 + 11])
EAGER = AgentRules(
    horizon=Horizon.parse("2b"),
    recall=RecallOptions(neighbours=20, least=10, part=0.2, prior=5.0),
    gate=GateRules(least=3.0, against=0.8, grey=0.6, sure=0.5),
)


def decisions(parts: Iterable[MemoryLookup]) -> dict[str, bytes]:
    """All that was found out about the signals of some calls, byte for byte, without the empty names."""
    parts = list(parts)
    told = {"regime": np.concatenate([part.situations.regime for part in parts]).tobytes()}
    for kind, of in ((Evidence, "evidence"), (Ruling, "ruling")):
        for name in kind.__dataclass_fields__:
            columns = [getattr(getattr(part, of), name) for part in parts]
            told[f"{of}.{name}"] = np.concatenate(columns).tobytes()
    for name in Outcomes.__dataclass_fields__:
        told[f"outcomes.{name}"] = np.concatenate([getattr(part.outcomes, name) for part in parts]).tobytes()
    return told


def taken(batch: SignalBatch, agent: Override, places: list[int]) -> list[MemoryLookup]:
    return [agent.take(piece) for piece in cut(batch, places)]


@settings(max_examples=examples(100))
@given(shapes(crowded=True), POLICIES, RULES, SHUFFLES, CUTS)
def test_decisions_do_not_depend_on_how_the_stream_is_cut(shape, policy, rules, shuffle, places):
    batch = shape.batch()
    whole = Override(policy, rules, shuffle=shuffle).take(batch)

    pieces = taken(batch, Override(policy, rules, shuffle=shuffle), places)

    assert decisions(pieces) == decisions([whole])


@settings(max_examples=examples(30))
@given(shapes(40, crowded=True), POLICIES, RULES, SHUFFLES)
def test_one_by_one_and_as_they_are_sent_is_no_different(shape, policy, rules, shuffle):
    batch = shape.batch()
    whole = Override(policy, rules, shuffle=shuffle).take(batch)
    agent = Override(policy, rules, shuffle=shuffle)

    # Numbers and texts that no signal of a piece has are not even named in it.
    singles = [agent.take(as_sent(batch.take(np.array([row])))) for row in range(len(batch))]

    assert decisions(singles) == decisions([whole])


@settings(max_examples=examples(60))
@given(shapes(crowded=True), POLICIES, RULES, SHUFFLES, CUTS, st.integers(0, 200))
def test_what_was_learned_is_as_good_as_what_was_decided(shape, policy, rules, shuffle, places, row):
    batch = shape.batch()
    row %= len(batch) + 1
    before, after = batch.take(np.arange(row)), batch.take(np.arange(row, len(batch)))
    decided = Override(policy, rules, shuffle=shuffle)
    learned = Override(policy, rules, shuffle=shuffle)
    decided.take(before)

    for piece in cut(before, places):
        learned.learn(piece)

    assert decisions([learned.take(after)]) == decisions([decided.take(after)])
    assert learned.count == decided.count == len(batch)


@settings(max_examples=examples(100))
@given(shapes(least=2, crowded=True), POLICIES, RULES, SHUFFLES, st.integers(0, 200))
def test_a_future_cut_off_changes_no_decision_before_it(shape, policy, rules, shuffle, row):
    batch = shape.batch()
    row = 1 + row % (len(batch) - 1)
    early = batch.take(np.arange(row))
    whole = Override(policy, rules, shuffle=shuffle).take(batch)

    alone = Override(policy, rules, shuffle=shuffle).take(early)

    assert decisions([alone]) == decisions([first_rows(whole, row)])


@settings(max_examples=examples(100))
@given(
    shapes(least=2, crowded=True), POLICIES, RULES, SHUFFLES, st.integers(0, 200),
    st.sampled_from([0.5, 1.001, 3.0]), st.sampled_from([-1, 0, 1]),
)  # fmt: skip
def test_another_future_changes_no_decision_before_it(shape, policy, rules, shuffle, row, factor, action):
    batch = shape.batch()
    row %= len(batch)
    planted = with_prices_after(batch, row, factor)
    later = np.arange(len(batch)) > row
    planted = replace(
        planted,
        action=np.where(later, action, batch.action).astype(np.int8),
        numbers={name: np.where(later, 0.25, values) for name, values in batch.numbers.items()},
        texts={
            name: TextColumn.of(
                "x" * 40 if after else text for text, after in zip(column.to_list(), later, strict=True)
            )
            for name, column in batch.texts.items()
        },
    )

    one, other = (Override(policy, rules, shuffle=shuffle).take(each) for each in (batch, planted))

    assert decisions([first_rows(one, row + 1)]) == decisions([first_rows(other, row + 1)])


@settings(max_examples=examples(60))
@given(shapes(crowded=True), POLICIES, RULES, SHUFFLES)
def test_no_decision_rests_on_what_was_not_known(shape, policy, rules, shuffle):
    batch = shape.batch()
    agent = Override(policy, rules, shuffle=shuffle)

    taken_at_once = agent.take(batch)
    found, told = taken_at_once.evidence, taken_at_once.outcomes

    for row in range(len(batch)):
        known = (told.known_at_us <= batch.timestamp_us[row]) & (told.exit <= row)
        assert found.known[row] == known.sum()
        near = found.neighbours[row][found.neighbours[row] >= 0]
        assert len(near) == found.used[row] <= min(found.known[row], rules.recall.neighbours)
        assert (agent.memory.known_at_us[near] <= batch.timestamp_us[row]).all()
        assert (agent.memory.exit[near] <= row).all()
        assert (np.diff(near) > 0).all()
        assert (near >= row - rules.window).all()


@settings(max_examples=examples(100))
@given(shapes(crowded=True), POLICIES, RULES)
def test_evidence_and_rulings_are_sound_numbers(shape, policy, rules):
    batch = shape.batch()
    agent = Override(policy, rules)
    found = agent.take(batch)
    evidence, ruling = found.evidence, found.ruling
    used = evidence.used > 0

    assert (evidence.effective[used] >= 1.0 - 1e-12).all()
    cohorts = rules.recall.prior  # half of the prior's variance is none of a cohort
    assert (evidence.effective <= (evidence.used + cohorts) * (1.0 + 1e-9)).all()
    assert ((evidence.share > 0.0) & (evidence.share < 1.0)).all()
    total = rules.recall.prior + evidence.effective
    np.testing.assert_allclose(evidence.alpha + evidence.beta, total, rtol=1e-9)
    assert (evidence.alpha > 0.0).all()
    assert (evidence.beta > 0.0).all()
    assert np.isfinite(evidence.edge_bps).all()
    assert (evidence.edge_error_bps >= 0.0).all()
    assert np.isfinite(evidence.radius[used]).all()
    assert (used <= (batch.action != 0)).all()
    assert np.isfinite(found.situations.scale).all()
    assert np.isfinite(found.situations.standard).all()
    holds = batch.action == 0
    assert (ruling.verdict[holds] == Verdict.APPROVE).all()
    assert (ruling.by[ruling.verdict != Verdict.APPROVE] == DecidedBy.GATE).all()


def first_rows(found: MemoryLookup, n: int) -> MemoryLookup:
    """What was found about the first n signals of a stream, and what they settled."""

    def first(columns: object, mask: np.ndarray | slice) -> dict[str, np.ndarray]:
        return {name: getattr(columns, name)[mask] for name in columns.__dataclass_fields__}

    situations, evidence, ruling, outcomes = (
        found.situations, found.evidence, found.ruling, found.outcomes
    )  # fmt: skip
    return replace(
        found,
        situations=replace(situations, regime=situations.regime[:n]),
        evidence=Evidence(**first(evidence, slice(n))),
        ruling=Ruling(**first(ruling, slice(n))),
        outcomes=Outcomes(**first(outcomes, outcomes.exit < n)),
    )


def test_every_reason_of_the_gate_comes_up_and_a_flip_too():
    """Else the properties above would hold of an agent that never says anything."""
    seen, flips = set(), 0
    for seed in range(12):
        batch = Shape(seed=seed, rows=150).batch()
        ruling = Override(Policy(side="long-short", fee_bps=1.0), EAGER).take(batch).ruling
        seen |= {REASONS[code] for code in ruling.reason.tolist()}
        flips += int((ruling.verdict == Verdict.FLIP).sum())

    assert seen == {
        Reason.HOLD_SIGNAL, Reason.TOO_LITTLE_EVIDENCE, Reason.EVIDENCE_AGAINST, Reason.EVIDENCE_UNCLEAR,
        Reason.EVIDENCE_FOR,
    }  # fmt: skip
    assert flips > 0
