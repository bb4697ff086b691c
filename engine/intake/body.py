"""A batch from one body, by its content type."""

from collections.abc import Iterator

from raysignal.engine.core.arrays import UInt8Array
from raysignal.engine.core.errors import UnsupportedMedia
from raysignal.engine.intake.csv_rows import record_blocks
from raysignal.engine.intake.json_rows import array_blocks, element_blocks, line_blocks
from raysignal.engine.intake.parquet_rows import MAGIC, table_blocks
from raysignal.engine.intake.reading import Reading
from raysignal.engine.intake.single import BOM, FORM, load_alert, load_object, media_type
from raysignal.engine.intake.source import as_bytes, text_start
from raysignal.engine.intake.tables import IntakeResult, RowBlock, take_in
from raysignal.engine.intake.templates import text_template

LINE_TYPES = frozenset(
    f"application/{prefix}{name}"
    for prefix in ("", "x-")
    for name in ("ndjson", "jsonl", "jsonlines", "json-lines", "json-seq-lines")
)
CSV_TYPES = frozenset({"text/csv", "application/csv"})
PARQUET_TYPES = frozenset({"application/vnd.apache.parquet", "application/parquet", "application/x-parquet"})
ACCEPTED = "application/json (an array), application/x-ndjson, text/csv or application/vnd.apache.parquet"


def read_batch(
    body: bytes | bytearray | memoryview, content_type: str | None, reading: Reading
) -> IntakeResult:
    """The signals in a body.

    `application/json` is an array of objects, or one object; where objects follow each other on lines, it is
    read as NDJSON. Without a content type, or with text/plain or application/octet-stream, the first bytes
    decide. A form, and a text that is an alert as `load_alert` reads it, are one row.

    Raises:
        UnsupportedMedia: a content type that is not taken.
        UnreadableInput: the body is not what its content type says.
        InputTooLarge: more rows than `reading.max_rows`.
        InvalidField: a table without a required column.
    """
    source = as_bytes(body)
    kind = media_type(content_type)
    if _is_one_alert(source, kind, reading):
        return take_in(element_blocks([load_alert(bytes(body), reading, content_type)]), reading)
    if kind in {"", "text/plain", "application/octet-stream"}:
        kind = _kind_of(source, kind)
    if kind in LINE_TYPES:
        return take_in(line_blocks(source), reading)
    if kind in CSV_TYPES:
        return take_in(record_blocks(source, reading), reading)
    if kind in PARQUET_TYPES:
        return take_in(table_blocks(source, reading), reading)
    if kind in {"application/json", "text/json"} or kind.endswith("+json"):
        return take_in(json_blocks(source), reading)
    raise UnsupportedMedia(f"the content type is {kind or 'missing'}; expected {ACCEPTED}", content_type=kind)


def _is_one_alert(source: UInt8Array, kind: str, reading: Reading) -> bool:
    """Whether a body is one alert that is a form or a text."""
    if kind == FORM:
        return True
    head = source[:4096].tobytes().removeprefix(BOM).lstrip()
    if kind not in {"", "text/plain"} or head[:1] in {b"{", b"["} or head.startswith(MAGIC):
        return False
    if text_template(reading.template) is not None:
        return True
    # By a template columns need no known names; a header without a row is none then, but what some sender said.
    if reading.template is not None and not set(head.strip()) & set(b"\r\n"):
        return True
    # Words and a brace: what separates columns would stand between the first ones, and lines below them.
    before, brace, _ = head.partition(b"{")
    separated = set(before) & set(b",;\t")
    one_line = not set(before.strip()) & set(b"\r\n") and source[-4096:].tobytes().rstrip().endswith(b"}")
    return bool(brace) and (not separated or one_line)


def json_blocks(source: UInt8Array) -> Iterator[RowBlock]:
    """The blocks of an array of objects, of one object, or of objects on lines."""
    start = text_start(source, "a JSON array of objects")
    head = source[start : start + 65_536].tobytes().lstrip()
    if not head.startswith(b"{"):
        return array_blocks(source)
    if head.partition(b"\n")[0].rstrip().endswith(b"}"):
        return line_blocks(source)
    return element_blocks([load_object(source.tobytes())])


def _kind_of(source: UInt8Array, said: str) -> str:
    head = source[:4096].tobytes()
    if head.startswith(MAGIC):
        return "application/vnd.apache.parquet"
    if said == "application/octet-stream":
        return said
    if head.removeprefix(BOM).lstrip()[:1] in {b"[", b"{"}:
        return "application/json"
    return "text/csv"
