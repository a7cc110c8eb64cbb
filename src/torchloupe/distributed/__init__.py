"""Several processes and devices: rank, world, data parallelism, launching."""
