"""Devices, number formats, memory, and the step that runs on them."""

from torchloupe.hardware.device import DeviceChoice, choose_device
from torchloupe.hardware.footprint import Footprint, measure_footprint
from torchloupe.hardware.peaks import Peaks
from torchloupe.hardware.precision import (
    Buffers,
    Precision,
    StepResult,
    choose_precision,
    formats_of,
)
from torchloupe.hardware.step import forward_backward, take_step

__all__ = [
    "Buffers",
    "DeviceChoice",
    "Footprint",
    "Peaks",
    "Precision",
    "StepResult",
    "choose_device",
    "choose_precision",
    "formats_of",
    "forward_backward",
    "measure_footprint",
    "take_step",
]
