"""Servers on this machine that speak the protocols of others, for tests and for users without keys or a network."""
