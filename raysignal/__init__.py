"""raysignal: trading signals in exactly once, portfolios as Ray actors, and proof of what acting on them is worth.

The packages lie beside this folder in the repository and are linked into it: `engine/` is `raysignal.engine`.
"""
