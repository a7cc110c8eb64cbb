"""HTML pages and pictures, drawn from plain values."""
