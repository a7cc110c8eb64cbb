"""The run folder: state, checkpoints, events, and the JSON files beside them."""
