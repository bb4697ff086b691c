"""A bucket of an S3 store: the five calls that are made to it, each within a bound.

boto3 is told to try once; the tries are counted here, so that a conditional write whose fate is unknown is
handled by the one who knows what it means: after a time-out or a 5xx the object may be there. A create that
is told "exists" therefore looks at the object, and it was its own if the bytes are the same. If it is not there
any more, somebody has removed it between the two calls: that is no other content, and the create goes on.
"""

import contextlib
import random
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from raysignal.engine.core.errors import StoreUnavailable, UnsafeStore

T = TypeVar("T")

_PATIENT_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_EXISTS, _MISSING, _UNKNOWN_HEADER = 412, 404, (400, 501)


class S3Client(Protocol):
    """What is used of a boto3 client; errors as botocore raises them (`ClientError`, `BotoCoreError`)."""

    def put_object(self, **request: Any) -> Any:
        """With Bucket, Key, Body and IfNoneMatch="*"."""

    def get_object(self, **request: Any) -> Any:
        """With Bucket, Key and, for a range, Range."""

    def head_object(self, **request: Any) -> Any:
        """With Bucket and Key."""

    def delete_object(self, **request: Any) -> Any:
        """With Bucket and Key."""

    def list_objects_v2(self, **request: Any) -> Any:
        """With Bucket, Prefix, StartAfter, MaxKeys and, for a next page, ContinuationToken."""


class Entry(NamedTuple):
    """An object in a listing."""

    key: str
    size: int


