"""The typed client that `openapi-python-client` makes of the OpenAPI document; `make client` brings the program."""

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.support.one_replica import replica

ROOT = Path(__file__).parents[2]
GENERATOR = shutil.which(
    "openapi-python-client", path=f"{ROOT}/.venv-client/bin{os.pathsep}{os.environ['PATH']}"
)


async def document_of(folder: Path) -> dict[str, Any]:
    async with replica(folder) as found, asgi(found.front) as http:
        document: dict[str, Any] = (await http.get("/openapi.json")).json()
        return document


def asgi(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


async def test_every_schema_is_one_that_typed_clients_have_a_type_for(tmp_path: Path) -> None:
    """What generators leave out: enumerations of several types, and references that lead nowhere."""
    document = await document_of(tmp_path)
    for schema in parts_of(document):
        if "enum" in schema:
            assert len({type(value) for value in schema["enum"]}) == 1, schema
        if "$ref" in schema:
            name = schema["$ref"].removeprefix("#/components/schemas/")
            assert name in document["components"]["schemas"], schema
    for path in ("/signal", "/signals"):
        assert "application/json" in document["paths"][path]["post"]["requestBody"]["content"]


def parts_of(value: Any) -> Iterator[dict[str, Any]]:
    """Every object within a document; examples are no part of it."""
    if isinstance(value, dict):
        yield value
        for name, held in value.items():
            if name not in {"example", "examples"}:
                yield from parts_of(held)
    elif isinstance(value, list):
        for held in value:
            yield from parts_of(held)


@pytest.mark.skipif(GENERATOR is None, reason="openapi-python-client is not there; `make client` brings it")
async def test_a_generated_client_posts_signals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "openapi.json").write_bytes(orjson.dumps(await document_of(tmp_path / "store")))
    assert GENERATOR is not None
    subprocess.run(  # noqa: ASYNC221 - nothing else runs meanwhile
        [GENERATOR, "generate", "--path", "openapi.json", "--output-path", "typed_client", "--meta", "none"],
        cwd=tmp_path, check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    monkeypatch.syspath_prepend(str(tmp_path))
    typed: Any = importlib.import_module("typed_client")
    models: Any = importlib.import_module("typed_client.models")
    post_signal: Any = importlib.import_module("typed_client.api.default.post_signal")
    post_signals: Any = importlib.import_module("typed_client.api.default.post_signals")
    sent = [
        models.SignalBody.from_dict(
            {"timestamp": f"2025-02-24T00:0{minute}:00Z", "signal": "BUY", "price": 100.0}
        )
        for minute in range(3)
    ]
    try:
        async with replica(tmp_path / "service") as found, asgi(found.front) as http:
            client = typed.Client(base_url="http://localhost").set_async_httpx_client(http)
            receipt = await post_signal.asyncio(client=client, body=sent[0])
            assert isinstance(receipt, models.ReceiptBody)
            assert (receipt.replayed, receipt.ordinal, receipt.fill.side) == (False, 0, "BUY")
            batch = await post_signals.asyncio(client=client, body=sent)
            assert isinstance(batch, models.BatchBody)
            assert (batch.accepted, batch.replayed) == (2, 1)
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "typed_client"]:
            del sys.modules[name]
