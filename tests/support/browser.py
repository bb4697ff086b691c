"""A page in a headless Chromium, spoken to over its DevTools protocol. Loopback only."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)
"""Where it is; None: there is none."""
WITHIN_S = 120.0
_OPTIONS = (
    "--headless=new", "--no-sandbox", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0",
)  # fmt: skip


class BrowserPage:
    """A page; made by `page`."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = count(1)

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a command of the protocol."""
        number = next(self._numbers)
        await self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        return await self._message("id", number)

    async def open(self, url: str) -> None:
        """Show an address, until it is loaded."""
        await self.ask("Page.enable")
        await self.ask("Page.navigate", url=url)
        await self._message("method", "Page.loadEventFired")

    async def run(self, script: str) -> Any:
        """What an expression is, or the promise that it is becomes."""
        told = await self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told["result"], told
        return told["result"]["result"].get("value")

    async def _message(self, name: str, value: Any) -> dict[str, Any]:
        async with asyncio.timeout(WITHIN_S):
            while (told := json.loads(await self._socket.recv())).get(name) != value:
                pass
        return dict(told)


@asynccontextmanager
async def page(folder: Path) -> AsyncIterator[BrowserPage]:
    """An empty page of a browser of its own, whose profile is kept in the folder."""
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, *_OPTIONS, f"--user-data-dir={folder}", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        async with asyncio.timeout(WITHIN_S):
            while b"DevTools listening on " not in (line := await process.stderr.readline()):
                assert line, "the browser ended"
        door = line.split()[-1].decode().removeprefix("ws://").partition("/")[0]
        async with httpx.AsyncClient() as http:
            targets = (await http.get(f"http://{door}/json/list", timeout=WITHIN_S)).json()
        address = next(each["webSocketDebuggerUrl"] for each in targets if each["type"] == "page")
        async with connect(address, max_size=None, proxy=None) as socket:
            yield BrowserPage(socket)
    finally:
        process.kill()
        await process.communicate()
