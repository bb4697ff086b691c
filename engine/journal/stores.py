"""From an address to the stores behind it: the one place that knows which kinds there are.

file:///var/lib/raysignal      a directory, by its full path
s3://bucket/prefix             a bucket, or a part of one

<store>/journal/<shard>/…      the journals
<store>/…                      the blobs
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from engine.journal.addresses import split_store
from engine.journal.blobs import JOURNAL_FOLDER, BlobStore, DiskBlobs, S3Blobs, check_blob_name
from engine.journal.bucket import Bucket, S3Client, s3_client
from engine.journal.disk import Disk
from engine.journal.journal import JournalStore
from engine.journal.local import LocalStore
from engine.journal.s3 import S3Store

__all__ = ["BlobStore", "DiskBlobs", "S3Blobs", "Stores", "open_stores"]

Kind = Literal["file", "s3"]


@dataclass(frozen=True, slots=True)
class Stores:
    """Everything under one address.

    Attributes:
        url: the address.
        kind: `file` (one machine, unless the directory is said to be shared) or `s3`.
        blobs: what lies beside the journals.
        journal: gives the store of one shard's journal; see `journal_store`.
    """

    url: str
    kind: Kind
    blobs: BlobStore
    journal: Callable[[str], JournalStore]

    def journal_store(self, shard: str) -> JournalStore:
        """The store of one journal; `shard` is a relative path such as `shard-0`."""
        return self.journal(check_blob_name(shard))

    def probe(self) -> None:
        """Find out at start-up what would be found out too late.

        Raises:
            UnsafeStore: the store does not enforce conditional writes.
            StoreUnavailable: it cannot be reached, or refuses.
        """
        self.journal("probe").probe()


def open_stores(url: str, *, client: S3Client | None = None, disk: Disk | None = None) -> Stores:
    """The stores behind an address. Nothing is read or written yet.

    Args:
        url: `file:///dir` or `s3://bucket/prefix`, see `split_store`.
        client: what to reach S3 with; None makes one from the environment, which honours
            `AWS_ENDPOINT_URL_S3`.
        disk: what to reach files with; None is the real one.

    Raises:
        SettingsError: the address is none of these.
    """
    parts = split_store(url)
    if parts.scheme == "s3":
        return _in_bucket(url, parts.netloc, parts.path.strip("/"), s3_client() if client is None else client)
    return _in_directory(url, Path(unquote(parts.path)), disk)


def _in_directory(url: str, root: Path, disk: Disk | None) -> Stores:
    return Stores(
        url, "file", DiskBlobs(root, disk), lambda shard: LocalStore(root / JOURNAL_FOLDER / shard, disk)
    )


def _in_bucket(url: str, name: str, prefix: str, client: S3Client) -> Stores:
    bucket = Bucket(client, name, f"{prefix}/" if prefix else "")
    token = partial(secrets.token_bytes, 16)
    return Stores(
        url,
        "s3",
        S3Blobs(bucket),
        lambda shard: S3Store(bucket.under(f"{JOURNAL_FOLDER}/{shard}/"), token=token),
    )
