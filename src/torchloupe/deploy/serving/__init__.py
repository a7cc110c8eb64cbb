"""A server of predictions: what it accepts, how it batches, and its page. Needs the extra serve."""
