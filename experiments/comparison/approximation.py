"""What the neighbours of an approximate search cost, in a sentence."""

from raysignal.experiments.comparison.evaluation import Evaluation
from raysignal.experiments.formats import NONE, percent


def approximation_notes(evaluation: Evaluation) -> list[str]:
    """A sentence for each arm whose neighbours were searched approximately."""
    notes = []
    for arm in evaluation.arms:
        if (found := arm.approximation) is None:
            continue
        of_memory, of_vectors = (
            NONE if share is None else percent(share) for share in (found.of_memory, found.of_vectors)
        )
        notes.append(
            f"{arm.name} found {of_memory} of the neighbours that the memory ranks first, and {of_vectors} of those "
            f"that are nearest by the vectors that Chroma holds; {found.differ:,d} of its {found.decisions:,d} "
            "decisions are not those of the memory."
        )
    return notes
