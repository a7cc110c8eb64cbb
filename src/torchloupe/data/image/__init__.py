"""One image: its header, its pixels, its size."""
