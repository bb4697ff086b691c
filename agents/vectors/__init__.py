"""The Chroma side of the outcome memory: vectors, facts and texts of settled outcomes, to be searched.

The truth is a list of settled outcomes that the owner can always produce again (`OutcomeRows`); the index follows it.
A search names outcomes by their ordinal; what they are, its owner reads from the truth. Chroma runs in a child process
(`python -m raysignal.agents.vectors`), so that it may be behind, damaged or gone, and its owner goes on.
"""

from raysignal.agents.vectors.child import Deadlines
from raysignal.agents.vectors.index import Status, VectorIndex, VectorIndexState
from raysignal.agents.vectors.rows import OutcomeRows, VectorRows

__all__ = ["Deadlines", "OutcomeRows", "Status", "VectorIndex", "VectorIndexState", "VectorRows"]
