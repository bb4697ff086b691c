"""What must be true: a slow, obvious model of the rules, and a record of everything that was acknowledged."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.engine.journal.frames import JournalRecord
from raysignal.engine.portfolio.account import ACCOUNT_SIZE
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.receipts import made_receipts
from raysignal.engine.portfolio.records import CreationRecord, read_record
from tests.simulation.workload import Message


class Violated(AssertionError):
    """A promise was broken."""


def check(condition: object, promise: str) -> None:
    """Raise `Violated` unless it holds."""
    if not condition:
        raise Violated(promise)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What must become of a row: `taken`, as `engine.portfolio.receipts.RowResult`; its ordinal; the error's name."""

    taken: int
    ordinal: int
    error: str = ""


@dataclass(slots=True)
class PortfolioModel:
    """One portfolio, in dictionaries.

    Attributes:
        policy: its policy.
        ids: by signal id the digest of the content and the ordinal.
        batches: the encoded batches in the order of processing.
        marks: by symbol the last instant and the last price.
        symbols: in the order in which the ledger knows them.
    """

    policy: Policy
    ids: dict[str, tuple[int, int]] = field(default_factory=dict)
    batches: list[SignalBatch] = field(default_factory=list)
    marks: dict[str, tuple[int, float]] = field(default_factory=dict)
    symbols: list[str] = field(default_factory=list)

    def judge(self, batch: SignalBatch, *, accept_jump: bool, limit: float) -> list[Verdict]:
        """What must become of each row; changes nothing."""
        marks = dict(self.marks)
        here: dict[str, tuple[int, Verdict]] = {}
        verdicts = []
        fresh = len(self.ids)
        for row, (name, content) in enumerate(
            zip(batch.signal_id.to_list(), batch.content.tolist(), strict=True)
        ):
            symbol = batch.symbols[batch.symbol[row]]
            at, price = int(batch.timestamp_us[row]), float(batch.price[row])
            if name in self.ids:
                known, ordinal = self.ids[name]
                verdict = Verdict(1, ordinal) if known == content else Verdict(2, -1, "IdentityConflict")
            elif name in here:
                known, first = here[name]
                if known != content:
                    verdict = Verdict(2, -1, "IdentityConflict")
                else:
                    verdict = first if first.error else Verdict(1, first.ordinal)
            else:
                last_us, last_price = marks.get(symbol, (None, None))
                if last_us is not None and at < last_us:
                    verdict = Verdict(2, -1, "LateSignal")
                elif (
                    last_price is not None
                    and not accept_jump
                    and max(price / last_price, last_price / price) > limit
                ):
                    verdict = Verdict(2, -1, "PriceJump")
                else:
                    verdict = Verdict(0, fresh)
                    fresh += 1
                    marks[symbol] = (at, price)
                here[name] = (content, verdict)
            verdicts.append(verdict)
        return verdicts

    def apply(self, batch: SignalBatch) -> None:
        """Take rows in as processed; an id that is there already is a promise broken."""
        for row, (name, content) in enumerate(
            zip(batch.signal_id.to_list(), batch.content.tolist(), strict=True)
        ):
            check(name not in self.ids, f"signal {name!r} was processed twice")
            symbol, at = batch.symbols[batch.symbol[row]], int(batch.timestamp_us[row])
            last = self.marks.get(symbol)
            check(last is None or at >= last[0], f"signal {name!r} was processed out of order")
            self.marks[symbol] = (at, float(batch.price[row]))
            self.ids[name] = (content, len(self.ids))
        occurring = {batch.symbols[code] for code in batch.symbol.tolist()}
        self.symbols += [name for name in batch.symbols if name in occurring and name not in self.symbols]
        self.batches.append(batch)


@dataclass(slots=True)
class Model:
    """The state that a journal's records stand for."""

    portfolios: dict[str, PortfolioModel] = field(default_factory=dict)
    sequence: int = 0

    @staticmethod
    def fresh(policy: Policy) -> PortfolioModel:
        """A portfolio that was just created."""
        return PortfolioModel(policy)

    @classmethod
    def of(cls, records: list[JournalRecord]) -> "Model":
        """From payload records, by nothing but their content."""
        model = cls()
        for record in records:
            content = read_record(record.payload)
            if isinstance(content, CreationRecord):
                check(content.portfolio not in model.portfolios, f"{content.portfolio} was created twice")
                model.portfolios[content.portfolio] = PortfolioModel(content.policy)
            else:
                model.portfolios[content.portfolio].apply(SignalBatch.decode(bytes(content.encoded)))
            model.sequence = record.sequence
        return model


