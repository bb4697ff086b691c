"""One schedule: writers, clients and a network, driven step by step by a seed.

There are no threads and there is no time. A writer's blocking call runs to its end at its step, but before each
of its operations on the disk or the bucket other steps may run, its own process may die, or the operation may
fail: that is how two writers, or a commit and a checkpoint of one writer, come between each other.
"""

import random
import shutil
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from raysignal.engine.core.errors import (
    Fenced,
    JournalDamaged,
    RaysignalError,
    RowErrors,
    StoreError,
    StoreUnavailable,
)
from raysignal.engine.journal import snapshots
from raysignal.engine.journal.blobs import JOURNAL_FOLDER, BlobStore, S3Blobs
from raysignal.engine.journal.bucket import Bucket
from raysignal.engine.journal.journal import Commit, JournalStore, verify
from raysignal.engine.journal.local import LocalStore
from raysignal.engine.journal.s3 import S3Store
from raysignal.engine.portfolio.receipts import RowResult, Submission, receipt
from raysignal.engine.portfolio.shard import PendingSubmission, Shard, ShardLimits
from tests.simulation.audit import opened_well, state_of
from tests.simulation.bucket import Objects, SimS3
from tests.simulation.disk import Platter, SimDisk
from tests.simulation.faults import HARM_KINDS, KINDS, Faults, SimCrash
from tests.simulation.medium import Medium, SimBlobs
from tests.simulation.oracle import (
    Acknowledged,
    Model,
    Verdict,
    Violated,
    check,
    imprint,
    receipt_bytes,
)
from tests.simulation.workload import Message, Workload

SHARD = "shard=0000"
PREFIX = f"state/{SHARD}"
_ROOT = Path("/store")

Event = tuple[float, str, Callable[[], None]]
"""How likely, what it says in the trace, what it does."""

