"""From an address to its stores."""

from pathlib import Path
from typing import Any

import pytest

from raysignal.engine.core.errors import SettingsError
from raysignal.engine.journal.journal import Journal
from raysignal.engine.journal.stores import Stores, open_stores
from tests.support.servers import CREDENTIALS, Server


def use(stores: Stores) -> None:
    stores.probe()
    for shard in ("shard-0", "shard-1"):
        with Journal.open(stores.journal_store(shard)) as journal:
            journal.write(journal.prepare([shard.encode()]))
    stores.blobs.put("snapshots/1", b"state")


def check(stores: Stores) -> None:
    for shard in ("shard-0", "shard-1"):
        assert [bytes(record.payload) for record in Journal.read(stores.journal_store(shard))] == [
            shard.encode()
        ]
    assert stores.blobs.list("") == ["snapshots/1"]


def test_directory_holds_the_journals_and_the_blobs_beside_them(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/a%20place"
    use(open_stores(url))
    check(open_stores(url))
    assert (tmp_path / "a place" / "snapshots" / "1").read_bytes() == b"state"
    assert (tmp_path / "a place" / "journal" / "shard-0").is_dir()
    assert open_stores(url).kind == "file"


def test_bucket_holds_the_journals_and_the_blobs_beside_them(s3: Any, prefix: str) -> None:
    url = f"s3://results/{prefix}"
    use(open_stores(url, client=s3))
    check(open_stores(url.rstrip("/"), client=s3))
    assert open_stores(url, client=s3).kind == "s3"


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_the_numbers_of_the_shards_are_those_of_the_journals_that_hold_something(
    request: pytest.FixtureRequest, tmp_path: Path, prefix: str, kind: str
) -> None:
    if kind == "file":
        stores = open_stores(tmp_path.as_uri())
    else:
        stores = open_stores(f"s3://results/{prefix}", client=request.getfixturevalue("s3"))
    assert stores.journal_numbers() == []
    stores.probe()
    stores.blobs.put("state/shard=0005/a", b"no journal")
    for shard in ("shard=0000", "shard=0003", "shard=0012", "shard=1000"):
        for _ in range(2):
            with Journal.open(stores.journal_store(shard)) as journal:
                assert journal.position.sequence > 0

    assert stores.journal_numbers() == [0, 3, 12, 1000]


def test_bucket_is_reached_where_the_environment_says(
    moto: Server, s3: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto.url)
    stores = open_stores(f"s3://results/{prefix}")
    stores.blobs.put("a", b"content")
    assert open_stores(f"s3://results/{prefix}", client=s3).blobs.get("a") == b"content"


@pytest.mark.parametrize(
    "url",
    ["", "store", "./store", "file:./store", "file:store", "file://store/a", "/var/store", "http://host/a",
     "s3://", "s3:/bucket", "s3://user@bucket/a", "s3://bucket:80/a", "file:///a?b", "file:///a#b"],
)  # fmt: skip
def test_address_that_is_neither_is_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        open_stores(url)


def test_refusal_of_a_relative_path_says_what_to_write_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for url in ("./a b", "file:./a b", "a b"):
        with pytest.raises(SettingsError, match=f"file://{tmp_path}/a%20b"):
            open_stores(url)


def test_nothing_is_made_before_it_is_needed(tmp_path: Path) -> None:
    stores = open_stores(f"file://{tmp_path}/store")
    assert stores.blobs.list("") == []
    assert list(Journal.read(stores.journal_store("shard-0"))) == []
    assert list(tmp_path.iterdir()) == []
