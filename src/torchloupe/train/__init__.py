"""Training: start and resume, the loop, validation, the outcome."""
