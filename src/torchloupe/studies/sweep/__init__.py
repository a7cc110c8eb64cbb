"""Many trials of settings, each an ordinary run, with the search left to Optuna."""
