"""A finished run, opened: its model, predictions, and what it shows of its data."""
