"""An agent with its portfolios in a process that is killed: signals come in one by one, a model reviews them.

The process is forked from one that has imported all this (`multiprocessing`'s fork server), since a life begins often.
"""

import asyncio
import json
import multiprocessing
import threading
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from raysignal.agents.override.breaker import BreakerRules
from raysignal.agents.override.reviewer import ReviewRules
from raysignal.agents.override.terms import AgentTerms
from raysignal.loopback.gemini import GeminiServer
from tests.support.advising import advising
from tests.support.enhanced_world import POLICY, RULES, World, stream

PATIENCE_S = 240.0
"""For what must come, on a machine that has other things to do."""
_DEADLINE_S = 3_600.0


class HeldGemini(GeminiServer):
    """Answers at once, but for the calls whose numbers are in `held`: those wait until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.held: set[int] = set()
        self.arrived = threading.Semaphore(0)
        self.let_go = threading.Semaphore(0)

    def note(self, body: dict[str, Any]) -> Any:
        behaviour = super().note(body)
        if len(self.requests) in self.held:
            self.arrived.release()
            self.let_go.acquire()
        return behaviour


async def decide_all(folder: Path, url: str, rows: int) -> list[dict[str, Any]]:
    """Go on where the store is, until so many signals are decided; what the agent says of each.

    The clock has no say: an answer that takes long is waited for.
    """
    world, batch = World(folder), stream(rows, 3, bars=6, volatility=0.01)
    own = AgentTerms(
        "baseline", "enhanced", POLICY, replace(RULES, review=ReviewRules()), BreakerRules(limit_bps=-1e6)
    )
    async with advising(url, deadline_s=_DEADLINE_S) as adviser:
        follower = await world.begin(own, adviser)
        while follower.count < rows:
            if world.shard.standing("baseline").count == follower.count:
                world.post(batch.take([follower.count]))
            await follower.step(0.0)
    found = [world.shard.find("enhanced", name)().decided for name in batch.signal_id.to_list()]
    return [{"action": each.action, "by": each.by, **json.loads(each.explanation)} for each in found]


def _live(folder: Path, url: str, rows: int) -> None:
    said = asyncio.run(decide_all(folder, url, rows))
    (folder / "said.json").write_text(json.dumps(said))


def begun(folder: Path, url: str, rows: int) -> BaseProcess:
    """A life of the agent; it leaves `said.json` when all is decided."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    life = context.Process(target=_live, args=(folder, url, rows), daemon=True)
    life.start()
    return life
