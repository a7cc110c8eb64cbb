"""Tar shards, here or far away: their index, their addresses, and a bounded cache of them."""
