"""Looking at a model without touching it."""

from torchloupe.lens.drawing import draw_net
from torchloupe.lens.saliency import Insight, look_inside
from torchloupe.lens.signals import Signals
from torchloupe.lens.summary import Summary, summarise
from torchloupe.lens.watch import STOP, Replace, Seen, watch

__all__ = [
    "STOP",
    "Insight",
    "Replace",
    "Seen",
    "Signals",
    "Summary",
    "draw_net",
    "look_inside",
    "summarise",
    "watch",
]
