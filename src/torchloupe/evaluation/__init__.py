"""Inference, scores and metrics of a model on data."""
