"""This process and its machine: files, limits, caches, seeds, signals, the user's own code."""
