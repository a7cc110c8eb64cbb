"""What must hold for the built site: `python docs/site/check_site.py FOLDER`.

- Opening a page asks nothing of another host: scripts, styles, fonts, pictures and the search
  index lie beside it. Links that a reader may follow are free to lead anywhere.
- Every link to another page of the site leads to a page, and to an anchor on it.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Attributes whose address a browser loads by itself. `href` of `a` and `area` waits for a click.
LOADED = {"src", "srcset", "poster", "data", "background", "href", "xlink:href", "action"}
FOLLOWED = {("a", "href"), ("area", "href"), ("a", "xlink:href")}
FREE_LINKS = {"canonical", "author", "license", "alternate", "next", "prev", "index", "search"}
REMOTE = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
IN_STYLE = re.compile(r"(?:url\(\s*|@import\s+)[\"']?((?:https?:)?//[^\"')\s]+)", re.IGNORECASE)
# A string that begins with an address is what a script would load; one that has an address within
# a sentence, or a comment with one, is not.
IN_SCRIPT = re.compile(r"[\"'`](?:(?:https?|wss?):)?//([\w-]+(?:\.[\w-]+)+)", re.IGNORECASE)
NAMESPACES = {"www.w3.org"}


class Page(HTMLParser):
    """The addresses that a page loads, the links on it, and the anchors it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.styles: list[str] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._inside = tag
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        self.styles.append(values.get("style", ""))
        if tag == "meta" and values.get("http-equiv", "").lower() == "refresh":
            self.loads.append(values.get("content", "").partition("=")[2])
        if tag == "link" and set(values.get("rel", "").lower().split()) <= FREE_LINKS:
            return
        for name in LOADED & set(values):
            if (tag, name) in FOLLOWED:
                self.links.append(values[name])
            elif name == "srcset":
                self.loads += [part.split()[0] for part in values[name].split(",") if part.strip()]
            else:
                self.loads.append(values[name])

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if self._inside == tag else self._inside

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.styles.append(data)
        elif self._inside == "script":
            self.scripts.append(data)


def find_faults(site: Path) -> list[str]:
    """One line for each thing that is wrong with the site in this folder."""
    theme = site / "_static"  # its HTML files are templates that no page leads to
    files = [path for path in site.rglob("*.html") if not path.is_relative_to(theme)]
    pages = {
        path: Page(path.read_text(encoding="utf-8"))
        for path in sorted([*files, *site.rglob("*.svg")])
    }
    wrong = [] if (site / "index.html") in pages else ["there is no index.html"]
    for path, page in pages.items():
        found = [load for load in page.loads if REMOTE.match(load)]
        found += [host for text in page.styles for host in IN_STYLE.findall(text)]
        found += [host for text in page.scripts for host in hosts_in(text)]
        wrong += [f"{path.relative_to(site)}: loads {address}" for address in found]
        wrong += [
            f"{path.relative_to(site)}: {fault}"
            for link in dict.fromkeys([*page.links, *page.loads])
            if (fault := check_link(link, path, pages))
        ]
    for path in sorted(site.rglob("*.css")):
        found = IN_STYLE.findall(path.read_text(encoding="utf-8"))
        wrong += [f"{path.relative_to(site)}: loads {address}" for address in found]
    for path in sorted([*site.rglob("*.js"), *site.rglob("*.mjs")]):
        found = hosts_in(path.read_text(encoding="utf-8"))
        wrong += [f"{path.relative_to(site)}: loads from {host}" for host in found]
    return wrong


def hosts_in(script: str) -> list[str]:
    """The hosts that a script may load from; XML namespaces look alike and are none."""
    return sorted(set(IN_SCRIPT.findall(script)) - NAMESPACES)


def check_link(link: str, path: Path, pages: dict[Path, Page]) -> str:
    """What is wrong with a link on the page at `path`; "" where nothing is."""
    if REMOTE.match(link) or re.match(r"(?:mailto|data|javascript):", link):
        return ""
    parts = urlsplit(link)
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.exists():
        return f"{link} leads nowhere"
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors | {"top"}:
        return f"{link} leads to no anchor"
    return ""


if __name__ == "__main__":
    faults = find_faults(Path(sys.argv[1]).resolve())
    print("\n".join(faults) or "the site is sound")
    sys.exit(1 if faults else 0)
