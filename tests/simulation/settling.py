"""The end of a schedule: the faults are over, everything is sent again, everything is compared."""

from raysignal.engine.journal.journal import Journal
from raysignal.engine.portfolio.shard import Shard
from tests.simulation.audit import answers_as_ever, history_is_whole, portfolios_of
from tests.simulation.faults import HARM_KINDS
from tests.simulation.oracle import Model, Violated, check
from tests.simulation.workload import Message
from tests.simulation.world import World, Writer


def settle(world: World) -> None:
    """The faults end: everything is sent again, everything is compared."""
    world.say("--- it settles")
    for writer in world.writers:
        world.die(writer)
    for kind in HARM_KINDS:
        world.harm(kind)
    world.faults.rates.clear()
    while world.objects.late and world.rng.random() < 0.5:
        world.land()
    writer, shard = _fresh(world, "at the end")
    while world.objects.late:
        world.land()
    _commit_all(world, writer)
    for message in list(world.unanswered):
        _deliver_now(world, writer, message)
    check(not world.unanswered, f"{len(world.unanswered)} messages were neither taken nor refused")
    world.acknowledged.all_in(writer.model, "the memory")
    for message in world.rng.sample(world.acknowledged.messages, min(3, len(world.acknowledged.messages))):
        _deliver_now(world, writer, message)
    if world.rng.random() < 0.3:
        answers_as_ever(shard, writer.model, world.acknowledged, world.rng)
        history_is_whole(shard, writer.model)
    _checkpoint_now(world, writer)
    history_is_whole(shard, writer.model)
    world.die(writer)
    writer, by_snapshot = _fresh(world, "from its snapshot")
    answers_as_ever(by_snapshot, writer.model, world.acknowledged, world.rng)
    world.die(writer)
    if world.rng.random() < 0.5:
        _all_by_journal(world, by_snapshot)
    records = list(Journal.read(world.stores(Writer(-1))[0]))
    world.acknowledged.all_in(Model.of(records), "the journal as others read it")


def _all_by_journal(world: World, by_snapshot: Shard) -> None:
    for name in list(world.medium.files()):
        if any(folder in name for folder in ("/snapshots/", "/identities/", "history/")):
            world.medium.remove(name)
    writer, by_journal = _fresh(world, "from the journal alone")
    check(
        portfolios_of(by_snapshot) == portfolios_of(by_journal),
        "the state from the snapshot is not that from the journal",
    )
    if world.rng.random() < 0.3:
        answers_as_ever(by_journal, writer.model, world.acknowledged, world.rng)
    history_is_whole(by_journal, writer.model)


def _fresh(world: World, what: str) -> tuple[Writer, Shard]:
    world.say(f"    opens {what}")
    writer = world.start()
    world.run_event(lambda: world.open(writer))
    shard = writer.shard
    if shard is None:
        raise Violated(f"the shard could not be opened {what}, though nothing was in its way")
    return writer, shard


def _deliver_now(world: World, writer: Writer, message: Message) -> None:
    assert writer.shard is not None
    while writer.shard.crowded:
        _checkpoint_now(world, writer)
    world.deliver(writer, message)
    _commit_all(world, writer)


def _commit_all(world: World, writer: Writer) -> None:
    while writer.shard is not None and writer.shard.has_waiting:
        world.begin(writer)
        world.write(writer)
        world.acknowledge(writer)
        world.checkpoint(writer)


def _checkpoint_now(world: World, writer: Writer) -> None:
    world.checkpoint(writer)
    world.checkpoint(writer, now=True)
