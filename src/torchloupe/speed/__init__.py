"""How fast a step is: trials of its variants, the choice among them, what limits it."""
