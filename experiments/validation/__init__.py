"""Whether the verdict of an experiment can be trusted: streams whose truth is known, and what was said about them."""
