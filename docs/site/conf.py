"""Settings of Sphinx for `python docs/site/build_site.py`.

The source folder is the repository itself, so a link between two pages works on the site as it
does in an editor. The pages are Markdown, read by MyST; the API reference is made from docstrings.
Nothing is fetched, neither to build the site nor to read it.
"""

import os
import re
import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))
import reference

ROOT = Path(__file__).parents[2]

project = "torchloupe"
copyright = "the torchloupe authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "pydata_sphinx_theme"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/checks/*.md", "docs/reference/*", "benchmarks/**.md"]
exclude_patterns = [".*", "build", "dist", "runs", "src", "tests"]

myst_heading_anchors = 3  # `models.md#pretrained-backbones` is a link that is checked
default_role = "literal"
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80

html_theme = "pydata_sphinx_theme"
html_title = "torchloupe"
html_copy_source = False
html_show_sourcelink = False
html_static_path = ["site.css"]
html_css_files = ["site.css"]
templates_path = ["templates"]
html_sidebars = {"**": ["pages.html"]}
html_theme_options = {
    "logo": {"text": "torchloupe"},
    "navbar_center": [],
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": False,
    "show_toc_level": 2,
}

# The pages in the order in which they are listed. A page of docs/ that isn't named here follows
# the others of the guide; a page that no list has is a warning, and so an error.
LISTS = {
    "Guide": [
        *("docs/photos", "docs/data", "docs/models", "docs/training", "docs/sweep"),
        *(
            "docs/devices",
            "docs/scale",
            "docs/looking-inside",
            "docs/report",
            "docs/run-folder",
            "docs/numbers",
            "docs/speed",
            "docs/exactness",
            "docs/*",
        ),
    ],
    "Reference": ["docs/settings", "docs/errors", "docs/checks/index", "docs/reference/*"],
    "Project": ["ARCHITECTURE", "CONTRIBUTING", "CHANGELOG", "benchmarks/README", "docs/LOG"],
}
LINK = re.compile(r"(?<=\]\()(?P<target>[^)#:\s]+)(?=\))")


def make_lists() -> str:
    """The lists of pages, as MyST writes them."""
    named = {page for pages in LISTS.values() for page in pages}
    parts = []
    for caption, pages in LISTS.items():
        lines = []
        for page in pages:
            files = [*ROOT.glob(f"{page}.md"), *ROOT.glob(f"{page}.rst")]
            found = sorted(file.relative_to(ROOT).with_suffix("").as_posix() for file in files)
            lines += [name for name in found if name not in named] if "*" in page else [page]
        parts.append("\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *lines]))
    return "".join(f"\n{part}\n```\n" for part in parts)


def complete_page(_app: Sphinx, page: str, content: list[str]) -> None:
    """Add what a page leaves out because it is read elsewhere, too."""
    folder = (ROOT / page).parent

    def lead_to_page(link: re.Match[str]) -> str:
        """A link to a folder, led to the page about it: its README, or that of the one above."""
        target = folder / link["target"]
        if not target.is_dir():
            return link["target"]
        readme = next(
            f / "README.md" for f in (target, target.parent) if (f / "README.md").exists()
        )
        return os.path.relpath(readme, folder)

    content[0] = LINK.sub(lead_to_page, content[0])
    if page == root_doc:
        content[0] += make_lists()
    elif page == "benchmarks/README":
        content[0] += "\n## Results\n\n```{toctree}\n:glob:\n:titlesonly:\n\nresults/*\n```\n"
    elif page == "docs/checks/index":
        content[0] += "\n```{toctree}\n:glob:\n:hidden:\n\n*\n```\n"
    elif page.startswith("benchmarks/results/"):
        what, _, rest = Path(page).name.partition("-")  # steps-2core-amx-2026-11
        content[0] = f"# {what}: {rest}\n\n{content[0]}"


def copy_first_page(app: Sphinx, error: Exception | None) -> None:
    """The README is what a visitor sees first; browsers ask for index.html."""
    if error is None:
        shutil.copyfile(Path(app.outdir) / "README.html", Path(app.outdir) / "index.html")


def setup(app: Sphinx) -> None:
    """Connect what is completed and rewritten."""
    app.connect("build-finished", copy_first_page)
    app.connect("source-read", complete_page)
    app.connect("autodoc-process-docstring", reference.rewrite_docstring)
