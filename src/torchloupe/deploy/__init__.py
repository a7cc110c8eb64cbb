"""Ways out of the house: a server, and the run as one file of plain PyTorch."""