@dataclass(slots=True)
class Reference:
    """A portfolio computed from nothing but the rows that were processed, in one go."""

    ledger: Ledger
    symbols: list[str]
    batch: SignalBatch | None
    rows: LedgerRows
    accounts: Any

    @classmethod
    def of(cls, model: PortfolioModel) -> "Reference":
        """By a fresh ledger."""
        ledger, symbols = Ledger(model.policy), list(model.symbols)
        if not model.batches:
            return cls(ledger, symbols, None, LedgerRows.empty(0), np.empty((0, ACCOUNT_SIZE)))
        batch = SignalBatch.concat(model.batches)
        code = {symbol: position for position, symbol in enumerate(symbols)}
        table = np.array([code.get(symbol, -1) for symbol in batch.symbols], np.int32)
        rows, accounts = LedgerRows.empty(len(batch)), np.empty((len(batch), ACCOUNT_SIZE))
        ledger.ensure_symbols(len(symbols))
        ledger.run(batch.timestamp_us, table[batch.symbol], batch.action, batch.price, rows, accounts)
        return cls(ledger, symbols, batch, rows, accounts)

    def receipt(self, portfolio: str, policy: Policy, ordinal: int) -> bytes:
        """The receipt of a row."""
        assert self.batch is not None
        only = np.array([ordinal])
        (made,) = made_receipts(
            portfolio=portfolio, policy=policy, batch=self.batch.take(only), ordinal=only,
            rows=self.rows.take(only), accounts=self.accounts[only], taken=np.zeros(1, np.int8),
        )  # fmt: skip
        assert made is not None
        return receipt_bytes(made)


def imprint(rows: LedgerRows, row: int, account: Any) -> bytes:
    """All that a receipt is made from besides the signal: cheaper to compare than the receipt itself."""
    return b"".join([*(column[row].tobytes() for column in rows.columns().values()), account.tobytes()])


def receipt_bytes(receipt: dict[str, Any]) -> bytes:
    """A receipt as it is compared: without the mark of a replay."""
    return json.dumps({name: value for name, value in receipt.items() if name != "replayed"}).encode()


@dataclass(slots=True)
class Acknowledged:
    """Everything that was ever acknowledged.

    Attributes:
        signals: by portfolio and signal id: content, ordinal, imprint of the receipt.
        receipts: by portfolio and signal id, of some signals: the receipt itself.
        portfolios: by name: policy.
        messages: those that were acknowledged, in order.
    """

    signals: dict[str, dict[str, tuple[int, int, bytes]]] = field(default_factory=dict)
    receipts: dict[tuple[str, str], bytes] = field(default_factory=dict)
    portfolios: dict[str, Policy] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)

    def take(self, portfolio: str, name: str, content: int, ordinal: int, made: bytes) -> None:
        """Note a signal; it was perhaps acknowledged before, and then in the same way."""
        known = self.signals.setdefault(portfolio, {}).setdefault(name, (content, ordinal, made))
        check(known[:2] == (content, ordinal), f"{name!r} was acknowledged as {known[:2]}, then otherwise")
        check(known[2] == made, f"the receipt of {name!r} has changed")

    def take_receipt(self, portfolio: str, name: str, receipt: bytes) -> None:
        """Note a receipt; it was perhaps given before, and then the same."""
        known = self.receipts.setdefault((portfolio, name), receipt)
        check(known == receipt, f"the receipt of {name!r} was {known!r} and is {receipt!r}")

    def copy(self) -> "Acknowledged":
        """The signals and portfolios as of now."""
        signals = {portfolio: dict(ids) for portfolio, ids in self.signals.items()}
        return Acknowledged(signals, portfolios=dict(self.portfolios))

    def all_in(self, model: Model, where: str) -> None:
        """Every one is there, where it was said to be."""
        for name, policy in self.portfolios.items():
            check(
                name in model.portfolios and model.portfolios[name].policy == policy,
                f"portfolio {name} was acknowledged and is not in {where}",
            )
        for portfolio, signals in self.signals.items():
            check(portfolio in model.portfolios, f"portfolio {portfolio} is not in {where}")
            ids = model.portfolios[portfolio].ids
            for name, (content, ordinal, _) in signals.items():
                check(
                    ids.get(name) == (content, ordinal),
                    f"{name!r} of {portfolio} was acknowledged as row {ordinal} and is not that in {where}: "
                    f"{ids.get(name)}",
                )
