"""Those who follow a run: the terminal, progress bars, trackers of other projects."""
