"""What each row is found to be, beside a loop over plain values that says the rules one after another."""

from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.journal.dedup import DedupIndex, portfolio_keys
from raysignal.engine.portfolio.admission import AdmissionCode, AdmissionCodes, admit
from raysignal.engine.portfolio.portfolio import Portfolio
from raysignal.engine.portfolio.receipts import RowResult

LIMIT = 5.0
NAME = "baseline"

# Few values of each, so that ids repeat, prices jump and instants collide.
signals = st.builds(
    Signal,
    symbol=st.sampled_from(("BTC", "ETH", "SOL")),
    timestamp_us=st.integers(1, 6),
    action=st.sampled_from(Action),
    price=st.sampled_from((1.0, 2.0, 20.0)),
    signal_id=st.sampled_from(("", "a", "b", "c")),
)
batches = st.lists(signals, max_size=12).map(lambda rows: SignalBatch.of_signals(rows).in_time())


class Reference:
    """A portfolio that remembers plain values."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[int, int]] = {}
        self.marks: dict[str, tuple[int, float]] = {}

    def admit(self, batch: SignalBatch, *, accept_price_jump: bool) -> tuple[list[AdmissionCode], list[int]]:
        """The findings, and the ordinals that the rows have once the fresh ones are processed."""
        refused: dict[str, tuple[AdmissionCode, int]] = {}
        findings, ordinals = [], []
        for row, content in enumerate(batch.content.tolist()):
            signal = batch.signal(row)
            identity = signal.signal_id
            ordinal = -1
            if identity in self.seen:
                ordinal, held = self.seen[identity]
                found = AdmissionCode.DUPLICATE if held == content else AdmissionCode.CONFLICT
            elif identity in refused:
                why, held = refused[identity]
                found = why if held == content else AdmissionCode.CONFLICT
            else:
                found = self._weighed(signal, accept_price_jump=accept_price_jump)
                if found == AdmissionCode.NEW:
                    ordinal = len(self.seen)
                    self.seen[identity] = ordinal, content
                    self.marks[signal.symbol] = signal.timestamp_us, signal.price
                else:
                    refused[identity] = found, content
            findings.append(found)
            ordinals.append(ordinal if found in {AdmissionCode.NEW, AdmissionCode.DUPLICATE} else -1)
        return findings, ordinals

    def _weighed(self, signal: Signal, *, accept_price_jump: bool) -> AdmissionCode:
        latest, last = self.marks.get(signal.symbol, (0, 0.0))
        if signal.timestamp_us < latest:
            return AdmissionCode.LATE
        if last and not accept_price_jump and max(signal.price / last, last / signal.price) > LIMIT:
            return AdmissionCode.JUMP
        return AdmissionCode.NEW


def judged(
    portfolio: Portfolio, identities: DedupIndex, batch: SignalBatch, *, accept_price_jump: bool = False
) -> AdmissionCodes:
    keys = portfolio_keys(batch.key, NAME)
    return admit(portfolio, batch, keys, identities, limit=LIMIT, accept_price_jump=accept_price_jump)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(submitted=st.lists(st.tuples(batches, st.booleans()), min_size=1, max_size=3))
def test_rows_are_judged_as_if_each_accepted_one_had_been_processed_before_the_next(
    tmp_path: Path, submitted: list[tuple[SignalBatch, bool]]
) -> None:
    portfolio, identities, reference = Portfolio(NAME, Policy()), DedupIndex.create(tmp_path), Reference()

    for batch, accept in submitted:
        judgement = judged(portfolio, identities, batch, accept_price_jump=accept)
        findings, ordinals = reference.admit(batch, accept_price_jump=accept)

        assert judgement.finding.tolist() == findings
        assert judgement.ordinal.tolist() == ordinals
        assert list(judgement.counts) == [findings.count(finding) for finding in AdmissionCode]
        assert judgement.taken.tolist() == [min(finding, RowResult.REFUSED) for finding in findings]
        assert sorted(judgement.errors(batch, None)) == [
            row for row, finding in enumerate(findings) if finding > AdmissionCode.DUPLICATE
        ]
        fresh = judgement.rows(AdmissionCode.NEW)
        kept = batch.take(fresh)
        identities.add(portfolio_keys(kept.key, NAME), judgement.ordinal[fresh], kept.content)
        portfolio.apply(kept, b"", 1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=batches)
def test_judging_changes_nothing(tmp_path: Path, batch: SignalBatch) -> None:
    portfolio, identities = Portfolio(NAME, Policy()), DedupIndex.create(tmp_path)
    before = portfolio.dump()

    first, second = (judged(portfolio, identities, batch) for _ in range(2))

    assert portfolio.dump() == before
    assert len(identities) == 0
    np.testing.assert_array_equal(first.finding, second.finding)
    np.testing.assert_array_equal(first.ordinal, second.ordinal)
