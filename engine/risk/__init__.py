"""Risk: what stands between a decision and money.

limits      what may be set, and for whom
breaker     ACTIVE, REDUCING, HALTED: latched by the equity with open positions, reset by a person
stage       a decision in, a verdict out: allowed, reduced or refused
"""
