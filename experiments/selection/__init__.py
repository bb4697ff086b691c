"""Whether the best of many trials is more than luck: folds, the statistics of selection, and a verdict."""
