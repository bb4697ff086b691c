"""GETs to a venue's REST side: within its limits, tried again for as long as that makes sense."""

import asyncio
from random import Random

import httpx

from raysignal.engine.core.errors import StoreUnavailable, UnreadableInput, VenueRefusal
from raysignal.engine.core.hosts import is_loopback
from raysignal.engine.market.backoff import Backoff, retry_after_s
from raysignal.engine.market.clocks import Clock
from raysignal.engine.market.limits import VenueLimits
from raysignal.engine.market.monitoring.feed_metrics import FeedMetrics
from raysignal.engine.market.venues.protocol import RestRequest

_LIMITED = frozenset({403, 418, 429})
_BANS = frozenset({403, 418})
_TRIED_AGAIN = frozenset({408, 425, 500, 502, 503, 504})
# Without Retry-After: 418 is a ban that grows with every further request, 403 that of a firewall or of Bybit.
_BAN_S, _LIMITED_S = 120.0, 10.0
_MOST_BYTES = 64 << 20


class RestClient:
    """One venue's REST side. Everybody of the venue waits while the venue says to."""

    def __init__(
        self, base: str, limits: VenueLimits, clock: Clock, observed: FeedMetrics, random: Random, *,
        answer_s: float = 10.0,
    ) -> None:  # fmt: skip
        self._limits, self._clock, self._observed, self._random = limits, clock, observed, random
        self._base, self._answer_s = base, answer_s
        # A proxy of the environment is for venues, not for an exchange of this machine.
        self._client = httpx.AsyncClient(
            base_url=base,
            timeout=max(1.0, clock.real(answer_s)),
            trust_env=not is_loopback(httpx.URL(base).host),
        )
        self._at_once = asyncio.Semaphore(limits.at_once)

    async def get(self, request: RestRequest, *, tries: int | None = None) -> bytes:
        """The body of a 200, waited for; `tries`: at most so many, None: until it comes.

        Raises:
            VenueRefusal: the venue refuses this request for good (a 4xx that is none of its limits).
            UnreadableInput: an answer that is too long.
            StoreUnavailable: no answer within `tries`.
        """
        backoff = Backoff(self._random, first_s=0.5, most_s=30.0)
        async with self._at_once:
            while True:
                await self._turn(request)
                answer = await self._send(request)
                if answer is not None and answer.status_code == 200:
                    if len(answer.content) > _MOST_BYTES:
                        raise UnreadableInput(f"{self._base}{request.path}: more than {_MOST_BYTES} bytes")
                    return answer.content
                self._observed.rest_errors += 1
                wait = backoff.failed()
                if answer is not None:
                    wait = max(wait, self._asked_wait(answer))
                if tries is not None and backoff.failures >= tries:
                    said = "no answer" if answer is None else f"{answer.status_code} {answer.text[:200]}"
                    raise StoreUnavailable(f"{self._base}{request.path}: {said}")
                await self._clock.sleep(wait)

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.aclose()

    async def _turn(self, request: RestRequest) -> None:
        wait = self._limits.weight.reserve(self._clock.monotonic(), request.weight)
        while wait > 0:
            await self._clock.sleep(wait)
            wait = self._limits.weight.paused_for(self._clock.monotonic())

    async def _send(self, request: RestRequest) -> httpx.Response | None:
        self._observed.rest_requests += 1
        try:
            return await self._client.get(request.path)
        except httpx.HTTPError:
            return None

    def _asked_wait(self, answer: httpx.Response) -> float:
        """What the venue asks for, and of whom: a limit is everybody's. An error that stays is raised."""
        status, asked = answer.status_code, retry_after_s(answer.headers.get("Retry-After"))
        if status in _LIMITED:
            self._observed.rest_limited += 1
            wait = asked if asked is not None else _BAN_S if status in _BANS else _LIMITED_S
            self._limits.weight.pause(self._clock.monotonic() + wait)
            return wait
        if status in _TRIED_AGAIN or status >= 500:
            return asked or 0.0
        raise VenueRefusal(f"{self._base}{answer.request.url.path}: {status} {answer.text[:200]}")
