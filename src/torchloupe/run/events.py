"""Reads events.jsonl."""

import json
from pathlib import Path
from typing import Any


def read_events(run: Path) -> list[dict[str, Any]]:
    """The events of RUN/events.jsonl; an incomplete last line is skipped."""
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
