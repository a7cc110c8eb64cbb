"""Those who follow a run: trackers of other projects."""
