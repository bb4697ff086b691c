"""Rules that make signals of bars."""
