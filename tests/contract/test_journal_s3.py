"""What S3 adds to the contract: failing calls, unknown fates, and stores that only look like it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from raysignal.engine.core.errors import Fenced, JournalDamaged, StoreUnavailable, UnsafeStore
from raysignal.engine.journal.blobs import S3Blobs
from raysignal.engine.journal.bucket import Bucket
from raysignal.engine.journal.journal import Journal, verify
from raysignal.engine.journal.s3 import S3Store
from tests.contract.conftest import _token
from tests.support.servers import Fate, FaultyProxy, Server, faulty_proxy, forgetful_server

MakeClient = Callable[..., Any]
TRANSIENT: list[Fate] = ["refuse", "lose", "refuse-after", "lose-after"]


@pytest.fixture
def proxy(moto: Server, s3: Any) -> Iterator[FaultyProxy]:
    with faulty_proxy(moto.url) as proxy:
        yield proxy


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def bucket(proxy: FaultyProxy, make_client: MakeClient, prefix: str, pauses: list[float]) -> Bucket:
    """Reached through the proxy."""
    client = make_client(proxy.url, read_timeout=1.0)
    return Bucket(client, "results", prefix, attempts=3, sleep=pauses.append)


@pytest.fixture
def direct(s3: Any, prefix: str) -> Bucket:
    """The same part of the bucket, reached without the proxy."""
    return Bucket(s3, "results", prefix)


def store_in(bucket: Bucket) -> S3Store:
    return S3Store(bucket, token=_token, readers=2)


def opened(bucket: Bucket) -> Journal:
    journal = Journal.open(store_in(bucket))
    for _ in journal.replay():
        pass
    return journal


def payloads_of(bucket: Bucket) -> list[bytes]:
    return [bytes(record.payload) for record in Journal.read(store_in(bucket))]


@pytest.mark.parametrize("fate", [*TRANSIENT, "hang", "hang-after"])
def test_commit_is_tried_again_and_written_once(
    bucket: Bucket, direct: Bucket, proxy: FaultyProxy, pauses: list[float], fate: Fate
) -> None:
    journal = opened(bucket)
    proxy.plan(fate)
    journal.write(journal.prepare([b"a"]))
    assert len(pauses) == 1
    journal.write(journal.prepare([b"b"]))
    assert payloads_of(direct) == [b"a", b"b"]


@pytest.mark.parametrize("fate", TRANSIENT)
def test_takeover_is_tried_again_and_written_once(
    bucket: Bucket, direct: Bucket, proxy: FaultyProxy, fate: Fate
) -> None:
    proxy.plan(fate)
    with opened(bucket) as journal:
        assert (journal.epoch, journal.position.sequence) == (1, 1)
    assert verify(store_in(direct)).sequence == 1


@pytest.mark.parametrize("fate", TRANSIENT)
def test_tries_are_bounded_and_the_writer_must_be_opened_anew(
    bucket: Bucket, direct: Bucket, proxy: FaultyProxy, pauses: list[float], fate: Fate
) -> None:
    journal = opened(bucket)
    journal.write(journal.prepare([b"a"]))
    proxy.plan(*[fate] * 3)
    with pytest.raises(StoreUnavailable, match="3 tries"):
        journal.write(journal.prepare([b"b"]))
    assert proxy.seen == ["PUT"] * 3
    assert len(pauses) == 2
    assert 0 < pauses[0] < pauses[1] < 1
    with pytest.raises(StoreUnavailable):
        journal.prepare([b"c"])
    with opened(bucket) as again:
        again.write(again.prepare([b"d"]))
    # What the store did before its answers were lost is in the history, though nobody was told so.
    assert payloads_of(direct) == ([b"a", b"b", b"d"] if fate.endswith("-after") else [b"a", b"d"])


def test_commit_of_unknown_fate_is_found_by_the_next_writer(
    bucket: Bucket, direct: Bucket, proxy: FaultyProxy
) -> None:
    journal = opened(bucket)
    proxy.plan("lose-after", "lose", "lose", "lose", methods=("PUT", "GET"))
    with pytest.raises(StoreUnavailable):
        journal.write(journal.prepare([b"of unknown fate"]))
    assert payloads_of(direct) == [b"of unknown fate"]
    with opened(direct) as again:
        assert [bytes(record.payload) for record in again.replay()] == [b"of unknown fate"]


def test_try_again_that_finds_the_object_of_another_writer_is_fenced(
    bucket: Bucket, direct: Bucket, proxy: FaultyProxy
) -> None:
    journal = opened(bucket)
    with opened(direct) as new:
        new.write(new.prepare([b"a"]))
    proxy.plan("lose")
    with pytest.raises(Fenced):
        journal.write(journal.prepare([b"a"]))
    assert payloads_of(direct) == [b"a"]


def test_two_takeovers_that_look_at_the_same_end_are_told_apart_by_their_tokens(
    bucket: Bucket, direct: Bucket, proxy: FaultyProxy
) -> None:
    # The first try of one is lost; before the second, the other takes over with the same number and epoch.
    rival: list[Journal] = []
    client = bucket._client
    patient = Bucket(
        client, "results", bucket.prefix, attempts=3, sleep=lambda _: rival.append(opened(direct))
    )
    proxy.plan("lose")
    with opened(patient) as journal:
        assert rival[0].epoch == 1
        assert journal.epoch == 2
        with pytest.raises(Fenced):
            rival[0].write(rival[0].prepare([b"stale"]))
        journal.write(journal.prepare([b"a"]))
    assert payloads_of(direct) == [b"a"]


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "DELETE"])
def test_every_call_is_tried_again_with_a_bound(bucket: Bucket, proxy: FaultyProxy, method: str) -> None:
    calls: dict[str, Callable[[], object]] = {
        "GET": lambda: bucket.get("a"),
        "PUT": lambda: bucket.create("a", b"content"),
        "HEAD": lambda: bucket.size("a"),
        "DELETE": lambda: bucket.delete("b"),
    }
    bucket.create("a", b"content")
    expected = {"GET": b"content", "PUT": True, "HEAD": 7, "DELETE": None}[method]
    for fate in TRANSIENT:
        proxy.plan(fate, methods=(method,))
        assert calls[method]() == expected
    proxy.plan("lose", "refuse", "lose", methods=(method,))
    with pytest.raises(StoreUnavailable):
        calls[method]()


def test_listing_is_tried_again_page_by_page(proxy: FaultyProxy, bucket: Bucket) -> None:
    keys = [f"{number:02d}" for number in range(9)]
    for key in keys:
        bucket.create(key, b"")
    paged = Bucket(bucket._client, "results", bucket.prefix, attempts=2, sleep=lambda _: None, page=2)
    proxy.plan("pass", "lose", "pass", "refuse", methods=("GET",))
    assert [entry.key for entry in paged.list()] == keys
    assert proxy.seen == ["GET"] * 7


def test_blob_of_unknown_fate_is_put_again(bucket: Bucket, direct: Bucket, proxy: FaultyProxy) -> None:
    proxy.plan("lose-after")
    S3Blobs(bucket).put("snapshots/1", b"state")
    assert S3Blobs(direct).get("snapshots/1") == b"state"


class Swept:
    """A client whose objects are removed by somebody else just before it reads them.

    Args:
        client: the client it is apart from that.
        times: how often; the others go through.
    """

    def __init__(self, client: Any, times: int) -> None:
        self._client = client
        self._times = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get_object(self, **request: Any) -> Any:
        if self._times:
            self._times -= 1
            self._client.delete_object(Bucket=request["Bucket"], Key=request["Key"])
        return self._client.get_object(**request)


@pytest.mark.parametrize("found", [b"ids", b"other ids"])
def test_blob_that_is_removed_before_it_can_be_compared_is_written_again(
    s3: Any, direct: Bucket, prefix: str, found: bytes
) -> None:
    # As after a put whose answer was lost, when the next owner sweeps what no snapshot names.
    S3Blobs(direct).put("runs/1", found)
    S3Blobs(Bucket(Swept(s3, times=1), "results", prefix)).put("runs/1", b"ids")
    assert direct.get("runs/1") == b"ids"


def test_object_that_exists_and_can_never_be_read_is_of_unknown_fate(direct: Bucket, prefix: str) -> None:
    class Unreadable(Swept):
        def get_object(self, **request: Any) -> Any:
            return self._client.get_object(**request | {"Key": f"{request['Key']}-elsewhere"})

    direct.create("runs/1", b"ids")
    bucket = Bucket(Unreadable(direct._client, times=0), "results", prefix, attempts=3)
    with pytest.raises(StoreUnavailable, match="3 times"):
        bucket.create("runs/1", b"ids")


def test_refusal_that_will_not_pass_is_not_tried_again(
    s3: Any, proxy: FaultyProxy, make_client: MakeClient
) -> None:
    absent = Bucket(make_client(proxy.url), "no-such-bucket", sleep=_never)
    proxy.plan()
    with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
        absent.create("a", b"")
    with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
        absent.get("a")
    with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
        list(absent.list())
    assert proxy.seen == ["PUT", "GET", "GET"]


def test_store_that_is_not_there_is_unavailable(proxy: FaultyProxy, make_client: MakeClient) -> None:
    client = make_client(proxy.url)
    proxy.plan(*["lose"] * 10, methods=("PUT", "GET", "DELETE"))
    with pytest.raises(StoreUnavailable):
        store_in(Bucket(client, "results", attempts=2, sleep=lambda _: None)).probe()


def test_store_that_ignores_conditional_writes_is_refused_with_a_sentence_that_says_why(
    make_client: MakeClient,
) -> None:
    with forgetful_server() as server:
        bucket = Bucket(make_client(server.url), "results", "journal/")
        with pytest.raises(UnsafeStore, match=r"If-None-Match.*two writers"):
            store_in(bucket).probe()
        assert list(bucket.list()) == []


def test_store_that_does_not_know_conditional_writes_is_refused(make_client: MakeClient) -> None:
    client = _Ignorant()
    with pytest.raises(UnsafeStore, match="does not know"):
        Bucket(client, "results").probe()


@pytest.mark.parametrize("fate", TRANSIENT)
def test_probe_is_not_misled_by_a_write_of_unknown_fate(
    bucket: Bucket, proxy: FaultyProxy, fate: Fate
) -> None:
    proxy.plan(fate)
    store_in(bucket).probe()
    assert list(bucket.list()) == []


def test_missing_object_names_the_record(direct: Bucket) -> None:
    with opened(direct) as journal:
        for number in range(5):
            journal.write(journal.prepare([b"%d" % number, b""]))
    direct.delete(f"{4:020d}.commit")
    with pytest.raises(JournalDamaged, match="record 4") as caught:
        verify(store_in(direct))
    assert caught.value.fields["sequence"] == 4
    with pytest.raises(JournalDamaged), Journal.open(store_in(direct)) as journal:
        list(journal.replay())


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "half"])
def test_damaged_object_names_the_record_and_is_never_taken_for_torn(
    direct: Bucket, s3: Any, damage: str
) -> None:
    with opened(direct) as journal:
        journal.write(journal.prepare([b"first", b"second"]))
    key = f"{2:020d}.commit"
    body = direct.get(key)
    assert body is not None
    flipped = bytearray(body)
    flipped[-3] ^= 1
    bodies = {"flip": bytes(flipped), "cut": body[:-1], "empty": b"", "half": body[: 64 + 5]}
    s3.put_object(Bucket="results", Key=direct.prefix + key, Body=bodies[damage])
    with pytest.raises(JournalDamaged) as caught:
        verify(store_in(direct))
    assert caught.value.fields["sequence"] == (2 if damage == "empty" else 3)
    assert caught.value.fields["file"] == key
    with pytest.raises(JournalDamaged):
        Journal.open(store_in(direct))


def test_object_of_another_name_in_its_place_is_damage(direct: Bucket, s3: Any) -> None:
    with opened(direct) as journal:
        journal.write(journal.prepare([b"a"]))
        journal.write(journal.prepare([b"b"]))
    s3.put_object(
        Bucket="results", Key=direct.prefix + f"{2:020d}.commit", Body=direct.get(f"{3:020d}.commit")
    )
    with pytest.raises(JournalDamaged) as caught:
        verify(store_in(direct))
    assert caught.value.fields["sequence"] == 2


def test_replay_is_the_same_however_many_are_read_at_once(direct: Bucket) -> None:
    with opened(direct) as journal:
        for number in range(25):
            journal.write(journal.prepare([b"%d" % number] * (number % 3 + 1)))
    truth = [record.position for record in Journal.read(store_in(direct))]
    for readers in (1, 5, 32):
        store = S3Store(direct, token=_token, readers=readers)
        assert [record.position for record in Journal.read(store)] == truth


def test_end_of_a_long_journal_is_found_from_any_hint(direct: Bucket) -> None:
    with opened(direct) as journal:
        journal.write(journal.prepare([b"x"] * 5000))
        inside = [record.position for record in Journal.read(store_in(direct))][2500]
        journal.write(journal.prepare([b"y"] * 3000))
        journal.write(journal.prepare([b"z"]))
    for hint, expected in ((inside, 5500), (None, 8001)):
        with Journal.open(store_in(direct), after=hint) as journal:
            assert len(list(journal.replay(hint))) == expected


def _never(_: float) -> None:
    pytest.fail("a refusal was tried again")


class _Ignorant:
    """An S3-like store that answers 501 to a conditional write."""

    def put_object(self, **request: Any) -> Any:
        from botocore.exceptions import ClientError

        assert request["IfNoneMatch"] == "*"
        answer: Any = {"Error": {"Code": "NotImplemented"}, "ResponseMetadata": {"HTTPStatusCode": 501}}
        raise ClientError(answer, "PutObject")

    def get_object(self, **_: Any) -> Any:
        pytest.fail("nothing was written")

    def head_object(self, **_: Any) -> Any:
        pytest.fail("nothing was written")

    def list_objects_v2(self, **_: Any) -> Any:
        pytest.fail("nothing was written")

    def delete_object(self, **_: Any) -> Any:
        return {}
