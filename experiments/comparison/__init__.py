"""Comparison of arms on one stream of signals: who decides, paired statistics, the report."""
