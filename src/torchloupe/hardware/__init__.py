"""Using what the machine has: devices and number formats."""
