"""The data room: from a source to batches on a device; each part works alone."""
