"""The site of the pages: every page is on it, links lead somewhere, nothing comes from elsewhere.

Sphinx builds it, strictly, in the slow test and in CI. The other tests read its sources: they need
no Sphinx, and find what usually breaks.
"""

import ast
import importlib.util
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import house
import pytest

SITE = house.ROOT / "docs" / "site"
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s#]*)#(?P<anchor>[^)\s]+)\)")
LOADED = re.compile(r"!\[[^\]]*\]\(\s*(?:https?:)?//|<(?:img|script|link|iframe)\b[^>]*//", re.I)


@cache
def conf(name: str) -> Any:
    """The value that conf.py gives to a name; without importing it, which needs Sphinx."""
    tree = ast.parse((SITE / "conf.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return eval(compile(ast.Expression(node.value), "conf.py", "eval"))
    raise KeyError(name)


def check_site() -> ModuleType:
    """The module that checks a built site."""
    spec = importlib.util.spec_from_file_location("check_site", SITE / "check_site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages() -> list[str]:
    """Every page of the repository, as `docs/data`."""
    folders = (house.ROOT.glob("*.md"), *((house.ROOT / f).rglob("*.md") for f in FOLDERS))
    files = [path.relative_to(house.ROOT).with_suffix("") for found in folders for path in found]
    return sorted(path.as_posix() for path in files if path.parts[:2] != ("docs", "reference"))


FOLDERS = ("docs", "benchmarks")


def matches(page: str, patterns: list[str]) -> bool:
    """Whether one of Sphinx's patterns means the page: `*` stops at a slash, `**` doesn't."""
    for pattern in patterns:
        parts = re.split(r"(\*\*|\*)", pattern.removesuffix(".md"))
        names = {"**": ".*", "*": "[^/]*"}
        if re.fullmatch("".join(names.get(part, re.escape(part)) for part in parts), page):
            return True
    return False


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and MyST make it."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    """The anchors of a page: of its headings, the blocks of code left out."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return {slug(found) for found in re.findall(r"^#{1,6} (.+)$", text, re.M)}


def test_every_page_is_on_the_site_and_in_one_of_its_lists() -> None:
    included, excluded = conf("include_patterns"), conf("exclude_patterns")
    missing = [p for p in pages() if not matches(p, included) or matches(p, excluded)]
    assert missing == []
    listed = [page for group in conf("LISTS").values() for page in group]
    own_lists = ["README", "benchmarks/results/*", "docs/checks/*"]  # see conf.complete_page
    assert [page for page in pages() if not matches(page, [*listed, *own_lists])] == []


def test_lists_name_pages_that_are_there() -> None:
    listed = [page for group in conf("LISTS").values() for page in group if "*" not in page]
    assert [page for page in listed if page not in pages()] == []
    assert len(listed) == len(set(listed))


def test_links_to_headings_lead_to_headings() -> None:
    wrong = []
    for page in pages():
        path = house.ROOT / f"{page}.md"
        for link in LINK.finditer(path.read_text(encoding="utf-8")):
            target = (path.parent / link["target"]).resolve() if link["target"] else path
            if "://" in link["target"]:
                continue
            if not target.is_file() or link["anchor"] not in anchors(target):
                wrong.append(f"{page}: {link['target']}#{link['anchor']}")
    assert wrong == []


def test_anchors_are_those_of_headings_outside_of_code(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# `loupe look`, twice\n\n```\n# no heading\n```\n\n## Two [words](x.md)\n")
    assert anchors(page) == {"loupe-look-twice", "two-words"}


def test_pages_and_theme_load_nothing_from_another_host() -> None:
    texts = {page: (house.ROOT / f"{page}.md").read_text(encoding="utf-8") for page in pages()}
    assert [page for page, text in texts.items() if LOADED.search(text)] == []
    sources = [*SITE.glob("*.css"), *SITE.glob("templates/*"), SITE / "conf.py"]
    assert len(sources) >= 3
    remote = re.compile(r"(?:https?:)?//[\w-]+\.[\w.-]+")
    assert [p.name for p in sources if remote.search(p.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('<a href="https://example.org/">elsewhere</a>', ""),
        ('<script src="https://example.org/x.js"></script>', "loads https://example.org/x.js"),
        ("<style>@import url(//example.org/x.css);</style>", "loads //example.org/x.css"),
        ('<a href="other.html">gone</a>', "other.html leads nowhere"),
        ('<a href="#there">gone</a>', "#there leads to no anchor"),
        ('<h1 id="there"></h1><a href="#there">here</a>', ""),
    ],
)
def test_check_site_finds_dead_links_and_requests(text: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(f"<html><body>{text}</body></html>")
    assert check_site().find_faults(tmp_path) == ([f"index.html: {fault}"] if fault else [])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_site_is_built_without_a_warning() -> None:
    pytest.importorskip("sphinx")
    done = subprocess.run(
        [sys.executable, str(SITE / "build_site.py")],
        cwd=house.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
