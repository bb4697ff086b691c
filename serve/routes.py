"""The routes: from a request to the desk and back. Bodies are read by `engine.intake`, answers are plain JSON."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from raysignal.engine.core.errors import (
    Conflict,
    InvalidField,
    RowErrors,
    UnsupportedMedia,
    error_entry,
)
from raysignal.engine.core.instants import parse_instant, zone_named
from raysignal.engine.core.policy import Policy, check_portfolio_name
from raysignal.engine.core.secrets import is_secret_name
from raysignal.engine.core.signals import Action
from raysignal.engine.intake import IntakeResult, Reading, read_batch, read_signal
from raysignal.engine.intake.fields import name_of
from raysignal.engine.intake.single import load_object
from raysignal.engine.portfolio.mailbox import COMMIT_BUCKETS_S
from raysignal.engine.portfolio.receipts import RowResult, Submission, receipts
from raysignal.runtime.settings import Settings
from raysignal.serve.access import MOST_SIGNED_BYTES, Credentials
from raysignal.serve.agent import json_answer
from raysignal.serve.bodies import read_body
from raysignal.serve.feeds import FeedRoutes
from raysignal.serve.history import HistoryQuery, read_rows
from raysignal.serve.logs import ids_shown
from raysignal.serve.metrics import CONTENT_TYPE, metrics_page
from raysignal.serve.micro_batcher import MicroBatcher, PendingReceipt
from raysignal.serve.middleware import CLAIM, LINE
from raysignal.serve.operations import JSON
from raysignal.serve.query import Query
from raysignal.serve.service import REPLICA_HEADER

if TYPE_CHECKING:
    from raysignal.engine.journal.stores import BlobStore
    from raysignal.runtime.agent_actors import Agent
    from raysignal.runtime.feed_actors import Feeds
    from raysignal.runtime.portfolio_actors import PortfolioClient

T = TypeVar("T")

MAX_RECEIPTS = 10_000
DEFAULT_PAGE = 1000
MAX_PAGE = 10_000
MAX_POLICY_BYTES = 16 * 1024
# Smaller bodies are read on the event loop: a thread would cost more than it spares the others.
ASIDE_BYTES = 32 * 1024
_COMPARE = "compare"
_PERFORMANCE_OF_BATCH = ("signals", "as_of", "sequence", "performance")


class Routes(FeedRoutes):
    """Handlers of one replica.

    Args:
        settings: the service's.
        desk: the way to the portfolios.
        blobs: where their history lies.
        access: verifies what the outermost layer could not, because it had not seen the body.
        agent: the way to the agent; None: there is none.
        feeds: the way to the live feeds; None: there are none.
        replica: the name of the replica that answers, which `GET /healthz` tells in `X-Replica`.
        now_us: the present, UTC microseconds.
    """

    def __init__(
        self,
        settings: Settings,
        desk: "PortfolioClient",
        blobs: "BlobStore",
        *,
        access: Credentials,
        agent: "Agent | None" = None,
        feeds: "Feeds | None" = None,
        replica: str = "",
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        super().__init__(settings, desk, agent, feeds)
        self._blobs = blobs
        self._access = access
        self._replica = replica
        self._now_us = now_us
        self._gatherer = MicroBatcher(desk.submit)
        self._reading = Reading(
            zone=zone_named(settings.timezone),
            symbol=settings.symbol,
            source=settings.source,
            max_future_us=int(settings.max_future_s * 1e6),
        )

    # Signals

    async def post_signal(self, request: Request) -> Response:
        portfolio, accept = self.asked_of_signal(request.scope["query_string"])
        body = bytes(await self._body(request, self._settings.max_signal_bytes))
        headers, line = request.headers, request.scope[LINE]
        place = await self.enter_signal(
            body, portfolio, accept_price_jump=accept, line=line,
            content_type=headers.get("content-type"), idempotency_key=headers.get("idempotency-key"),
        )  # fmt: skip
        return json_answer(self.receipt_of(place, line))

    def asked_of_signal(self, query_string: bytes) -> tuple[str, bool]:
        """What the query of a single signal says: the portfolio, and whether a jump of the price is believed."""
        query = Query(query_string, ("portfolio", "accept_price_jump"))
        return self._target(query), query.flag("accept_price_jump")

    def enter_signal(
        self,
        body: bytes,
        portfolio: str,
        *,
        accept_price_jump: bool,
        content_type: str | None,
        idempotency_key: str | None,
        line: dict[str, Any],
    ) -> "asyncio.Future[PendingReceipt]":
        """The place of the signal in `body`, once it is durable; `line` is told what it is about.

        Raises:
            UnsupportedMedia, UnreadableInput, InvalidField: see `read_signal`; the place raises all others.
        """
        signal = read_signal(
            body, self._reading_now(), content_type=content_type, idempotency_key=idempotency_key
        )
        line["portfolio"] = portfolio
        if signal.signal_id:
            line["signal_id"] = signal.signal_id
        return self._gatherer.enter(portfolio, signal, accept_price_jump=accept_price_jump)

    @staticmethod
    def receipt_of(place: PendingReceipt, line: dict[str, Any]) -> dict[str, Any]:
        """The receipt of a signal at its place, or the error that it met."""
        answer = place.receipt()
        line["signal_id"] = answer["signal_id"]
        line["replayed"] = answer["replayed"]
        return answer

    async def post_signals(self, request: Request) -> Response:
        query = Query(
            request.scope["query_string"], ("portfolio", "on_error", "accept_price_jump", "receipts")
        )
        portfolio = self._target(query)
        skip = query.choice("on_error", ("refuse", "skip")) == "skip"
        accept = query.flag("accept_price_jump")
        wants_receipts = query.flag("receipts")
        body = await self._body(request, self._settings.max_batch_bytes)
        line = request.scope[LINE]
        line["portfolio"] = portfolio
        intake, encoded = await _aside(
            len(body), lambda: self._read_batch(body, request.headers.get("content-type"))
        )
        line["rows"] = intake.rows
        if intake.refused and not skip:
            raise RowErrors(intake.errors, intake.rows, intake.refused)
        if wants_receipts and len(intake.batch) > MAX_RECEIPTS:
            raise InvalidField("receipts", "true", f"a batch of at most {MAX_RECEIPTS} rows with it")
        submission = await self._desk.submit(
            portfolio, encoded, all_or_nothing=not skip, accept_price_jump=accept,
            receipts=wants_receipts, positions=intake.batch.row,
        )  # fmt: skip
        return json_answer(await _aside(len(body), lambda: _batch_answer(intake, submission)))

    def _read_batch(self, body: bytes | memoryview, content_type: str | None) -> tuple[IntakeResult, bytes]:
        intake = read_batch(body, content_type, self._reading_now())
        return intake, intake.batch.encode()

    # Portfolios and their performance

    async def put_portfolio(self, request: Request) -> Response:
        Query(request.scope["query_string"], ())
        name = check_portfolio_name(request.path_params["name"])
        if name == self._settings.enhanced:
            raise self._follower_only(name)
        if name == _COMPARE:
            raise InvalidField("portfolio", name, "another name: GET /performance/compare is the comparison")
        policy = Policy.from_dict(await self._object(request))
        standing, created = await self._desk.create(name, policy)
        request.scope[LINE]["portfolio"] = name
        return json_answer(standing.as_dict(), 201 if created else 200)

    async def post_symbol(self, request: Request) -> Response:
        """Let a portfolio's open position go on under another name of its symbol."""
        Query(request.scope["query_string"], ())
        name = check_portfolio_name(request.path_params["name"])
        if name == self._settings.enhanced:
            raise self._follower_only(name)
        asked = await self._object(request)
        for field in asked.keys() - {"formerly", "symbol"}:
            raise InvalidField(field, asked[field], "nothing but formerly and symbol")
        # As signals name them, without the blanks around.
        old, new = (name_of("symbol", field, asked.get(field), None) for field in ("formerly", "symbol"))
        renamed = await self._desk.rename_symbol(name, old, new)
        request.scope[LINE]["portfolio"] = name
        return json_answer({"portfolio": name, "formerly": old, "symbol": new, "renamed": renamed})

    async def _object(self, request: Request) -> dict[str, Any]:
        """The JSON object that a request about a portfolio brings."""
        body = await self._body(request, MAX_POLICY_BYTES)
        kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        if kind != JSON:
            raise UnsupportedMedia(f"the content type is {kind}; expected {JSON}", content_type=kind)
        return load_object(body)

    async def get_portfolios(self, request: Request) -> Response:
        Query(request.scope["query_string"], ())
        return json_answer({"portfolios": [standing.as_dict() for standing in await self._desk.standings()]})

    async def get_performance(self, request: Request) -> Response:
        Query(request.scope["query_string"], ())
        name = check_portfolio_name(request.path_params.get("portfolio", self._settings.primary))
        request.scope[LINE]["portfolio"] = name
        return json_answer((await self._desk.standing(name)).as_dict())

    # The past

    async def get_history(self, request: Request) -> Response:
        query = Query(
            request.scope["query_string"],
            ("portfolio", "from", "to", "action", "symbol", "limit", "cursor"),
        )
        action = query.text("action") and query.choice("action", ("SELL", "HOLD", "BUY"))
        wanted = HistoryQuery(
            self._portfolio(query),
            start_us=self._instant(query, "from"),
            end_us=self._instant(query, "to"),
            action=Action[action] if action else None,
            symbol=query.text("symbol"),
        )
        limit = query.whole("limit", DEFAULT_PAGE, low=1, high=MAX_PAGE)
        after = wanted.after(query.text("cursor"))
        request.scope[LINE]["portfolio"] = wanted.portfolio
        recent = await self._desk.recent(wanted.portfolio)
        rows, more = await asyncio.to_thread(read_rows, self._blobs, recent, wanted, after=after, limit=limit)
        cursor = None if more is None else wanted.cursor(more)
        return json_answer({"portfolio": wanted.portfolio, "rows": rows, "cursor": cursor})

    async def get_decision(self, request: Request) -> Response:
        portfolio = self._portfolio(Query(request.scope["query_string"], ("portfolio",)))
        signal_id = request.path_params["signal_id"]
        request.scope[LINE] |= {"portfolio": portfolio} | ids_shown([signal_id])
        found = await self._desk.find(portfolio, signal_id)
        return json_answer({
            "receipt": found.receipt(),
            # Versions before kept what was sent under the name of a secret.
            "features": {
                name: value
                for name, value in found.batch.signal(0).features.items()
                if not is_secret_name(name)
            },
            "explanation": orjson.loads(found.decided.explanation) if found.decided.explanation else None,
            "policy": found.policy.as_dict(),
            "sequence": found.sequence,
            "record_row": found.record_row,
        })  # fmt: skip

    # The service itself

    async def get_root(self, request: Request) -> Response:
        Query(request.scope["query_string"], ())
        return RedirectResponse("/docs", 307)

    async def get_healthz(self, request: Request) -> Response:
        Query(request.scope["query_string"], ())
        answer = json_answer({"status": "ok"})
        answer.headers[REPLICA_HEADER] = self._replica
        return answer

    async def get_readyz(self, request: Request) -> Response:
        Query(request.scope["query_string"], ())
        sequence, behind = await asyncio.gather(self._desk.ready(), self._agent_behind())
        return json_answer({"status": "ok", "sequence": sequence, "agent_behind": behind})

    async def get_metrics(self, request: Request) -> Response:
        Query(request.scope["query_string"], ())
        shards, agent, feeds = await asyncio.gather(
            self._desk.observe(), self._agent_now(), self._feeds_now()
        )
        page = metrics_page(shards, COMMIT_BUCKETS_S, agent, feeds)
        return Response(page, media_type=CONTENT_TYPE)

    # What they share

    def _portfolio(self, query: Query) -> str:
        name = query.text("portfolio")
        return self._settings.primary if name is None else check_portfolio_name(name)

    def _target(self, query: Query) -> str:
        """The portfolio that signals are posted to; nobody posts to the one that follows."""
        name = self._portfolio(query)
        if name == self._settings.enhanced:
            raise self._follower_only(name)
        return name

    def _follower_only(self, name: str) -> Conflict:
        primary = self._settings.primary
        return Conflict(
            f"portfolio {name!r} follows {primary!r}: the agent takes in what is posted there, and nobody posts to it",
            field="portfolio", value=name, expected=primary,
        )  # fmt: skip

    def _instant(self, query: Query, name: str) -> int | None:
        text = query.text(name)
        return None if text is None else parse_instant(text, self._reading.zone, field=name)

    def _reading_now(self) -> Reading:
        """As things are read now, give or take a millisecond: making one costs more than a signal can spare."""
        now_us, then_us = self._now_us(), self._reading.now_us
        if then_us is None or not 0 <= now_us - then_us < 1000:
            self._reading = replace(self._reading, now_us=now_us)
        return self._reading

    async def _body(self, request: Request, limit: int) -> bytes | memoryview:
        """The whole body, refused as soon as it is known to be over the limit, and verified if it is signed."""
        claim = request.scope[CLAIM]
        # Until a signature is verified, anybody may have sent it.
        body = await read_body(request, limit if claim is None else min(limit, MOST_SIGNED_BYTES))
        if claim is not None:
            self._access.verify(claim, body)
        return body


def _batch_answer(intake: IntakeResult, submission: Submission) -> dict[str, Any]:
    errors = sorted(
        (error_entry(error) for error in (*intake.errors, *submission.errors.values())),
        key=lambda entry: entry["row"],
    )[: RowErrors.SHOWN]
    standing = submission.standing.as_dict()
    answer = {
        "portfolio": standing["portfolio"],
        "rows": intake.rows,
        "accepted": submission.counted(RowResult.ACCEPTED),
        "replayed": submission.counted(RowResult.REPLAYED),
        "refused": intake.refused + submission.counted(RowResult.REFUSED),
        "errors": errors,
    } | {name: standing[name] for name in _PERFORMANCE_OF_BATCH}
    if submission.rows is not None:
        answer["receipts"] = [made for made in receipts(intake.batch, submission) if made is not None]
    return answer


async def _aside(size: int, work: Callable[[], T]) -> T:
    """Work on `size` bytes: on a thread if they are many, so that other requests go on."""
    return await asyncio.to_thread(work) if size > ASIDE_BYTES else work()
