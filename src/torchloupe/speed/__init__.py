"""The speed of a training step: its variants, the choice among them, and what limits it."""
