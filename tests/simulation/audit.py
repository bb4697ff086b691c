"""What must be true of a shard, checked against the oracle."""

from random import Random
from typing import Any

from raysignal.engine import history
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio.receipts import RowResult, receipt
from raysignal.engine.portfolio.shard import Shard
from tests.simulation.oracle import Acknowledged, Model, Reference, check, imprint, receipt_bytes


def opened_well(shard: Shard, acknowledged: Acknowledged, policies: dict[str, Policy]) -> Model:
    """A shard that was just opened holds what its journal says, and all that was acknowledged before."""
    model = Model.of(list(shard.journal.replay()))
    acknowledged.all_in(model, "the journal")
    waiting = [name for name in shard.portfolios if name not in model.portfolios]
    check({*waiting} <= {*policies}, f"{waiting} are not in the journal")
    check(not waiting or shard.has_waiting, "portfolios were created without a record")
    for name in waiting:
        model.portfolios[name] = Model.fresh(policies[name])
    check({*shard.portfolios} == {*model.portfolios}, "the portfolios are not those of the journal")
    for name, portfolio in shard.portfolios.items():
        expected = model.portfolios[name]
        reference = Reference.of(expected)
        check(portfolio.policy == expected.policy, f"{name} has another policy")
        check(portfolio.count == len(expected.ids), f"{name} counts {portfolio.count} rows")
        check(portfolio.symbols == reference.symbols, f"{name} knows {portfolio.symbols}")
        check(
            portfolio.ledger.to_bytes() == reference.ledger.to_bytes(),
            f"the account of {name} is not what its signals make",
        )
        marks = {
            symbol: (int(at), float(price))
            for symbol, at, price in zip(
                portfolio.symbols, portfolio.high_water, portfolio.last_price, strict=True
            )
        }
        check(marks == expected.marks, f"the marks of {name} are {marks}; expected {expected.marks}")
    return model


def answers_as_ever(shard: Shard, model: Model, acknowledged: Acknowledged, rng: Random) -> None:
    """Every signal of the journal, sent again, gets the receipt that its rows make, and changes nothing."""
    for name, portfolio in model.portfolios.items():
        reference = Reference.of(portfolio)
        batch = reference.batch
        if batch is None:
            continue
        before = state_of(shard)
        pending = shard.submit(
            name, batch.in_time().encode(), all_or_nothing=True, accept_price_jump=False, receipts=True
        )
        submission = pending.finish()
        assert submission.rows is not None
        assert submission.accounts is not None
        check(
            submission.counted(RowResult.REPLAYED) == len(batch), f"{name} takes known signals for new ones"
        )
        check(state_of(shard) == before, f"known signals changed {name}")
        asked = batch.in_time()
        names = asked.signal_id.to_list()
        for row, ordinal in enumerate(submission.ordinal.tolist()):
            check(portfolio.ids[names[row]][1] == ordinal, f"{names[row]!r} of {name} moved to row {ordinal}")
            again = imprint(submission.rows, row, submission.accounts[row])
            made = imprint(reference.rows, ordinal, reference.accounts[ordinal])
            check(again == made, f"the receipt of {names[row]!r} of {name} is not what its rows make")
            known = acknowledged.signals.get(name, {}).get(names[row])
            check(
                known is None or known[2] == again,
                f"the receipt of {names[row]!r} of {name} is not the first one",
            )
            if (name, names[row]) in acknowledged.receipts and rng.random() < 0.1:
                told = receipt_bytes(receipt(asked, submission, row))
                acknowledged.take_receipt(name, names[row], told)


def history_is_whole(shard: Shard, model: Model) -> None:
    """The history and the rows that it does not hold yet are the processed rows, each once, in order."""
    for name, portfolio in model.portfolios.items():
        table = history.read_range(shard.blobs, name, 0, 10**9)
        recent = shard.recent(name)()
        ordinals = table["ordinal"].to_pylist()
        names = table["signal_id"].to_pylist()
        for part in recent.tables:
            ordinals += part["ordinal"].to_pylist()
            names += part["signal_id"].to_pylist()
        kept = dict(zip(ordinals, names, strict=True))
        # A checkpoint may have been written by one who could not say so: both may hold the same rows.
        overlap = len(table) - recent.first
        check(len(ordinals) - max(overlap, 0) == len(kept), f"the history of {name} holds rows twice")
        expected = {ordinal: signal for signal, (_, ordinal) in portfolio.ids.items()}
        check(kept == expected, f"the history of {name} holds {len(kept)} rows of {len(expected)}")


def portfolios_of(shard: Shard) -> list[dict[str, Any]]:
    """All that the portfolios are."""
    return [portfolio.dump() for portfolio in shard.portfolios.values()]


def state_of(shard: Shard) -> tuple[Any, ...]:
    """What a refusal must not change."""
    kept = [portfolio.bytes_kept for portfolio in shard.portfolios.values()]
    return shard.sequence, shard.rows_kept, len(shard.identities), kept, portfolios_of(shard)
