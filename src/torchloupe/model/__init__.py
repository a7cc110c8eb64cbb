"""What learns, and from what: networks, losses, optimizers, schedules, and scores."""
