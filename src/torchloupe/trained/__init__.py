"""A finished run, opened: its model, predictions, history, and an audit of its data."""
