"""The decision path: from market events to signals, orders and positions."""