_DEEPEST = 2
"""How many steps may be inside one another."""


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
        self.medium = Medium(self.platter if store == "local" else None, self.objects)
        self.workload = Workload(random.Random(f"work {seed}"))
        self.limits = ShardLimits(checkpoint_rows=self.rng.choice((3, 5, 7, 12, 40)))
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
        """All but the end of the schedule; raises `Violated` when a promise was broken."""
        for _ in range(self.rng.randrange(25, 75)):
            self.step()

    # What happens next

    def _plan(self) -> None:
        rng = self.faults.rng
        kinds = [kind for kind in KINDS[self.store] if rng.random() < 0.4]
        for kind in kinds:
            often = not kind.startswith(
                ("kill_b", "kill_a", "power_", "disk_", "s3_", "client_", "interleaved")
            )
            rates = (0.3, 0.9) if often else (0.02, 0.05, 0.15)
            self.faults.rates[kind] = rng.choice((0.05, 0.2, 0.5) if kind.startswith("client_") else rates)
        self.faults.budget = rng.choice((0, 4, 10, 10, 20))

    def step(self) -> None:
        """One event, among those that are possible now."""
        events = self._possible()
        if not events:
            return
        weights = [weight for weight, _, _ in events]
        ((_, name, event),) = self.rng.choices(events, weights)
        self.steps += 1
        self.say(f"{'  ' * self.depth}{self.steps:3} {name}")
        self.run_event(event)

    def run_event(self, event: Callable[[], None]) -> None:
        self.depth += 1
        try:
            event()
        except SimCrash:
            self.say(f"{'  ' * self.depth}    … and it is gone")
        finally:
            self.depth -= 1

    def _possible(self) -> list[Event]:
        alive = [writer for writer in self.writers if not writer.dead]
        events = self._of_clients(reachable=any(writer.is_open for writer in alive))
        for writer in alive:
            events += self._of_writer(writer)
        if not alive:
            events.append((5, "a writer starts", self.start))
            events += self._of_others() if self.depth == 0 else []
        elif len(alive) < 3 and self.faults.rates.get("takeover"):
            events.append((0.5, "another writer starts", self._take_over))
        if self.objects.late:
            events.append((1.5, "a late write lands", self.land))
        return events

    def _of_clients(self, *, reachable: bool) -> list[Event]:
        events: list[Event] = []
        if self.to_send:
            events.append((3, "client sends", self._send))
        if self.unanswered:
            events.append((1.5, "client sends again", self._retry))
        if self.network and reachable:
            events.append((6, "message arrives", self._arrive))
        return events

    def _of_writer(self, writer: Writer) -> list[Event]:
        name, shard = f"writer {writer.number}", writer.shard
        if shard is None:
            return [] if writer.opening else [(4, f"{name} opens", lambda: self.open(writer))]
        events: list[Event] = []
        if writer.commit is None and shard.has_waiting:
            events.append((3, f"{name} takes a commit", lambda: self.begin(writer)))
        if writer.commit is not None and not writer.written and not writer.committing:
            events.append((4, f"{name} writes", lambda: self.write(writer)))
        if writer.written:
            events.append((4, f"{name} acknowledges", lambda: self.acknowledge(writer)))
        if not writer.checkpointing and shard.rows_kept:
            events.append((0.4, f"{name} flushes", lambda: self.checkpoint(writer, now=True)))
        if not writer.checkpointing and shard._captured is not None:
            events.append((2, f"{name} makes a checkpoint", lambda: self.checkpoint(writer)))
        if self.faults.rates.get("kill_idle"):
            events.append((0.4, f"{name} is killed", lambda: self._kill_idle(writer)))
        return events

    def _of_others(self) -> list[Event]:
        events: list[Event] = [
            (2, kind, partial(self.harm, kind)) for kind in HARM_KINDS if self.faults.rates.get(kind)
        ]
        if self.faults.rates.get("flipped_byte"):
            events.append((2, "a byte flips", self._flip))
        if self.store == "s3" and self.faults.rates.get("cache_lost"):
            events.append((1, "the cache is lost", self._lose_cache))
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
        self.deliver(opened[-1] if self.rng.random() < 0.7 else self.rng.choice(opened), message)

    def _settled(self, message: Message) -> None:
        message.settled = True
        if message in self.unanswered:
            self.unanswered.remove(message)

    # Writers

    def start(self) -> Writer:
        writer = Writer(len(self.writers))
        self.writers.append(writer)
        return writer

    def _take_over(self) -> None:
        if self.faults.happens("takeover"):
            self.start()

    def _crash(self, writer: Writer, how: str) -> None:
        if how == "power_loss":
            for each in self.writers:
                self.die(each)
            self.platter.lose_power()
        else:
            self.die(writer)

    def die(self, writer: Writer) -> None:
        writer.dead = True
        writer.shard = None
        writer.waiters.clear()

    def _kill_idle(self, writer: Writer) -> None:
        if self.faults.happens("kill_idle"):
            self.die(writer)

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
            client,
            "bucket",
            "results/",
            jitter=random.Random(self.seed),
            sleep=lambda _s: None,
            page=self.page,
        )
        return S3Store(bucket.under(f"{JOURNAL_FOLDER}/{SHARD}/"), token=self._token, readers=1), S3Blobs(
            bucket
        )

    def _token(self) -> bytes:
        self.tokens += 1
        return self.tokens.to_bytes(16, "little")

    def open(self, writer: Writer) -> None:
        writer.opening = True
        try:
            shard = self._opened(writer)
        except Fenced:
            self.die(writer)
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
            writer.model = opened_well(shard, before, self.workload.policies)
        return shard

    @property
    def cache(self) -> Path:
        """The folder for copies of runs, which outlives the processes of a machine."""
        return self.scratch / "cache"

    def deliver(self, writer: Writer, message: Message) -> None:
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
        before = state_of(shard)
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
            check(state_of(shard) == before, f"message {message.number} was refused and changed something")
            self._settled(message)
            return
        check(
            not (message.all_or_nothing and refused),
            f"message {message.number} was taken in part: {[verdict.error for verdict in refused]}",
        )
        fresh = [row for row, verdict in enumerate(verdicts) if verdict.taken == RowResult.ACCEPTED]
        if fresh:
            model.apply(message.batch.take(fresh))
        else:
            check(
                state_of(shard) == before, f"message {message.number} held nothing new and changed something"
            )
        self._wait(writer, shard, message, pending.sequence, lambda: self._answer(message, pending, verdicts))

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

    def _answer(self, message: Message, pending: PendingSubmission, verdicts: list[Verdict]) -> None:
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
        told = [row for row, taken in enumerate(submission.taken.tolist()) if taken != RowResult.REFUSED]
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

    def begin(self, writer: Writer) -> None:
        if writer.shard is not None and writer.commit is None:
            writer.commit = writer.shard.next_commit()

    def write(self, writer: Writer) -> None:
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

    def acknowledge(self, writer: Writer) -> None:
        shard = writer.shard
        if shard is None or not writer.written:
            return
        shard.committed()
        writer.commit, writer.written = None, False
        while writer.waiters and writer.waiters[0][0] <= shard.durable:
            self._finish(writer, writer.waiters.popleft()[2])

    def checkpoint(self, writer: Writer, *, now: bool = False) -> None:
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
            self.die(writer)

    # What somebody else breaks

    def harm(self, kind: str) -> None:
        what = {"snapshot": f"{PREFIX}/snapshots/", "run": f"{PREFIX}/identities/", "history": "history/"}
        kept, how = kind.split("_")
        folder = what[kept]
        names = [name for name in self.medium.files() if folder in name and not name.endswith(".tmp")]
        if not names or not self.faults.happens(kind):
            return
        # The newest matters most.
        name = names[-1] if self.rng.random() < 0.5 else self.rng.choice(names)
        self.say(f"        {name}")
        if how == "lost":
            self.medium.remove(name)
        else:
            self.medium.flip(name, self.rng.randrange(len(self.medium.files()[name])), self.rng)

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
            name = next(
                name for name in self.medium.files() if name.endswith(f"{JOURNAL_FOLDER}/{SHARD}/{file}")
            )
            snapshot = snapshots.latest(blobs, PREFIX)
            covered = snapshot is not None and record.sequence < snapshot.position.sequence
            was = bytes(self.medium.files()[name])
            self.say(f"        record {record.sequence} at byte {at} of {name}")
            self.medium.flip(name, at, self.rng)
            self._refused(lambda: verify(journal_store), record.sequence, may_pass=False)
            writer = self.start()
            self._refused(lambda: self.open(writer), record.sequence, may_pass=covered)
            self.die(writer)
            self.medium.restore(name, was)

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

    def land(self) -> None:
        if self.objects.late:
            self.say(f"        {self.objects.land(self.rng.randrange(len(self.objects.late)))}")
