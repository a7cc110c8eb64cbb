"""Batches: of packed pixels, of a Dataset, of a stream."""
