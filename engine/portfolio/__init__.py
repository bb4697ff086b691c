"""Portfolios: the kernel that moves money, what it has earned, and the shard that takes signals in durably."""
