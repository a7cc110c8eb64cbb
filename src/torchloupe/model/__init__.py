"""Networks, losses, optimizers and schedules."""
