"""The settings: their schema, their origins and their text form."""

from torchloupe.config.schema import (
    AugmentConfig,
    Config,
    DataConfig,
    DistillConfig,
    HardwareConfig,
    LensConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)
from torchloupe.config.settings import Settings

__all__ = [
    "AugmentConfig",
    "Config",
    "DataConfig",
    "DistillConfig",
    "HardwareConfig",
    "LensConfig",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "ScheduleConfig",
    "Settings",
    "TrainConfig",
]
