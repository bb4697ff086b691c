"""The live market: what exchanges say, as order books, trades and bars, and the crossover that makes signals of it."""
