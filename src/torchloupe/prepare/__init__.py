"""From settings to objects: everything a run needs, refused here or ready."""
