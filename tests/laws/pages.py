"""Pages of documentation as programs: their blocks, and a folder in which they can run.

Blocks of one page run in order, in one folder, in one interpreter:

- ```python is executed, all blocks of a page in one namespace;
- ```console: each line after `$ ` is run by bash; the other lines show output and are not compared;
- `<!-- file: NAME -->` before a block writes it to NAME instead;
- `<!-- not run: REASON -->` before a block leaves it out.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*$")
MARK = re.compile(r"^ *<!-- (?P<what>not run|file): (?P<value>.+?) -->$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    line: int  # where its first line stands, from 1
    file: str = ""  # written there instead of run
    excuse: str = ""  # why it isn't run

    @property
    def is_run(self) -> bool:
        """Whether it does something when its page runs."""
        return bool(self.file or self.language in ("python", "console")) and not self.excuse


def blocks_of(page: str) -> list[Block]:
    """The fenced blocks of a page, each with the mark on the last line of text before it."""
    blocks: list[Block] = []
    mark: dict[str, str] = {}
    lines = page.splitlines()
    number = 0
    while number < len(lines):
        fence = FENCE.match(lines[number])
        if fence is None:
            found = MARK.match(lines[number])
            if found:
                mark = {found["what"]: found["value"]}
            elif lines[number].strip():
                mark = {}
            number += 1
            continue
        indent = len(fence["indent"])
        body = []
        start = number + 1
        number += 1
        while number < len(lines) and lines[number].strip() != "```":
            body.append(lines[number][indent:])
            number += 1
        text = "\n".join(body) + "\n"
        file, excuse = mark.get("file", ""), mark.get("not run", "")
        blocks.append(Block(fence["language"], text, start + 1, file, excuse))
        mark = {}
        number += 1
    return blocks


def commands_of(block: Block) -> list[tuple[int, str]]:
    """(line, command) of a console block; a backslash continues a command."""
    commands: list[tuple[int, str]] = []
    is_open = False
    for offset, line in enumerate(block.text.splitlines()):
        if is_open:
            place, command = commands[-1]
            commands[-1] = (place, f"{command[:-1]} {line.removeprefix('> ').strip()}")
        elif line.startswith("$ "):
            commands.append((block.line + offset, line[2:].strip()))
        else:
            continue
        is_open = commands[-1][1].endswith("\\")
    return commands


def script_of(page: Path) -> str:
    """A Python program that does what the page says, its lines where they are in the page."""
    program = [
        "import os, subprocess, sys",
        "from pathlib import Path",
        "space = {'__name__': '__main__'}",
        "def console(line, command):",
        "    done = subprocess.run(['bash', '-c', command], stdin=subprocess.DEVNULL)",
        f"    assert done.returncode == 0, f'{page.name}:{{line}}: exit {{done.returncode}}'",
        "def code(line, text):",
        f"    exec(compile('\\n' * (line - 1) + text, {str(page)!r}, 'exec'), space)",
    ]
    for block in blocks_of(page.read_text(encoding="utf-8")):
        if not block.is_run:
            continue
        if block.file:
            program.append(f"Path({block.file!r}).write_text({block.text!r})")
        elif block.language == "python":
            program.append(f"code({block.line}, {block.text!r})")
        else:
            program += [f"console({line}, {text!r})" for line, text in commands_of(block)]
    return "\n".join(program) + "\n"


def run_page(page: Path, folder: Path, seconds: float = 600) -> subprocess.CompletedProcess[str]:
    """Run all blocks of a page in `folder`, with the command `loupe` of this interpreter."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(folder / ".cache")}
    return subprocess.run(
        [sys.executable, "-c", script_of(page)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def lay_out(folder: Path) -> None:
    """What pages may take for granted: photos/, cat.jpg, new/, labels.csv, arrays.npz."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(("bird", "cat", "dog")):
        for k in range(20):
            pixels = rng.integers(0, 90, (40, 48, 3), dtype=np.uint8)
            pixels[:, :, number] += 120
            save(folder / "photos" / name / f"{k:02d}.jpg", pixels)
            if k < 2:
                save(folder / "new" / f"{name}-{k}.jpg", pixels)
    save(folder / "cat.jpg", pixels)
    rows = [f"{path.relative_to(folder)},{path.parent.name}" for path in folder.rglob("photos/*/*")]
    (folder / "labels.csv").write_text("\n".join(["image,label", *sorted(rows)]) + "\n")
    labels = np.arange(60, dtype=np.int64) % 3
    images = (rng.integers(0, 90, (60, 12, 12)) + 80 * labels[:, None, None]).astype(np.uint8)
    np.savez(folder / "arrays.npz", images=images, labels=labels)


def save(path: Path, pixels: np.ndarray) -> None:
    """Write an image and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)
