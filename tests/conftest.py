"""What holds for every test."""

from hypothesis import settings

# A deadline would time the machine, not the code.
settings.register_profile("raysignal", deadline=None)
settings.load_profile("raysignal")
