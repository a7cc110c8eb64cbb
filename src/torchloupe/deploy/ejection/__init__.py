"""The run as one file of plain PyTorch: its parts, and how they become a page."""
