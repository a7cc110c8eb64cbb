"""Random changes of training images, on whole batches."""
