"""How much of a result is luck: other orders, other histories and other markets that could have been."""
