"""One schedule: writers, clients and a network, driven step by step by a seed.

There are no threads and there is no time. A writer's blocking call runs to its end at its step, but before each
of its operations on the disk or the bucket other steps may run, its own process may die, or the operation may
fail: that is how two writers, or a commit and a checkpoint of one writer, come between each other.
"""

import hashlib
import random
import shutil
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import snapshots
from engine.errors import Fenced, JournalDamaged, RaysignalError, RowErrors, StoreError, StoreUnavailable
from engine.journal.blobs import JOURNAL_FOLDER, BlobStore, DiskBlobs, S3Blobs
from engine.journal.bucket import Bucket
from engine.journal.journal import Commit, Journal, JournalStore, verify
from engine.journal.local import LocalStore
from engine.journal.s3 import S3Store
from engine.receipts import Submission, Taken, receipt
from engine.shard import Checkpoint, Limits, Pending, Shard
from tests.simulation.bucket import Objects, SimS3
from tests.simulation.disk import Platter, SimDisk
from tests.simulation.faults import HARM_KINDS, KINDS, Faults, SimCrash
from tests.simulation.oracle import Acknowledged, Model, Reference, Verdict, Violated, check, imprint, receipt_bytes
from tests.simulation.workload import Message, Workload

SHARD = "shard=0000"
PREFIX = f"state/{SHARD}"
_ROOT = Path("/store")
_DEEPEST = 2
"""How many steps may be inside one another."""


class SimBlobs(DiskBlobs):
    """Blobs on a simulated disk; who wants a path gets that of a copy, because only a real file has one."""

    def __init__(self, root: Path, disk: SimDisk, copies: Path) -> None:
        super().__init__(root, disk)
        self._copies = copies

    def local_copy(self, name: str, cache_dir: Path) -> Path:
        super().local_copy(name, cache_dir)
        data = self.get(name)
        path = self._copies / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # a run that is open keeps what it opened
        path.write_bytes(data or b"")
        return path


@dataclass(eq=False, slots=True)
class Writer:
    """A process with a shard, and what the mailbox around it would hold."""

    number: int
    dead: bool = False
    shard: Shard | None = None
    model: Model = field(default_factory=Model)
    opening: bool = False
    commit: Commit | None = None
    committing: bool = False
    written: bool = False
    checkpointing: bool = False
    waiters: deque[tuple[int, Message, Callable[[], None]]] = field(default_factory=deque)

    @property
    def is_open(self) -> bool:
        return not self.dead and self.shard is not None


