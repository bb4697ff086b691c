"""Rules that see the future, each in its own way, and honest ones that do the same without it.

`experiments.validation.strategies` tries `raysignal check-strategy` on them, `experiments.validation.path_leaks` tries
`raysignal pipeline check-leaks` on some. Each module has one of both, named after it: `LeakingNextBar` and
`HonestNextBar` in `next_bar`.
"""
