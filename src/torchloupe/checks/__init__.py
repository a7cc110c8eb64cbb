"""Pure functions from evidence to findings about data, model and training."""
