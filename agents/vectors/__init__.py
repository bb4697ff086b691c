"""The Chroma side of the outcome memory: vectors and facts of settled outcomes, for people and programs to query.

The truth is a list of settled outcomes that the owner can always produce again (`OutcomeRows`); the index follows it.
What decides about a signal is ranked exactly elsewhere: Chroma may be behind, damaged or gone, and its owner
goes on. For that reason Chroma runs in a child process (`python -m raysignal.agents.vectors`), because a damaged index
file can end the process that reads it, and a server that is asked may never answer.

    index = VectorIndex.open("memory", rows, dimensions=24)      # or "http://127.0.0.1:8000"
    index.append(batch)
    index.similar(vector, as_of_us=now_us, k=10)
"""

from raysignal.agents.vectors.child import Deadlines
from raysignal.agents.vectors.index import SimilarOutcome, Status, VectorIndex, VectorIndexState
from raysignal.agents.vectors.rows import OutcomeRows, VectorRows

__all__ = [
    "Deadlines",
    "OutcomeRows",
    "SimilarOutcome",
    "Status",
    "VectorIndex",
    "VectorIndexState",
    "VectorRows",
]
