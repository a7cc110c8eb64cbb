"""The text of an ejected file: a template with lines for each case, and Python literals.

It knows Python's syntax and the template's marks, nothing of runs.
"""

import importlib.resources
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

WIDTH = 100
_MARK = re.compile(r"  #\? (!?\w+)$")
_OPENING = re.compile(r"#\? (!?\w+) \{$")

# Lines of imports by the word in the code that needs them; a line stays where its word is used.
_STANDARD = {
    "csv.": "import csv",
    "hashlib.": "import hashlib",
    "importlib.": "import importlib.util",
    "io.": "import io",
    "math.": "import math",
    "sys.": "import sys",
    "Callable, Iterable, Iterator": "from collections.abc import {}",
    "ThreadPoolExecutor": "from concurrent.futures import {}",
    "dataclass": "from dataclasses import {}",
    "Path": "from pathlib import {}",
    "Any, cast": "from typing import {}",
}
_OTHERS = {
    "np.": "import numpy as np",
    "timm.": "import timm",
    "torch.": "import torch",
    "F.": "import torch.nn.functional as F",
    "torchvision.": "import torchvision",
    "NDArray": "from numpy.typing import {}",
    "Image, ImageOps": "from PIL import {}",
    "load_digits": "from sklearn.datasets import {}",
    "Tensor, nn": "from torch import {}",
    "_BatchNorm": "from torch.nn.modules.batchnorm import {}",
    "Optimizer": "from torch.optim import {}",
    "adamw": "from torch.optim.adamw import {}",
    "AveragedModel, get_ema_multi_avg_fn": "from torch.optim.swa_utils import {}",
    "v2": "from torchvision.transforms import {}",
}


@dataclass
class Part:
    """What one subject (data, model, training) adds to the page."""

    flags: set[str] = field(default_factory=set)  # cases of the template that apply
    values: dict[str, str] = field(default_factory=dict)  # texts that it inserts
    settings: list[str] = field(default_factory=list)  # lines of constants
    differs: list[str] = field(default_factory=list)  # sentences on what is not as in the run
    remarks: list[str] = field(default_factory=list)  # sentences on what else to know
    packages: set[str] = field(default_factory=set)  # to install
    imports: set[str] = field(default_factory=set)  # of the user's own code

    def add(self, other: "Part") -> None:
        """Take in another part."""
        self.flags |= other.flags
        self.values |= other.values
        self.settings += other.settings
        self.differs += other.differs
        self.remarks += other.remarks
        self.packages |= other.packages
        self.imports |= other.imports


def read_template(name: str) -> str:
    """The text of a template of this package."""
    place = importlib.resources.files("torchloupe.deploy").joinpath("templates", name)
    return place.read_text(encoding="utf-8")


def render(template: str, flags: Iterable[str], values: Mapping[str, str]) -> str:
    """The template with the lines of these cases, and `values` for its {{names}}.

    A line that ends in `#? flag` is for that case, in `#? !flag` for all others; so are the lines
    between `#? flag {` and `#? }`. KeyError for a name without a value.
    """
    chosen, kept, open_blocks = set(flags), [], []
    for line in template.splitlines():
        words = line.strip()
        if opening := _OPENING.match(words):
            open_blocks.append(_applies(opening[1], chosen))
        elif words == "#? }":
            open_blocks.pop()
        elif all(open_blocks):
            mark = _MARK.search(line)
            if mark is None:
                kept.append(line)
            elif _applies(mark[1], chosen):
                kept.append(line[: mark.start()].rstrip())
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], "\n".join(kept)) + "\n"


def _applies(condition: str, flags: set[str]) -> bool:
    return (condition.removeprefix("!") in flags) != condition.startswith("!")


def list_imports(code: str, own: Iterable[str] = ()) -> str:
    """The import lines that `code` needs, in the usual order; then those of the user's own code."""
    sections = []
    for known in (_STANDARD, _OTHERS):
        lines = []
        for words, line in known.items():
            used = [word for word in words.split(", ") if _uses(code, word)]
            if used:
                lines.append(line.format(", ".join(used)))
        if lines:
            sections.append("\n".join(lines))
    if own := sorted(own):
        sections.append("\n".join(own))
    return "\n\n".join(sections)


def _uses(code: str, word: str) -> bool:
    """Whether code, and not a text or a comment, has this word (`io.` stands for `io.BytesIO`)."""
    bare = re.sub(r'"""[\s\S]*?"""|"(?:\\.|[^"\\\n])*"|#.*', "", code)
    end = "" if word.endswith(".") else r"\b"
    return re.search(rf"(?<![\w.]){re.escape(word)}{end}", bare) is not None


def quote(text: str) -> str:
    """`text` as a Python literal with the quotes that formatters prefer."""
    if not all(c.isprintable() or c == "\n" for c in text):
        return repr(text)
    if '"' in text and "'" not in text and "\\" not in text and "\n" not in text:
        return f"'{text}'"
    return json.dumps(text, ensure_ascii=False)


def literal(value: object) -> str:
    """A plain value as a Python literal on one line."""
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, tuple):
        inner = ", ".join(map(literal, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(k)}: {literal(v)}" for k, v in value.items()) + "}"
    return repr(value)


def assign(name: str, value: object, comment: str = "") -> str:
    """`NAME = value  # comment`; a long collection gets a line an item."""
    line = f"{name} = {literal(value)}"
    tail = f"  # {comment}" if comment else ""
    if len(line) <= WIDTH or not isinstance(value, (tuple, list, dict)):
        if len(line + tail) <= WIDTH:
            return line + tail
        return f"# {comment}\n{line}" if comment else line
    left, right = line[len(name) + 3], line[-1]
    if isinstance(value, dict):
        items = [f"{literal(k)}: {literal(v)}" for k, v in value.items()]
    else:
        items = [literal(item) for item in value]
    body = "\n".join(f"    {item}," for item in items)
    return f"{name} = {left}{tail}\n{body}\n{right}"


def call(name: str, arguments: Sequence[str], indent: int = 4) -> str:
    """`name(a, b)`, a line an argument where one line is too long for the indentation."""
    line = f"{name}({', '.join(arguments)})"
    if len(line) + indent <= WIDTH - 10:
        return line
    space = " " * indent
    body = ",\n".join(f"{space}    {argument}" for argument in arguments)
    return f"{name}(\n{body},\n{space})"


def keywords(options: Mapping[str, object]) -> list[str]:
    """`name=value` for each option; lists become tuples, as JSON has none."""
    return [
        f"{name}={literal(tuple(value) if isinstance(value, list) else value)}"
        for name, value in options.items()
    ]
