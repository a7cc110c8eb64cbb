"""The command `loupe`: a thin layer over the library."""
