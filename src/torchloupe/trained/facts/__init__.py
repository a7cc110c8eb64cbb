"""What a run's page tells, read from its folder, its data and its model, as plain values."""
