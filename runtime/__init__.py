"""What builds and hosts the rest: settings, the Ray cluster of this machine, and the actors on it."""
