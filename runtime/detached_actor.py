"""A detached actor of the service: made where there is none, looked up again when it has died, called with patience."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raysignal.engine.core.errors import RaysignalError
from raysignal.runtime.local_cluster import NAMESPACE

T = TypeVar("T")

_RETRY_S = 0.05


def _node_of(number: int) -> NodeAffinitySchedulingStrategy:
    """The node of an actor, by its number; another one where that is gone.

    Ray's `SPREAD` counts on each node by itself, and sends actors that ask for no resources to a node by chance first.
    """
    every: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    nodes = sorted(node["NodeID"] for node in every if node["Alive"])
    return NodeAffinitySchedulingStrategy(nodes[number % len(nodes)], soft=True)


class DetachedActor:
    """An actor of the service's namespace that outlives whoever made it and is begun anew whenever it dies.

    Args:
        name: its name in the namespace.
        kind: its class.
        arguments: of the class, where there is none of that name yet.
        concurrency: calls that it has at once; None: one after another.
        number: of actors that are to be on different nodes, which of them it is; None: it may be anywhere.
    """

    def __init__(
        self,
        name: str,
        kind: type,
        *arguments: Any,
        concurrency: int | None = 1_000,
        number: int | None = None,
    ) -> None:
        self._name, self._kind, self._arguments, self._concurrency = name, kind, arguments, concurrency
        self._number = number
        self._handle: Any = None

    def handle(self) -> Any:
        """The actor, made where there is none."""
        if self._handle is None:
            options = {} if self._concurrency is None else {"max_concurrency": self._concurrency}
            self._handle = (
                ray.remote(self._kind)
                .options(
                    name=self._name,
                    namespace=NAMESPACE,
                    lifetime="detached",
                    get_if_exists=True,
                    num_cpus=0,
                    scheduling_strategy="DEFAULT" if self._number is None else _node_of(self._number),
                    max_restarts=-1,
                    # A call that was cut short may have been executed; who repeats it says so.
                    max_task_retries=0,
                    **options,
                )
                .remote(*self._arguments)
            )
        return self._handle

    def exists(self) -> bool:
        """Whether there is one; none is made."""
        try:
            ray.get_actor(self._name, namespace=NAMESPACE)
        except ValueError:
            return False
        return True

    def forget(self) -> None:
        """Look it up again at the next call."""
        self._handle = None

    def kill(self) -> None:
        """End it for good."""
        ray.kill(self.handle())
        self.forget()

    async def ask(
        self,
        call: Callable[[Any], Awaitable[T | RaysignalError]],
        *,
        patience_s: float,
        unavailable: type[RaysignalError],
        answer_s: float | None = None,
    ) -> T:
        """What the actor answers; while it is begun anew it is called again.

        Args:
            call: calls it, with the handle; may be executed more than once.
            patience_s: how long it may take to come back.
            unavailable: what is raised when it does not.
            answer_s: seconds in which it must have answered; None: it may take as long as it likes.

        Raises:
            RaysignalError: what it answered or raised.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            try:
                async with asyncio.timeout_at(None if answer_s is None else began + answer_s):
                    answer = await call(self.handle())
            except (ActorDiedError, ActorUnavailableError) as error:
                if isinstance(error, ActorDiedError):
                    self.forget()
                if loop.time() > began + patience_s:
                    raise unavailable(
                        f"the actor {self._name} did not come back within {patience_s:g} s: {error}"
                    ) from error
                await asyncio.sleep(_RETRY_S)
            except TimeoutError as error:
                raise unavailable(f"the actor {self._name} did not answer within {answer_s:g} s") from error
            except RayTaskError as error:
                raise error.cause from error
            else:
                if isinstance(answer, RaysignalError):
                    raise answer
                return answer
