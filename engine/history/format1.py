"""Files of format 1, which had a column for each feature: read as if they had the columns of today.

`feature.<name>` held numbers or texts, whichever the rows of the file had; the texts of a feature that was also a
number in the same file were in `feature.<name>.text`. A column's metadata holds the feature's own name.
"""

import numpy as np
import pyarrow as pa

from raysignal.engine.core.arrays import Float64Array
from raysignal.engine.core.columns import TextColumn
from raysignal.engine.history.features import number_map, text_map
from raysignal.engine.history.schema import FIXED, SAID

_FEATURE = "feature."


def is_current(schema: pa.Schema) -> bool:
    """Whether a table or file of these columns is of today's format."""
    return "feature_numbers" in schema.names


def is_of_format_1(schema: pa.Schema) -> bool:
    """Whether a file says that it is of the format of before, which had no checksums."""
    return bool((schema.metadata or {}).get(b"raysignal.format") == b"1")


def current(table: pa.Table) -> pa.Table:
    """The rows of a table of either format, in today's columns."""
    if is_current(table.schema):
        for name in SAID:
            if name not in table.column_names:
                table = table.append_column(FIXED.field(name), pa.nulls(len(table), FIXED.field(name).type))
        return table.select(FIXED.names).cast(FIXED)
    numbers: dict[str, Float64Array] = {}
    texts: dict[str, TextColumn] = {}
    for field in table.schema:
        if field.name.startswith(_FEATURE):
            name = field.metadata[b"feature"].decode()
            if field.type == pa.string():
                texts[name] = TextColumn.of_arrow(table[field.name])
            else:
                numbers[name] = table[field.name].fill_null(np.nan).to_numpy()
    features = {
        "feature_numbers": number_map(numbers, len(table)),
        "feature_texts": text_map(texts, len(table)),
    }
    columns = []
    for field in FIXED:
        if field.name in features:
            columns.append(features[field.name])
        elif field.name in table.column_names:
            columns.append(table[field.name].cast(field.type))
        else:
            columns.append(pa.nulls(len(table), field.type))
    return pa.table(columns, schema=FIXED)
