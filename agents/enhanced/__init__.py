"""The live half of the agent: a portfolio that follows the primary one, with the agent's decisions.

follower    the core: which rows are next, what is decided about them, how it goes on after a crash
past        what is remembered of every row beside the memory: returns, cohorts, vectors
explaining  what a decision rests on, as JSON
log         settled outcomes and resets of the breaker, in a journal of the agent's own
reading     what is shown: the comparison, accuracy, patterns
vectors     the outcomes as Chroma is fed with them
actors      the actor around all of it, and the way to it
"""