def s3_client(
    endpoint_url: str | None = None, *, connect_timeout: float = 2.0, read_timeout: float = 5.0
) -> S3Client:
    """A boto3 client with short time-outs (seconds) and no retries of its own.

    Credentials and region come from where boto3 finds them; with `endpoint_url` None, so does the address
    (`AWS_ENDPOINT_URL_S3`).
    """
    import boto3  # noqa: PLC0415 - a third of a second that a local store need not pay
    from botocore.config import Config  # noqa: PLC0415 - the same

    config = Config(
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=32,
        # Frames carry checksums of their own; many S3-like stores do not know the newer ones.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return cast("S3Client", boto3.client("s3", endpoint_url=endpoint_url, config=config))


class Bucket:
    """A bucket, or the part of one under a prefix, which is put before every key.

    Args:
        client: see `S3Client`; used from several threads when listings are read ahead.
        name: the bucket.
        prefix: empty, or ending with `/`.
        attempts: how often a call is tried before `StoreUnavailable`.
        jitter: seeded randomness for the pauses between tries.
        sleep: waits for some seconds.
        page: keys asked for by one listing call.
    """

    def __init__(
        self,
        client: S3Client,
        name: str,
        prefix: str = "",
        *,
        attempts: int = 5,
        jitter: random.Random | None = None,
        sleep: Callable[[float], None] = time.sleep,  # noqa: TID251 - the default of the clock that is handed in
        page: int = 1000,
    ) -> None:
        self.name = name
        self.prefix = prefix
        self._client = client
        self._attempts = attempts
        self._jitter = random.Random(0) if jitter is None else jitter  # noqa: S311 - spreads retries, no secret
        self._sleep = sleep
        self._page = page

    def under(self, prefix: str) -> "Bucket":
        """The part of this one under a further prefix."""
        return Bucket(
            self._client, self.name, self.prefix + prefix,
            attempts=self._attempts, jitter=self._jitter, sleep=self._sleep, page=self._page,
        )  # fmt: skip

    def create(self, key: str, body: bytes) -> bool:
        """Write an object that is not there yet; whether it holds these very bytes now.

        False means that it holds others. `StoreUnavailable`: it may have been written or not.
        """
        for _ in range(self._attempts):
            try:
                self._bounded(key, lambda: self._put(key, body))
            except ClientError as error:
                if _status(error) != _EXISTS:
                    raise self._refused(key, error) from error
            else:
                return True
            if (held := self.get(key)) is not None:
                return held == body
        raise StoreUnavailable(
            f"s3://{self.name}/{self.prefix}{key} exists when it is written and is gone when it is read, "
            f"{self._attempts} times in a row"
        )

    def get(self, key: str) -> bytes | None:
        """An object's bytes; None if there is no such object."""

        def read() -> bytes:
            answer = self._client.get_object(Bucket=self.name, Key=self.prefix + key)
            with contextlib.closing(answer["Body"]) as body:
                return cast("bytes", body.read())

        return self._unless_missing(key, read)

    def size(self, key: str) -> int | None:
        """An object's length in bytes; None if there is no such object."""

        def head() -> int:
            answer = self._client.head_object(Bucket=self.name, Key=self.prefix + key)
            return int(answer["ContentLength"])

        return self._unless_missing(key, head)

    def delete(self, key: str) -> None:
        """Remove an object; nothing if it is not there."""
        self._unless_missing(key, lambda: self._client.delete_object(Bucket=self.name, Key=self.prefix + key))

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """The objects whose keys begin with `prefix` and sort after `after`, page by page, sorted."""
        request: dict[str, Any] = {
            "Bucket": self.name, "Prefix": self.prefix + prefix, "MaxKeys": self._page,
        }  # fmt: skip
        if after:
            request["StartAfter"] = self.prefix + after
        while True:
            try:
                answer = self._bounded(prefix, lambda: self._client.list_objects_v2(**request))
            except ClientError as error:
                raise self._refused(prefix, error) from error
            for entry in answer.get("Contents", ()):
                yield Entry(entry["Key"].removeprefix(self.prefix), int(entry["Size"]))
            if not answer.get("IsTruncated"):
                return
            request["ContinuationToken"] = answer["NextContinuationToken"]

    def probe(self) -> None:
        """`UnsafeStore` unless a create is refused when the object exists, whatever it holds."""
        key = f"probe/{secrets.token_hex(8)}"
        try:
            made = self._created(key, b"first") or self.get(key) == b"first"
            again = [self._created(key, content) for content in (b"first", b"other")]
            kept = self.get(key)
        finally:
            with contextlib.suppress(StoreUnavailable):
                self.delete(key)
        if not made or any(again) or kept != b"first":
            raise UnsafeStore(
                f"s3://{self.name}/{self.prefix} does not enforce conditional writes: it took a PUT with "
                "If-None-Match: * for an object that exists, so two writers could both believe they own the journal"
            )

    def _created(self, key: str, body: bytes) -> bool:
        try:
            self._bounded(key, lambda: self._put(key, body))
        except ClientError as error:
            status = _status(error)
            if status == _EXISTS:
                return False
            if status in _UNKNOWN_HEADER:
                refused = f"s3://{self.name}/{self.prefix} does not know conditional writes (If-None-Match: *): {error}"
                raise UnsafeStore(refused) from error
            raise self._refused(key, error) from error
        return True

    def _put(self, key: str, body: bytes) -> None:
        self._client.put_object(Bucket=self.name, Key=self.prefix + key, Body=body, IfNoneMatch="*")

    def _unless_missing(self, key: str, call: Callable[[], T]) -> T | None:
        try:
            return self._bounded(key, call)
        except ClientError as error:
            if _status(error) == _MISSING and error.response.get("Error", {}).get("Code") != "NoSuchBucket":
                return None
            raise self._refused(key, error) from error

    def _bounded(self, key: str, call: Callable[[], T]) -> T:
        """The call's answer, tried again after what may pass; a `ClientError` that will not pass as it is."""
        failure: Exception | None = None
        for attempt in range(self._attempts):
            if attempt:
                self._sleep(self._jitter.uniform(0.05, 0.1) * 2**attempt)
            try:
                return call()
            except NoCredentialsError as error:
                raise StoreUnavailable(
                    f"s3://{self.name}/{self.prefix}{key} was not asked for: there are no credentials; expected "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or a role of this machine"
                ) from error
            except ClientError as error:
                if _status(error) not in _PATIENT_STATUS:
                    raise
                failure = error
            except BotoCoreError as error:
                failure = error
        where = f"s3://{self.name}/{self.prefix}{key}"
        raise StoreUnavailable(f"{where} did not answer in {self._attempts} tries: {failure}") from failure

    def _refused(self, key: str, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(f"s3://{self.name}/{self.prefix}{key} was refused: {error}")


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
