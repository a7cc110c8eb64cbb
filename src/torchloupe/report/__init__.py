"""Pages and pictures from plain values."""
