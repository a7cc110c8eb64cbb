"""Questions that several runs answer: cross-validation, comparison, proof of exact resume."""
