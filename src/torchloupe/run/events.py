"""events.jsonl read back."""

import json
from pathlib import Path
from typing import Any


def read_events(run: Path) -> list[dict[str, Any]]:
    """The whole lines of RUN/events.jsonl; a last line that was cut short is left out."""
    try:
        text = (run / "events.jsonl").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    events = []
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            events.append(event)
    return events
