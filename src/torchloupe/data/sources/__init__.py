"""Where images come from: one call opens a folder, a file, a named set or a user's own objects."""

from torchloupe.data.sources.kinds import open_data
from torchloupe.data.sources.source import ArrayReader, Data, FileReader, Reader

__all__ = ["ArrayReader", "Data", "FileReader", "Reader", "open_data"]
