"""The numbers of situations as vectors of one length: what Chroma holds of a signal, and is asked with."""

import numpy as np

from raysignal.agents.override.situations import Situations
from raysignal.engine.core.arrays import Float32Array, Int64Array

SLOTS = 64
"""Dimensions of a vector. A number has a slot of its own, by its first appearance; those beyond have none."""


class SituationVectors:
    """A vector a row of the stream, in its order: its numbers, standardised as of itself; 0 where there is none."""

    __slots__ = ("_slots", "_vectors", "count")

    def __init__(self) -> None:
        self._slots: dict[str, int] = {}
        self._vectors: Float32Array = np.zeros((1024, 16), np.float32)
        self.count = 0

    def add(self, situations: Situations) -> None:
        """Take the next rows in."""
        before, stop = self.count, self.count + len(situations)
        self._give_slots(situations)
        width = min(len(self._slots), SLOTS)
        rows, columns = self._vectors.shape
        if stop > rows or width > columns:
            larger = np.zeros((max(rows, 2 * stop if stop > rows else 0), max(columns, width)), np.float32)
            larger[:before, :columns] = self._vectors[:before]
            self._vectors = larger
        self._fill(situations, self._vectors[before:stop])
        self.count = stop

    def of(self, ordinals: Int64Array) -> Float32Array:
        """The vectors of some rows, float32[m, SLOTS]."""
        held = self._vectors[ordinals]
        whole = np.zeros((len(ordinals), SLOTS), np.float32)
        whole[:, : held.shape[1]] = held
        return whole

    def preview(self, situations: Situations) -> Float32Array:
        """The vectors that these rows would have, float32[n, SLOTS]; a number that is new has no slot yet."""
        whole = np.zeros((len(situations), SLOTS), np.float32)
        self._fill(situations, whole)
        return whole

    def _fill(self, situations: Situations, vectors: Float32Array) -> None:
        for name, values in zip(situations.number_names, situations.standard, strict=True):
            place = self._slots.get(name, SLOTS)
            if place < vectors.shape[1]:
                vectors[:, place] = values

    def _give_slots(self, situations: Situations) -> None:
        """In the order of the rows that first have a number, however the stream is cut."""
        new: list[tuple[int, str]] = []
        for name, values in zip(situations.number_names, situations.numbers, strict=True):
            if name not in self._slots:
                there = ~np.isnan(values)
                if there.any():
                    new.append((int(there.argmax()), name))
        for _, name in sorted(new):
            self._slots[name] = len(self._slots)
