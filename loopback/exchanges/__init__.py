"""An exchange on this machine: for tests, and for users without a network; see `loopback.exchanges.server`."""
