"""What a process of the service talks to: the portfolios, the store, the agent and the feeds."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raysignal.engine.core.errors import SettingsError
from raysignal.engine.journal.blobs import BlobStore
from raysignal.runtime.agent_actors import Agent
from raysignal.runtime.bootstrap import build_stores
from raysignal.runtime.model_signals import ModelSignals
from raysignal.runtime.portfolio_actors import PortfolioClient
from raysignal.runtime.settings import Settings

if TYPE_CHECKING:
    from raysignal.runtime.feed_actors import Feeds
    from raysignal.runtime.pipeline_actors import Pipelines


@dataclass(frozen=True, slots=True)
class ServiceClients:
    """The clients of one service.

    Attributes:
        portfolios: of the portfolio actors, with a direct line to those on this node.
        blobs: of the store.
        agent: None where there is none.
        feeds, pipelines: None where the settings name none.
        models: what generates signals.
    """

    portfolios: PortfolioClient
    blobs: BlobStore
    agent: Agent | None
    feeds: "Feeds | None"
    pipelines: "Pipelines | None"
    models: ModelSignals

    @classmethod
    def connect(cls, settings: Settings, environ: Mapping[str, str]) -> "ServiceClients":
        """Connect to the actors of a service, which are made where they do not exist.

        Raises:
            InvalidField: a venue that is none.
            SettingsError: a setting cannot be used, or what it needs is not installed.
        """
        portfolios = PortfolioClient.connect(settings, direct=True)
        blobs = build_stores(settings).blobs
        return cls(
            portfolios,
            blobs,
            Agent.connect(settings, environ),
            connect_feeds(settings),
            connect_pipelines(settings),
            ModelSignals.connect(settings),
        )


def connect_feeds(settings: Settings) -> "Feeds | None":
    """The client of the live feeds, whose actors are made where there are none; None: the settings name no feed."""
    if not settings.feed.instruments:
        return None
    try:
        from raysignal.runtime.feed_actors import Feeds  # noqa: PLC0415 - needs the extra `feeds`
    except ImportError as error:
        raise SettingsError(
            f"feeds is {list(settings.feed.instruments)}, but {error.name} is not installed; expected the extra `feeds`"
        ) from error
    return Feeds.connect(settings)


def connect_pipelines(settings: Settings, taken: Collection[str] = ()) -> "Pipelines | None":
    """The client of the live pipelines, whose actors are made where there are none; None: the settings name no file.

    `taken`: names of portfolios that there are already, which no pipeline can have.
    """
    if not settings.pipeline.files:
        return None
    try:
        from raysignal.runtime.pipeline_actors import Pipelines  # noqa: PLC0415 - needs the extra `feeds`
    except ImportError as error:
        raise SettingsError(
            f"pipeline.files is {list(settings.pipeline.files)}, but {error.name} is not installed; expected the extra "
            "`feeds`"
        ) from error
    return Pipelines.connect(settings, taken)
