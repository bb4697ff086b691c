"""Rules that see the future, each in its own way, and honest ones that do the same without it.

`experiments.validation.strategies` tries `raysignal check-strategy` on them. Each class of `leaking` has a twin of
the same name in `honest`.
"""
