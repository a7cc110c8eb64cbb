"""Log lines for tests of what keeps and reads them."""

from torchloupe.run.events import Overflow


def log_line(step: int, scale: float = 1.0) -> Overflow:
    """The smallest event that belongs to a step."""
    return Overflow(step, scale)
