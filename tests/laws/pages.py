"""Pages of documentation as programs: their blocks, and a folder in which they can run.

Blocks of one page run in order, in one folder:

- ```python is executed, all blocks of a page in one interpreter and one namespace;
- ```console: each line after `$ ` is run as bash reads it; the other lines show output and are not
  compared;
- `<!-- file: NAME -->` before a block writes it to NAME instead;
- `<!-- not run: REASON -->` before a block leaves it out.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from children import Interpreter, run_python
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


def words_of(command: str) -> list[str] | None:
    """The arguments that bash gives to a plain `loupe` command; None for any other command."""
    command = command.strip()
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    if not command.startswith("loupe ") or any(set(word) <= set("();<>|&") for word in lexer):
        return None
    shown = 'loupe() { printf "%s\\0" "$@"; }; ' + command
    done = subprocess.run(["bash", "-c", shown], capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


def run_command(
    command: str, folder: Path, environment: dict[str, str], seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run a line of a console block; `loupe` alone in a child that needn't load torch anew."""
    words = words_of(command)
    if words is not None:
        return run_python(["-m", "torchloupe", *words], folder, environment, seconds)
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def run_page(page: Path, folder: Path, seconds: float = 600) -> subprocess.CompletedProcess[str]:
    """Run all blocks of a page in `folder` until one fails, with `loupe` of this interpreter."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(folder / ".cache")}
    with tempfile.TemporaryDirectory(prefix="loupe-page-") as kept:
        out, err = Path(kept, "out"), Path(kept, "err")
        code = run_blocks(page, folder, environment, (out, err), seconds)
        said = [file.read_text(errors="replace") if file.exists() else "" for file in (out, err)]
    return subprocess.CompletedProcess([str(page)], code, *said)


def run_blocks(
    page: Path, folder: Path, environment: dict[str, str], said: tuple[Path, Path], seconds: float
) -> int:
    """Run the blocks of a page; what they say is appended to two files. 0, or the exit code."""
    out, err = said
    interpreter: Interpreter | None = None
    try:
        for block in blocks_of(page.read_text(encoding="utf-8")):
            code = 0
            if not block.is_run:
                continue
            if block.file:
                (folder / block.file).write_text(block.text)
            elif block.language == "python":
                interpreter = interpreter or Interpreter(folder, environment, out, err)
                code = interpreter.run(block.text, str(page), block.line, seconds)
            else:
                for line, command in commands_of(block):
                    done = run_command(command, folder, environment, seconds)
                    code = done.returncode
                    note = f"{page.name}:{line}: exit {code}\n" if code else ""
                    for file, text in ((out, done.stdout), (err, done.stderr + note)):
                        with file.open("a") as whole:
                            whole.write(text)
                    if code:
                        break
            if code:
                return code
        return 0
    finally:
        if interpreter is not None:
            interpreter.end()


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
