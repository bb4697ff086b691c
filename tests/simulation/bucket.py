"""An S3 bucket in memory, with the faults of a network: `SimS3` implements `engine.journal.bucket.S3Client`.

A write is atomic and conditional where asked. What a client is told is another matter: the request may be lost,
the answer may be lost, or the request may arrive long after the client has given up.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError

from tests.simulation.faults import Faults, SimCrash


@dataclass
class Objects:
    """What the bucket holds, and the writes that are still under way."""

    held: dict[str, bytes] = field(default_factory=dict)
    late: list[tuple[str, bytes, bool]] = field(default_factory=list)
    unsafe: ClassVar[bool] = False

    def put(self, key: str, body: bytes, *, create: bool) -> bool:
        """Whether the object was written."""
        if create and key in self.held and not self.unsafe:
            return False
        self.held[key] = body
        return True

    def land(self, index: int) -> str:
        """Let a late write arrive; its key."""
        key, body, create = self.late.pop(index)
        self.put(key, body, create=create)
        return key


class SimS3:
    """One process's client."""

    def __init__(
        self,
        objects: Objects,
        faults: Faults,
        *,
        hook: Callable[[str, str], None] = lambda _kind, _name: None,
        on_crash: Callable[[str], None] = lambda _how: None,
        is_dead: Callable[[], bool] = lambda: False,
    ) -> None:
        self._objects = objects
        self._faults = faults
        self._hook = hook
        self._on_crash = on_crash
        self._is_dead = is_dead
        self._down = 0

    def put_object(self, **request: Any) -> Any:
        key, body = request["Key"], request["Body"]
        create = request.get("IfNoneMatch") == "*"
        body = body if isinstance(body, bytes) else bytes(body)
        faults = self._faults
        self._enter("put", key)
        if faults.happens("kill_before_put"):
            self._crash()
        if faults.happens("s3_late_put"):
            self._objects.late.append((key, body, create))
            raise ReadTimeoutError(endpoint_url="sim")
        written = self._objects.put(key, body, create=create)
        if faults.happens("kill_after_put"):
            self._crash()
        if faults.happens("s3_timeout_applied"):
            raise ReadTimeoutError(endpoint_url="sim")
        if faults.happens("s3_500_applied"):
            raise _error(500, "InternalError", "PutObject")
        if not written:
            raise _error(412, "PreconditionFailed", "PutObject")
        return {}

    def get_object(self, **request: Any) -> Any:
        self._enter("get", request["Key"])
        body = self._held(request["Key"], "GetObject")
        if "Range" in request:
            first, last = request["Range"].removeprefix("bytes=").split("-")
            if int(first) >= len(body):
                raise _error(416, "InvalidRange", "GetObject")
            body = body[int(first) : int(last) + 1]
        return {"Body": io.BytesIO(body), "ContentLength": len(body)}

    def head_object(self, **request: Any) -> Any:
        self._enter("head", request["Key"])
        return {"ContentLength": len(self._held(request["Key"], "HeadObject"))}

    def delete_object(self, **request: Any) -> Any:
        self._enter("delete", request["Key"])
        self._objects.held.pop(request["Key"], None)
        if self._faults.happens("s3_timeout_applied"):
            raise ReadTimeoutError(endpoint_url="sim")
        return {}

    def list_objects_v2(self, **request: Any) -> Any:
        self._enter("list", request.get("Prefix", ""))
        after = request.get("ContinuationToken") or request.get("StartAfter", "")
        prefix, room = request.get("Prefix", ""), request.get("MaxKeys", 1000)
        keys = sorted(key for key in self._objects.held if key.startswith(prefix) and key > after)
        page = keys[:room]
        answer: dict[str, Any] = {
            "Contents": [{"Key": key, "Size": len(self._objects.held[key])} for key in page],
            "IsTruncated": len(keys) > room,
            "KeyCount": len(page),
        }
        if len(keys) > room:
            answer["NextContinuationToken"] = page[-1]
        return answer

    def _enter(self, kind: str, key: str) -> None:
        if self._is_dead():
            raise SimCrash
        faults = self._faults
        if faults.is_quiet:
            return
        self._hook(kind, key)
        if self._is_dead():
            raise SimCrash
        if faults.happens("s3_down"):
            self._down = 12  # longer than the client's patience
        if self._down:
            self._down -= 1
            raise ConnectTimeoutError(endpoint_url="sim")
        if faults.happens("s3_500"):
            raise _error(faults.rng.choice((500, 503, 429)), "InternalError", kind)
        if faults.happens("s3_timeout_lost"):
            raise ReadTimeoutError(endpoint_url="sim")

    def _held(self, key: str, operation: str) -> bytes:
        body = self._objects.held.get(key)
        if body is None:
            raise _error(404, "NoSuchKey" if operation == "GetObject" else "404", operation)
        return body

    def _crash(self) -> None:
        self._on_crash("kill")
        raise SimCrash


def _error(status: int, code: str, operation: str) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": "simulated"}, "ResponseMetadata": {"HTTPStatusCode": status}},
        operation,
    )
