"""The override agent: what became of similar signals, and whether that speaks against the next one.

situations, outcomes, memory, relevance, evidence, gate    what it knows of past signals, and what it makes of it
agent, deciding, breaker                                   from signals to verdicts, live and in experiments
follower, past, log, explaining, reading, terms            the enhanced portfolio that follows the primary one
"""
