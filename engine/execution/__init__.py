"""Orders: from a signal to a position at an exchange, so that none is doubled and none is forgotten.

orders      what an order is, and which states can follow which
exchange    what an exchange has to answer, whichever it is
paper       an exchange that fills from a real book and owes nobody anything
store       orders, history, fills and positions in the database
trader      signal, target position, order; fates that are not known; what start-up compares
"""
