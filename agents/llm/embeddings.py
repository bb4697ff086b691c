"""The wire to a model of the Gemini API that embeds texts: a call of LangChain's, one attempt."""

from collections.abc import Sequence

import httpx
from langchain_google_genai import GoogleGenerativeAIEmbeddings
from pydantic import SecretStr

from raysignal.agents.llm.calls import DETAIL_LIMIT
from raysignal.agents.llm.chat_wire import check_not_vertex, proxy_for
from raysignal.agents.llm.models import ModelSettings, check_access
from raysignal.agents.llm.prompting import clean
from raysignal.engine.core.errors import AgentUnavailable

TIMEOUT_S = 60.0


class EmbeddingConnection:
    """A model that embeds texts, at an address.

    Args:
        settings: which model of the Gemini API, and where.
        api_key: any text will do for a loopback server.

    Raises:
        SettingsError: see `check_access`; or the environment makes the SDK speak to somebody else.
    """

    def __init__(self, settings: ModelSettings, api_key: str | None) -> None:
        self._model, self._api_key = settings.name, check_access(settings, api_key)
        self._transport = httpx.HTTPTransport(proxy=proxy_for(settings.url))
        self._embeddings = GoogleGenerativeAIEmbeddings(
            model=settings.name,
            api_key=SecretStr(self._api_key),
            base_url=settings.url,
            vertexai=False,
            client_args={"transport": self._transport, "follow_redirects": False, "timeout": TIMEOUT_S},
        )
        check_not_vertex(self._embeddings.client)

    def embed(self, texts: Sequence[str], dimensions: int) -> list[list[float]]:
        """The vectors of some texts, in their order; each call that they need is made once.

        Raises:
            AgentUnavailable: no answer, or none that can be read.
        """
        try:
            found = self._embeddings.embed_documents(
                list(texts),
                batch_size=len(texts),
                task_type="CLASSIFICATION",
                output_dimensionality=dimensions,
            )
        except Exception as error:  # noqa: BLE001 - LangChain wraps whatever a server or a network does
            said = clean(str(error).replace(self._api_key, "(key)"), DETAIL_LIMIT)
            raise AgentUnavailable(f"{self._model} embedded no texts: {said}") from None
        if len(found) != len(texts):
            raise AgentUnavailable(f"{self._model} embedded {len(found)} texts; expected {len(texts)}")
        return found

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()
