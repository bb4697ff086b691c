"""`raysignal stream` against a server that is made up."""

import asyncio
import json

from typer.testing import CliRunner

from raysignal.cli.main import app
from tests.unit.runtime.test_stream_client import first_life, second_life, service


async def test_messages_are_written_a_line_each_and_a_broken_connection_is_resumed() -> None:
    async with service(first_life, second_life) as (url, asked):
        asking = [
            "stream",
            "--url",
            url,
            "--type",
            "signal",
            "--type",
            "fill",
            "--symbol",
            "BTC",
            "--limit",
            "5",
        ]
        ended = await asyncio.to_thread(CliRunner().invoke, app, asking)
    assert ended.exit_code == 0, ended.output
    assert [json.loads(line)["sequence"] for line in ended.stdout.splitlines()] == [0, 1, 2, 2, 3]
    assert asked[0] == {"types": "signal,fill", "symbols": "BTC", "lines": "true"}


async def test_a_sequence_that_is_none_is_wrong_usage() -> None:
    ended = await asyncio.to_thread(CliRunner().invoke, app, ["stream", "--since", "soon"])
    assert ended.exit_code == 2
    assert "--since is 'soon'; expected a sequence" in ended.stderr


async def test_a_refusal_of_the_service_is_an_error_with_its_sentence() -> None:
    async with service(refusal=(403, b'{"detail": "Origin is another"}')) as (url, _):
        ended = await asyncio.to_thread(CliRunner().invoke, app, ["stream", "--url", url])
    assert ended.exit_code == 1
    assert "Origin is another" in ended.stderr
