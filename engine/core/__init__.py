"""Values that all of the engine shares, without IO: instants, signals, instruments, orders, arrays, errors."""
