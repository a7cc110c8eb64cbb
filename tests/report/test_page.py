"""The page is whole in itself, asks for nothing, and takes no name for more than text."""

import html.parser
import json
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from looks import HOSTILE, make_hostile_look

from torchloupe.report.page import write_page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


class Reader(html.parser.HTMLParser):
    """Every tag with its attributes, and all text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] not in ("script", "style"):
            self.texts.append(data)


@pytest.fixture(scope="module")
def page() -> str:
    return write_page(make_hostile_look())


@pytest.fixture(scope="module")
def visit(page: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, str]]:
    """What Chromium made of the page, what it said, and what it logged of the network."""
    folder = tmp_path_factory.mktemp("page")
    file, log = folder / "page.html", folder / "net.json"
    file.write_text(page)
    done = subprocess.run(
        [
            *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--enable-logging=stderr", f"--log-net-log={log}"),
            *(f"--user-data-dir={folder / 'profile'}", "--dump-dom", file.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    yield done.stdout, done.stderr, log.read_text(errors="replace")


def test_page_holds_everything_itself(page: str) -> None:
    for tag, attributes in Reader(page).tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form", "a")
        assert "srcset" not in attributes
        assert attributes.get("src", "data:").startswith("data:")
    assert "url(" not in page
    assert "@import" not in page
    code = re.sub(r">[^<]*https://example.org[^<]*<|alt=\"[^\"]*\"", "", page)
    assert "://" not in code


def test_page_allows_no_request_and_no_other_script(page: str) -> None:
    policies = [a["content"] for t, a in Reader(page).tags if "http-equiv" in a]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'; img-src data:;")
    assert "script-src 'sha256-" in policies[0]
    assert "'unsafe-inline'" not in policies[0].partition("script-src")[2]


def test_names_in_the_page_are_text(page: str) -> None:
    reader = Reader(page)
    assert [tag for tag, _ in reader.tags].count("script") == 1
    assert not any(name.startswith("on") for _, attributes in reader.tags for name in attributes)
    assert "\x1b" not in page
    text = " ".join(reader.texts)
    for name in (HOSTILE[0], HOSTILE[2], HOSTILE[3], "\\x1b[31mred\\x1b[0m\\n"):
        assert name in text


def test_page_shows_classes_maps_and_where_there_is_no_evidence(page: str) -> None:
    text = " ".join(Reader(page).texts)
    assert "70.00 %" in text
    assert "(no evidence in these maps)" in text
    assert "40 maps of 8 x 6, the 12 most varied" in text
    assert page.count('alt="map ') == 1 + 12 + 30


@browser
def test_page_renders_in_a_browser_and_its_script_runs(visit: tuple[str, str, str]) -> None:
    shown, said, _ = visit
    assert "70.00 %" in shown
    assert re.search(r'id="heat0"[^>]*style="opacity: 0.8;?"', shown)
    assert re.search(r'id="heat1"[^>]*style="opacity: 0;?"', shown)
    assert "CONSOLE" not in said


@browser
def test_page_sends_no_request(visit: tuple[str, str, str]) -> None:
    log = json.dumps(visit[2])
    asked = re.findall(r"https?:\\*/\\*/([\w.-]+)", log)
    own = ("google.com", "googleapis.com", "gvt1.com", "gstatic.com")  # Chromium's own business
    assert [host for host in asked if not host.endswith(own)] == []
