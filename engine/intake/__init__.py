"""Intake: from bytes to a valid `SignalBatch`, or a sentence that says which row, field and value was wrong.

fields      what a signal's fields are called and may hold: the rules, one row at a time (the reference)
single      one JSON object, strictly
body        a batch by its content type
files       a batch, or pieces of one, from a file
tables      whole columns at once, by the same rules; what is unclear goes to the reference
values      a column of cells to a column of values
json_rows, csv_rows, parquet_rows     how each format becomes Arrow columns
source      what may be text at all
"""

from raysignal.engine.intake.body import read_batch
from raysignal.engine.intake.files import read_file, read_file_chunks
from raysignal.engine.intake.reading import Reading
from raysignal.engine.intake.single import read_signal
from raysignal.engine.intake.tables import IntakeResult

__all__ = ["IntakeResult", "Reading", "read_batch", "read_file", "read_file_chunks", "read_signal"]