class World:
    """Everything in one schedule.

    Args:
        seed: decides all.
        store: `local` or `s3`.
        scratch: an empty folder for copies of runs.
        trace: told every step.
    """

    def __init__(self, seed: int, store: str, scratch: Path, trace: Callable[[str], None]) -> None:
        self.seed = seed
        self.store = store
        self.scratch = scratch
        self.say = trace
        self.rng = random.Random(f"{seed} {store}")
        self.faults = Faults(random.Random(f"faults {seed} {store}"), trace)
        self.platter = Platter(random.Random(f"platter {seed}"), self.faults)
        self.objects = Objects()
        self.workload = Workload(random.Random(f"work {seed}"))
        self.limits = Limits(checkpoint_rows=self.rng.choice((3, 5, 7, 12, 40)))
        self.segment_size = self.rng.choice((512, 4096, 1 << 20, 1 << 20))
        self.page = self.rng.choice((2, 3, 1000))
        self.writers: list[Writer] = []
        self.network: list[Message] = []
        self.unanswered: list[Message] = []
        self.acknowledged = Acknowledged()
        self.news = Acknowledged()
        self.depth = 0
        self.steps = 0
        self.tokens = 0
        self.to_send = self.rng.randrange(6, 22)
        self._plan()

    def run(self) -> None:
        """The whole schedule; raises `Violated` when a promise was broken."""
        for _ in range(self.rng.randrange(25, 75)):
            self.step()
        self.settle()

    # What happens next

    def _plan(self) -> None:
        rng = self.faults.rng
        kinds = [kind for kind in KINDS[self.store] if rng.random() < 0.4]
        for kind in kinds:
            often = not kind.startswith(("kill_b", "kill_a", "power_", "disk_", "s3_", "client_", "interleaved"))
            rates = (0.3, 0.9) if often else (0.02, 0.05, 0.15)
            self.faults.rates[kind] = rng.choice((0.05, 0.2, 0.5) if kind.startswith("client_") else rates)
        self.faults.budget = rng.choice((0, 4, 10, 10, 20))

    def step(self) -> None:
        """One event, among those that are possible now."""
        events = self._possible()
        if not events:
            return
        weights = [weight for weight, _, _ in events]
        (_, name, event), = self.rng.choices(events, weights)
        self.steps += 1
        self.say(f"{'  ' * self.depth}{self.steps:3} {name}")
        self._run(event)

    def _run(self, event: Callable[[], None]) -> None:
        self.depth += 1
        try:
            event()
        except SimCrash:
            self.say(f"{'  ' * self.depth}    … and it is gone")
        finally:
            self.depth -= 1

    def _possible(self) -> list[tuple[float, str, Callable[[], None]]]:
        events: list[tuple[float, str, Callable[[], None]]] = []

        def add(weight: float, name: str, event: Callable[[], None]) -> None:
            events.append((weight, name, event))

        alive = [writer for writer in self.writers if not writer.dead]
        opened = [writer for writer in alive if writer.is_open]
        if self.to_send:
            add(3, "client sends", self._send)
        if self.unanswered:
            add(1.5, "client sends again", self._retry)
        if self.network and opened:
            add(6, "message arrives", self._arrive)
        for writer in alive:
            number = writer.number
            if writer.shard is None:
                if not writer.opening:
                    add(4, f"writer {number} opens", lambda w=writer: self._open(w))
                continue
            if writer.commit is None and writer.shard.has_waiting:
                add(3, f"writer {number} takes a commit", lambda w=writer: self._begin(w))
            if writer.commit is not None and not writer.written and not writer.committing:
                add(4, f"writer {number} writes", lambda w=writer: self._write(w))
            if writer.written:
                add(4, f"writer {number} acknowledges", lambda w=writer: self._acknowledge(w))
            if not writer.checkpointing and writer.shard.rows_kept:
                add(0.4, f"writer {number} flushes", lambda w=writer: self._checkpoint(w, now=True))
            if not writer.checkpointing and writer.shard._captured is not None:
                add(2, f"writer {number} makes a checkpoint", lambda w=writer: self._checkpoint(w))
            if self.faults.rates.get("kill_idle"):
                add(0.4, f"writer {number} is killed", lambda w=writer: self._kill_idle(w))
        if not alive:
            add(5, "a writer starts", self._start)
            if self.depth == 0:
                for kind in HARM_KINDS:
                    if self.faults.rates.get(kind):
                        add(2, kind, lambda k=kind: self._harm(k))
                if self.faults.rates.get("flipped_byte"):
                    add(2, "a byte flips", self._flip)
                if self.store == "s3" and self.faults.rates.get("cache_lost"):
                    add(1, "the cache is lost", self._lose_cache)
        elif len(alive) < 3 and self.faults.rates.get("takeover"):
            add(0.5, "another writer starts", self._take_over)
        if self.objects.late:
            add(1.5, "a late write lands", self._land)
        return events

    def hook(self, writer: Writer) -> Callable[[str, str], None]:
        """Before each operation of a writer: others may run here."""

        def before(kind: str, name: str) -> None:
            if self.depth <= _DEEPEST and self.faults.happens("interleaved"):
                self.say(f"{'  ' * self.depth}    writer {writer.number} is about to {kind} {name}")
                for _ in range(self.rng.choice((1, 2, 4, 8))):
                    self.step()

        return before

    # Clients

    def _send(self) -> None:
        self.to_send -= 1
        message = self.workload.message()
        self.say(f"        message {message.number} to {message.portfolio}")
        self.network.append(message)
        self.unanswered.append(message)
        if self.faults.happens("client_duplicate"):
            self.network.append(message)

    def _retry(self) -> None:
        self.network.append(self.rng.choice(self.unanswered))
        self.faults.count("client_retry")

    def _arrive(self) -> None:
        opened = [writer for writer in self.writers if writer.is_open]
        if not opened:
            return
        index = 0
        if len(self.network) > 1 and self.faults.happens("client_reorder"):
            index = self.rng.randrange(1, len(self.network))
        message = self.network.pop(index)
        if self.faults.happens("client_delay"):
            self.network.append(message)
            return
        # Callers that still know the old address of a writer go on talking to it.
        self._deliver(opened[-1] if self.rng.random() < 0.7 else self.rng.choice(opened), message)

    def _settled(self, message: Message) -> None:
        message.settled = True
        if message in self.unanswered:
            self.unanswered.remove(message)

    # Writers

    def _start(self) -> Writer:
        writer = Writer(len(self.writers))
        self.writers.append(writer)
        return writer

    def _take_over(self) -> None:
        if self.faults.happens("takeover"):
            self._start()

    def _crash(self, writer: Writer, how: str) -> None:
        if how == "power_loss":
            for each in self.writers:
                self._die(each)
            self.platter.lose_power()
        else:
            self._die(writer)

    def _die(self, writer: Writer) -> None:
        writer.dead = True
        writer.shard = None
        writer.waiters.clear()

    def _kill_idle(self, writer: Writer) -> None:
        if self.faults.happens("kill_idle"):
            self._die(writer)

    def stores(self, writer: Writer) -> tuple[JournalStore, BlobStore]:
        """The two stores as a process sees them."""
        sees: dict[str, Any] = {
            "hook": self.hook(writer),
            "on_crash": lambda how: self._crash(writer, how),
            "is_dead": lambda: writer.dead,
        }
        if self.store == "local":
            disk = SimDisk(self.platter, **sees)
            return (
                LocalStore(_ROOT / JOURNAL_FOLDER / SHARD, disk, segment_size=self.segment_size),
                SimBlobs(_ROOT, disk, self.scratch / "disk"),
            )
        client = SimS3(self.objects, self.faults, **sees)
        bucket = Bucket(
            client, "bucket", "results/", jitter=random.Random(self.seed), sleep=lambda _s: None, page=self.page
        )
        return S3Store(bucket.under(f"{JOURNAL_FOLDER}/{SHARD}/"), token=self._token, readers=1), S3Blobs(bucket)

    def _token(self) -> bytes:
        self.tokens += 1
        return self.tokens.to_bytes(16, "little")

    def _open(self, writer: Writer) -> None:
        writer.opening = True
        try:
            shard = self._opened(writer)
        except Fenced:
            self._die(writer)
            return
        except StoreUnavailable as error:
            self.say(f"        {error}")
            return
        finally:
            writer.opening = False
        if writer.dead:
            raise SimCrash
        writer.shard = shard

    def _opened(self, writer: Writer) -> Shard:
        journal_store, blobs = self.stores(writer)
        # What is acknowledged while this one opens may be the work of one that has already superseded it.
        before = self.acknowledged.copy()
        shard = Shard.open(
            journal_store, blobs, prefix=PREFIX, cache_dir=self.cache, limits=self.limits,
            policies=self.workload.policies,
        )  # fmt: skip
        writer.commit, writer.written = None, False
        with self.faults.quiet():
            writer.model = self._audit(shard, before)
        return shard

    @property
    def cache(self) -> Path:
        """The folder for copies of runs, which outlives the processes of a machine."""
        return self.scratch / "cache"

    def _deliver(self, writer: Writer, message: Message) -> None:
        shard = writer.shard
        assert shard is not None
        if shard.crowded:
            self.network.append(message)
            return
        self.say(f"        message {message.number} reaches writer {writer.number}")
        if message.policy is not None:
            self._create(writer, shard, message)
            return
        assert message.batch is not None
        model = writer.model.portfolios[message.portfolio]
        verdicts = model.judge(
            message.batch, accept_jump=message.accept_price_jump, limit=self.limits.max_price_jump
        )
        refused = [verdict for verdict in verdicts if verdict.error]
        before = _state(shard)
        try:
            pending = shard.submit(
                message.portfolio, message.encoded, all_or_nothing=message.all_or_nothing,
                accept_price_jump=message.accept_price_jump, receipts=True,
            )  # fmt: skip
        except StoreError as error:
            self._give_up(writer, error)
            return
        except RaysignalError as error:
            expected = refused[0].error if len(verdicts) == 1 and refused else RowErrors.__name__
            check(message.all_or_nothing and refused, f"message {message.number} was refused: {error}")
            check(type(error).__name__ == expected, f"refused as {type(error).__name__}, not as {expected}")
            check(_state(shard) == before, f"message {message.number} was refused and changed something")
            self._settled(message)
            return
        check(
            not (message.all_or_nothing and refused),
            f"message {message.number} was taken in part: {[verdict.error for verdict in refused]}",
        )
        fresh = [row for row, verdict in enumerate(verdicts) if verdict.taken == Taken.ACCEPTED]
        if fresh:
            model.apply(message.batch.take(fresh))
        else:
            check(_state(shard) == before, f"message {message.number} held nothing new and changed something")
        self._wait(writer, shard, message, pending.sequence, lambda: self._answer(writer, message, pending, verdicts))

    def _create(self, writer: Writer, shard: Shard, message: Message) -> None:
        policy = message.policy
        assert policy is not None
        known = writer.model.portfolios.get(message.portfolio)
        try:
            standing, new = shard.create(message.portfolio, policy)
        except RaysignalError as error:
            check(known and known.policy != policy, f"{message.portfolio} could not be created: {error}")
            self._settled(message)
            return
        check(new == (known is None), f"{message.portfolio} was {'created twice' if new else 'not created'}")
        check(known is None or known.policy == policy, f"{message.portfolio} took another policy")
        if known is None:
            writer.model.portfolios[message.portfolio] = Model.fresh(policy)

        def answer() -> None:
            for promises in (self.acknowledged, self.news):
                promises.portfolios.setdefault(message.portfolio, policy)
            self._settled(message)

        self._wait(writer, shard, message, standing.sequence, answer)

    def _wait(
        self, writer: Writer, shard: Shard, message: Message, sequence: int, answer: Callable[[], None]
    ) -> None:
        if sequence <= shard.durable:
            self._finish(writer, answer)
        else:
            writer.waiters.append((sequence, message, answer))

    def _finish(self, writer: Writer, answer: Callable[[], None]) -> None:
        self.news = Acknowledged()
        try:
            answer()
        except StoreUnavailable as error:
            self.say(f"        {error}")  # this caller is told; the others are not concerned
            return
        own = writer.shard
        for other in self.writers:
            if own is not None and other.shard is not None and other.shard.journal.epoch > own.journal.epoch:
                where = f"the memory of writer {other.number}, which took over from writer {writer.number}"
                self.news.all_in(other.model, where)

    def _answer(self, writer: Writer, message: Message, pending: Pending, verdicts: list[Verdict]) -> None:
        submission = pending.finish()
        assert message.batch is not None
        taken, ordinals = submission.taken.tolist(), submission.ordinal.tolist()
        expected = [(verdict.taken, verdict.ordinal) for verdict in verdicts]
        found = list(zip(taken, ordinals, strict=True))
        check(found == expected, f"message {message.number} was taken as {found}; expected {expected}")
        errors = {row: type(error).__name__ for row, error in submission.errors.items()}
        refused = {row: verdict.error for row, verdict in enumerate(verdicts) if verdict.error}
        check(errors == refused, f"message {message.number} was refused as {errors}; expected {refused}")
        self._note(message, submission)
        self._settled(message)

    def _note(self, message: Message, submission: Submission) -> None:
        """What a client was told is a promise."""
        batch = message.batch
        assert batch is not None
        names, contents = batch.signal_id.to_list(), batch.content.tolist()
        assert submission.rows is not None
        assert submission.accounts is not None
        told = [row for row, taken in enumerate(submission.taken.tolist()) if taken != Taken.REFUSED]
        for row in told:
            for promises in (self.acknowledged, self.news):
                promises.take(
                    message.portfolio, names[row], contents[row], int(submission.ordinal[row]),
                    imprint(submission.rows, row, submission.accounts[row]),
                )  # fmt: skip
        for row in told[:1]:
            self.acknowledged.take_receipt(
                message.portfolio, names[row], receipt_bytes(receipt(batch, submission, row))
            )
        self.acknowledged.messages.append(message)

    def _begin(self, writer: Writer) -> None:
        if writer.shard is not None and writer.commit is None:
            writer.commit = writer.shard.next_commit()

    def _write(self, writer: Writer) -> None:
        shard, commit = writer.shard, writer.commit
        if shard is None or commit is None or writer.committing:
            return
        if any(other.is_open and other.number > writer.number for other in self.writers):
            self.faults.count("stale_write")
        writer.committing = True
        try:
            shard.write(commit)
        except StoreError as error:
            self._give_up(writer, error)
        else:
            writer.written = writer.shard is shard
        finally:
            writer.committing = False
            if writer.shard is not shard:  # it was given up meanwhile
                shard.journal.close()

    def _acknowledge(self, writer: Writer) -> None:
        shard = writer.shard
        if shard is None or not writer.written:
            return
        shard.committed()
        writer.commit, writer.written = None, False
        while writer.waiters and writer.waiters[0][0] <= shard.durable:
            self._finish(writer, writer.waiters.popleft()[2])

    def _checkpoint(self, writer: Writer, *, now: bool = False) -> None:
        shard = writer.shard
        if shard is None or writer.checkpointing:
            return
        checkpoint = shard.due_checkpoint(now=now)
        if checkpoint is None:
            return
        self.say(f"        a checkpoint at {checkpoint.position.sequence if checkpoint.position else None}")
        writer.checkpointing = True
        try:
            shard.write_checkpoint(checkpoint)
        except StoreError as error:
            if writer.shard is shard:
                self._give_up(writer, error)
        else:
            if writer.shard is shard:
                shard.checkpointed(checkpoint)
        finally:
            writer.checkpointing = False

    def _give_up(self, writer: Writer, error: StoreError) -> None:
        """As the mailbox does: everyone who waits is told, and the shard is opened anew."""
        self.say(f"        {type(error).__name__}: {error}")
        if not isinstance(error, (Fenced, StoreUnavailable)):
            raise Violated(f"nothing was damaged, and yet: {error}") from error
        if writer.shard is not None and not writer.committing:
            writer.shard.journal.close()
        writer.shard = None
        writer.waiters.clear()
        writer.commit, writer.written = None, False
        if isinstance(error, Fenced):
            self._die(writer)

    # What somebody else breaks

    def _harm(self, kind: str) -> None:
        what = {"snapshot": f"{PREFIX}/snapshots/", "run": f"{PREFIX}/identities/", "history": "history/"}
        folder, how = what[kind.split("_")[0]], kind.split("_")[1]
        names = [name for name in self._files() if folder in name and not name.endswith(".tmp")]
        if not names or not self.faults.happens(kind):
            return
        # The newest matters most.
        name = names[-1] if self.rng.random() < 0.5 else self.rng.choice(names)
        self.say(f"        {name}")
        if how == "lost":
            self._remove(name)
        else:
            self._flip_in(name, self.rng.randrange(len(self._files()[name])))

    def _lose_cache(self) -> None:
        if self.faults.happens("cache_lost"):
            shutil.rmtree(self.cache, ignore_errors=True)

    def _flip(self) -> None:
        """Damage in the middle of the journal: opening must refuse it and name the record, or not rest on it."""
        if not self.faults.happens("flipped_byte"):
            return
        with self.faults.quiet():
            onlooker = Writer(-1)
            journal_store, blobs = self.stores(onlooker)
            places = [(block.file, record) for block in journal_store.read(1) for record in block.records]
            if not places:
                return
            file, record = self.rng.choice(places)
            at = record.offset + self.rng.randrange(64 + len(record.payload))
            name = next(name for name in self._files() if name.endswith(f"{JOURNAL_FOLDER}/{SHARD}/{file}"))
            snapshot = snapshots.latest(blobs, PREFIX)
            covered = snapshot is not None and record.sequence < snapshot.position.sequence
            was = bytes(self._files()[name])
            self.say(f"        record {record.sequence} at byte {at} of {name}")
            self._flip_in(name, at)
            self._refused(lambda: verify(journal_store), record.sequence, may_pass=False)
            writer = self._start()
            self._refused(lambda: self._open(writer), record.sequence, may_pass=covered)
            self._die(writer)
            self._restore(name, was)

    def _refused(self, action: Callable[[], object], sequence: int, *, may_pass: bool) -> None:
        try:
            action()
        except JournalDamaged as error:
            check(
                error.fields.get("sequence") == sequence,
                f"record {sequence} was damaged, and the error names {error.fields.get('sequence')}: {error}",
            )
        else:
            check(may_pass, f"record {sequence} was damaged, and nobody noticed")

    def _files(self) -> dict[str, Any]:
        if self.store == "s3":
            return {name: self.objects.held[name] for name in sorted(self.objects.held)}
        return {name: inode.data for name, inode in self.platter.files().items()}

    def _remove(self, name: str) -> None:
        if self.store == "s3":
            del self.objects.held[name]
        else:
            self.platter.remove(name)

    def _restore(self, name: str, data: bytes) -> None:
        if self.store == "s3":
            self.objects.held[name] = data
        else:
            self.platter.files()[name].data[: len(data)] = data

    def _flip_in(self, name: str, at: int) -> None:
        data = bytearray(self._files()[name])
        data[at] ^= 1 << self.rng.randrange(8)
        self._restore(name, bytes(data))

    def _land(self) -> None:
        if self.objects.late:
            self.say(f"        {self.objects.land(self.rng.randrange(len(self.objects.late)))}")

    # What must be true

    def _audit(self, shard: Shard, acknowledged: Acknowledged) -> Model:
        """A shard that was just opened holds what its journal says, and all that was acknowledged before."""
        model = Model.of(list(shard.journal.replay()))
        acknowledged.all_in(model, "the journal")
        waiting = [name for name in shard.portfolios if name not in model.portfolios]
        check({*waiting} <= {*self.workload.policies}, f"{waiting} are not in the journal")
        check(not waiting or shard.has_waiting, "portfolios were created without a record")
        for name in waiting:
            model.portfolios[name] = Model.fresh(self.workload.policies[name])
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

    def settle(self) -> None:
        """The faults end: everything is sent again, everything is compared."""
        self.say("--- it settles")
        for writer in self.writers:
            self._die(writer)
        for kind in HARM_KINDS:
            self._harm(kind)
        self.faults.rates.clear()
        while self.objects.late and self.rng.random() < 0.5:
            self._land()
        writer, shard = self._fresh("at the end")
        while self.objects.late:
            self._land()
        self._commit_all(writer)
        for message in list(self.unanswered):
            self._deliver_now(writer, message)
        check(not self.unanswered, f"{len(self.unanswered)} messages were neither taken nor refused")
        self.acknowledged.all_in(writer.model, "the memory")
        for message in self.rng.sample(self.acknowledged.messages, min(3, len(self.acknowledged.messages))):
            self._deliver_now(writer, message)
        if self.rng.random() < 0.3:
            self._ask_all(writer, shard)
            self._history_is_whole(shard, writer.model)
        self._checkpoint_now(writer)
        self._history_is_whole(shard, writer.model)
        self._die(writer)
        writer, by_snapshot = self._fresh("from its snapshot")
        self._ask_all(writer, by_snapshot)
        self._die(writer)
        if self.rng.random() < 0.5:
            self._all_by_journal(by_snapshot)
        records = list(Journal.read(self.stores(Writer(-1))[0]))
        self.acknowledged.all_in(Model.of(records), "the journal as others read it")

    def _all_by_journal(self, by_snapshot: Shard) -> None:
        for name in list(self._files()):
            if any(folder in name for folder in ("/snapshots/", "/identities/", "history/")):
                self._remove(name)
        writer, by_journal = self._fresh("from the journal alone")
        check(
            _portfolios(by_snapshot) == _portfolios(by_journal),
            "the state from the snapshot is not that from the journal",
        )
        if self.rng.random() < 0.3:
            self._ask_all(writer, by_journal)
        self._history_is_whole(by_journal, writer.model)

    def _fresh(self, what: str) -> tuple[Writer, Shard]:
        self.say(f"    opens {what}")
        writer = self._start()
        self._run(lambda: self._open(writer))
        shard = writer.shard
        if shard is None:
            raise Violated(f"the shard could not be opened {what}, though nothing was in its way")
        return writer, shard

    def _deliver_now(self, writer: Writer, message: Message) -> None:
        assert writer.shard is not None
        while writer.shard.crowded:
            self._checkpoint_now(writer)
        self._deliver(writer, message)
        self._commit_all(writer)

    def _commit_all(self, writer: Writer) -> None:
        while writer.shard is not None and writer.shard.has_waiting:
            self._begin(writer)
            self._write(writer)
            self._acknowledge(writer)
            self._checkpoint(writer)

    def _checkpoint_now(self, writer: Writer) -> None:
        self._checkpoint(writer)
        self._checkpoint(writer, now=True)

    def _ask_all(self, writer: Writer, shard: Shard) -> None:
        """Every signal of the journal, sent again, gets the receipt that its rows make, and changes nothing."""
        for name, model in writer.model.portfolios.items():
            reference = Reference.of(model)
            batch = reference.batch
            if batch is None:
                continue
            before = _state(shard)
            pending = shard.submit(
                name, batch.in_time().encode(), all_or_nothing=True, accept_price_jump=False, receipts=True
            )
            submission = pending.finish()
            assert submission.rows is not None
            assert submission.accounts is not None
            check(submission.counted(Taken.REPLAYED) == len(batch), f"{name} takes known signals for new ones")
            check(_state(shard) == before, f"known signals changed {name}")
            asked = batch.in_time()
            names = asked.signal_id.to_list()
            for row, ordinal in enumerate(submission.ordinal.tolist()):
                check(model.ids[names[row]][1] == ordinal, f"{names[row]!r} of {name} moved to row {ordinal}")
                again = imprint(submission.rows, row, submission.accounts[row])
                made = imprint(reference.rows, ordinal, reference.accounts[ordinal])
                check(again == made, f"the receipt of {names[row]!r} of {name} is not what its rows make")
                acknowledged = self.acknowledged.signals.get(name, {}).get(names[row])
                check(
                    acknowledged is None or acknowledged[2] == again,
                    f"the receipt of {names[row]!r} of {name} is not the first one",
                )
                if (name, names[row]) in self.acknowledged.receipts and self.rng.random() < 0.1:
                    told = receipt_bytes(receipt(asked, submission, row))
                    self.acknowledged.take_receipt(name, names[row], told)

    def _history_is_whole(self, shard: Shard, model: Model) -> None:
        """The history and the rows that it does not hold yet are the processed rows, each once, in order."""
        for name, portfolio in model.portfolios.items():
            table, recent = history_of(shard, name)
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


def history_of(shard: Shard, name: str) -> tuple[Any, Any]:
    """All rows of a portfolio in the history, and its recent ones."""
    from engine import history

    return history.read_range(shard.blobs, name, 0, 10**9), shard.recent(name)()


def _portfolios(shard: Shard) -> str:
    return hashlib.sha256(
        repr([portfolio.dump() for portfolio in shard.portfolios.values()]).encode()
    ).hexdigest()


def _state(shard: Shard) -> tuple[Any, ...]:
    """What a refusal must not change."""
    return (
        shard.sequence,
        shard.rows_kept,
        len(shard.identities),
        [(portfolio.dump(), portfolio.bytes_kept) for portfolio in shard.portfolios.values()],
    )
