"""The core: signals, the kernel that moves money, the journal that remembers, the history that is read.

Importing this package costs nothing: modules are named by their concern and imported where they are used.
"""
