"""The routes of the live feeds: how each stands, and what Prometheus reads of them."""

from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from raysignal.engine.core.errors import SettingsError
from raysignal.serve.agent import AgentRoutes, json_answer
from raysignal.serve.query import Query

if TYPE_CHECKING:
    from raysignal.runtime.agent_actors import Agent
    from raysignal.runtime.feed_actors import Feeds
    from raysignal.runtime.portfolio_actors import PortfolioClient
    from raysignal.runtime.settings import Settings


class FeedRoutes(AgentRoutes):
    """Handlers about feeds, beside those about the agent.

    Args:
        feeds: the way to the feeds; None: there are none.
    """

    def __init__(
        self, settings: "Settings", desk: "PortfolioClient", agent: "Agent | None", feeds: "Feeds | None"
    ) -> None:
        super().__init__(settings, desk, agent)
        self._feeds = feeds

    async def get_feed(self, request: Request) -> Response:
        Query(request.scope["query_string"], ())
        return json_answer({"feeds": [_shown(feed) for feed in await self._feeds_now()]})

    async def _feeds_now(self) -> list[dict[str, Any]]:
        """What every feed says of itself; what does not answer says so."""
        return [] if self._feeds is None else await self._feeds.statuses()


def feeds_of(settings: "Settings") -> "Feeds | None":
    """The feeds of these settings, whose actors are made where there are none; None: they name none.

    Raises:
        InvalidField: a venue that is none.
        SettingsError: what feeds need is not installed.
    """
    if not settings.feeds:
        return None
    try:
        from raysignal.runtime.feed_actors import Feeds  # noqa: PLC0415 - needs the extra `feeds`
    except ImportError as error:
        raise SettingsError(
            f"feeds is {list(settings.feeds)}, but {error.name} is not installed; expected the extra `feeds`"
        ) from error
    return Feeds.connect(settings)


def _shown(status: dict[str, Any]) -> dict[str, Any]:
    """Without the buckets, which are for Prometheus."""
    latency = {
        stage: {name: value for name, value in figures.items() if name not in {"buckets", "total_s"}}
        for stage, figures in status.get("latency", {}).items()
    }
    return status | ({"latency": latency} if latency else {})
