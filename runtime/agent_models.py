"""The models that the agent asks: one for opinions, one that embeds texts, and how many calls are left."""

import asyncio
import os
from typing import Any

from pydantic import SecretStr

from raysignal.agents.llm.adviser import Adviser
from raysignal.agents.llm.budget import Period
from raysignal.agents.llm.caller import ModelCaller
from raysignal.agents.llm.embeddings import EmbeddedTexts, EmbeddingModel, EmbeddingRequest
from raysignal.agents.llm.models import ModelSettings
from raysignal.agents.override.live_embeddings import LiveEmbeddings
from raysignal.agents.override.log import OutcomeLog
from raysignal.engine.core.errors import RaysignalError
from raysignal.runtime.advisers import BURST, adviser_of
from raysignal.runtime.agent_settings import budget_file, embeddings_of, model_of
from raysignal.runtime.model_budget_actor import ClusterAllowance, ModelQuota
from raysignal.runtime.settings import Settings

EmbeddingCaller = ModelCaller[EmbeddingRequest, EmbeddedTexts]


class AgentModels:
    """Who is asked, made at the first use and kept over the agent's lives.

    Args:
        settings: of the service.
        api_key: of the model, empty where it needs none; None: as this process's environment has it.
        embeddings_key: the same of the model that embeds texts.
    """

    def __init__(
        self, settings: Settings, api_key: SecretStr | None, embeddings_key: SecretStr | None
    ) -> None:
        self._settings = settings
        found = model_of(settings).key_in(os.environ)
        self._api_key = api_key.get_secret_value() if api_key is not None else found
        self._embeddings_key = None if embeddings_key is None else embeddings_key.get_secret_value()
        self._allowance: ClusterAllowance | None = None
        self._model_off = ""
        self._adviser: Adviser | None = None
        self._embeddings_off = ""
        self._embedding_caller: EmbeddingCaller | None = None
        self._embeddings: LiveEmbeddings | None = None

    async def adviser(self) -> Adviser | None:
        """Who asks the model; None, with the reason kept, if nobody can."""
        if self._adviser is None:
            self._adviser, self._model_off = await adviser_of(
                self._settings, self._api_key, self._made_allowance
            )
        return self._adviser

    async def advise(self) -> tuple[Adviser | None, str]:
        """Who asks the model; None, and why, if nobody can."""
        return await self.adviser(), self._model_off

    async def embeddings(self, log: OutcomeLog) -> LiveEmbeddings | None:
        """The vectors of texts, on record and to come; None: texts are hashed."""
        if (settings := embeddings_of(self._settings)) is None:
            return None
        recorded, log.texts = log.texts, []
        self._embeddings = LiveEmbeddings(
            recorded, log.append_texts, await self._made_embedding_caller(settings)
        )
        return self._embeddings

    async def _made_embedding_caller(self, settings: ModelSettings) -> EmbeddingCaller | None:
        """Who embeds texts; None, with the reason kept, if nobody can."""
        if self._embedding_caller is not None:
            return self._embedding_caller
        try:
            model = EmbeddingModel(settings, self._embeddings_key or settings.key_in(os.environ))
            await model.warm()
            allowance = await self._made_allowance()
        except (ImportError, RaysignalError) as error:
            self._embeddings_off = str(error)
            return None
        self._embeddings_off = ""
        self._embedding_caller = ModelCaller(
            model, allowance, deadline_s=self._settings.llm.deadline_s, concurrency=BURST
        )
        return self._embedding_caller

    async def _made_allowance(self) -> ClusterAllowance:
        """How many calls may be made, of whatever model."""
        if self._allowance is None:
            llm = self._settings.llm
            quota = ModelQuota(llm.budget, Period.DAY, llm.per_minute, BURST, budget_file(self._settings))
            self._allowance = await asyncio.to_thread(
                ClusterAllowance.connect, quota, name=f"model-budget-{self._settings.agent.portfolio}"
            )
        return self._allowance

    @property
    def mode(self) -> str:
        """Who decides."""
        if self._adviser is None:
            return "gate"
        return "gate and reviewer" if self._settings.agent.policy == "review" else "gate and model"

    async def status(self) -> dict[str, Any]:
        """Of the model, see `GET /agent`."""
        settings, adviser = self._settings, self._adviser
        trouble = (adviser.trouble if adviser is not None else "") or None
        return {
            "name": settings.llm.model,
            "why_off": self._model_off or None,
            "trouble": trouble,
            "budget": settings.llm.budget,
            "left": None if self._allowance is None else await self._allowance.left(),
            "opinions": {} if adviser is None else {
                reason.value: count for reason, count in sorted(adviser.counts.items())
            },
        }  # fmt: skip

    def embeddings_status(self) -> dict[str, Any] | None:
        """Of the model that embeds texts; None: they are hashed."""
        if not self._settings.agent.embeddings:
            return None
        made = self._embeddings
        return {
            "name": self._settings.agent.embeddings,
            "why_off": self._embeddings_off or None,
            "trouble": (made.trouble if made is not None else "") or None,
            "texts": {} if made is None else dict(sorted(made.counts.items())),
        }

    def end(self) -> None:
        """Give back what may still be asked."""
        if self._allowance is not None:
            self._allowance.end()
