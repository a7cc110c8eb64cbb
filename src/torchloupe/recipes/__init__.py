"""Values for the settings that were left open, chosen from facts of the data."""
